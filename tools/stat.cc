#include "stat.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "duration.h"
#include "ndjson.h"
#include "output.h"
#include "printable.h"
#include "remote_store.h"
#include "timestamp.h"

namespace oncelog::tool {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const BucketMetrics& bucket) {
  return {{"number", bucket.number},
          {"slice_begin", format_time(bucket.slice_begin)},
          {"slice_end", format_time(bucket.slice_end)},
          {"first_lsn", bucket.first_lsn.value},
          {"ids", bucket.ids},
          {"index_tables", bucket.index_tables},
          {"index_bytes", bucket.index_bytes}};
}

Json to_json(const ScopeMetrics& scope) {
  const IdCounts& counts = scope.host;
  std::string name;
  append_member(name, "scope", scope.scope);
  Json json = Json::parse('{' + name + '}');
  json.update({{"fresh", counts.fresh},
               {"duplicate", counts.duplicate},
               {"in_progress", counts.in_progress},
               {"conflict", counts.conflict},
               {"too_old", counts.too_old},
               {"completed", counts.completed},
               {"late", counts.late},
               {"abandoned", counts.abandoned},
               {"known", counts.known},
               {"unknown", counts.unknown}});
  return json;
}

Json to_json(const HistogramMetrics& histogram) {
  Json buckets = Json::array();
  for (const auto& bucket : histogram.buckets) buckets.push_back({{"up_to", bucket.up_to}, {"count", bucket.count}});
  return {{"buckets", std::move(buckets)}, {"count", histogram.count}, {"sum", histogram.sum}};
}

template <typename Part>
Json to_json(const std::vector<Part>& parts) {
  Json json = Json::array();
  for (const Part& part : parts) json.push_back(to_json(part));
  return json;
}

Json to_json(const Metrics& metrics) {
  Json json{{"scopes", to_json(metrics.scopes)},
            {"host_records", metrics.host_records},
            {"host_filter_candidates", metrics.host_filter_candidates},
            {"host_log_reads", metrics.host_log_reads},
            {"host_mark_seconds", to_json(metrics.host_mark_seconds)},
            {"host_check_seconds", to_json(metrics.host_check_seconds)},
            {"flushes", metrics.flushes},
            {"flushed_bytes", metrics.flushed_bytes},
            {"flush_seconds", to_json(metrics.flush_seconds)},
            {"flush_bytes", to_json(metrics.flush_bytes)},
            {"last_flush_us", metrics.last_flush.count()},
            {"longest_flush_us", metrics.longest_flush.count()},
            {"transactions", metrics.transactions},
            {"dead_owners", metrics.dead_owners},
            {"damages", metrics.damages},
            {"takeovers", metrics.takeovers},
            {"expired_buckets", metrics.expired_buckets},
            {"early_drops", metrics.early_drops},
            {"head", metrics.head.value},
            {"durable", metrics.durable.value},
            {"retention_ms", metrics.retention.count()},
            {"known_since", format_time(metrics.known_since)},
            {"buckets", metrics.buckets},
            {"live_buckets", to_json(metrics.live_buckets)},
            {"ids", metrics.ids},
            {"claims_held", metrics.claims_held},
            {"max_claims", metrics.max_claims},
            {"data_bytes", metrics.data_bytes},
            {"max_bytes", metrics.max_bytes},
            {"log_blocks", metrics.log_blocks},
            {"ring_bytes", metrics.ring_bytes},
            {"filter_bytes", metrics.filter_bytes},
            {"filter_generations", metrics.filter_generations},
            {"index_bytes", metrics.index_bytes},
            {"sealed_buckets", metrics.sealed_buckets},
            {"unsealed_bytes", metrics.unsealed_bytes},
            {"live_dir_chosen", metrics.live_dir_chosen},
            {"clock_fault_us", metrics.clock_fault.count()}};
  std::string live_dir;
  append_member(live_dir, "live_dir", metrics.live_dir.native());
  json.update(Json::parse('{' + live_dir + '}'));
  return json;
}

std::string bytes(std::uint64_t count) {
  constexpr std::array<std::string_view, 5> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  auto value = static_cast<double>(count);
  for (; value >= 1024 && unit + 1 != kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} bytes", count) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string time(double seconds) {
  if (seconds >= 1) return fmt::format("{:.1f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.1f} ms", seconds * 1e3);
  return seconds >= 1e-6 ? fmt::format("{:.1f} us", seconds * 1e6) : fmt::format("{:.0f} ns", seconds * 1e9);
}

/// The values below which half and nearly all lie, as far as the buckets show.
std::string quantiles(const HistogramMetrics& histogram) {
  if (histogram.count == 0) return "none yet";
  const auto below = [&](double share) {
    const auto enough = [&](const HistogramMetrics::Bucket& bucket) {
      return static_cast<double>(bucket.count) >= share * static_cast<double>(histogram.count);
    };
    const auto found = std::ranges::find_if(histogram.buckets, enough);
    return found == histogram.buckets.end() ? "over " + time(histogram.buckets.back().up_to)
                                            : "within " + time(found->up_to);
  };
  return fmt::format("half of {} {}, 99% {}", histogram.count, below(0.5), below(0.99));
}

/// The counts that are not 0.
std::string to_text(const IdCounts& counts) {
  std::string text;
  const auto add = [&](std::uint64_t count, std::string_view name) {
    if (count != 0) fmt::format_to(std::back_inserter(text), "{}{} {}", text.empty() ? "" : ", ", count, name);
  };
  add(counts.fresh, "fresh");
  add(counts.duplicate, "duplicate");
  add(counts.in_progress, "in progress");
  add(counts.conflict, "in conflict");
  add(counts.too_old, "too old");
  add(counts.completed, "claims completed");
  add(counts.late, "claims late");
  add(counts.abandoned, "claims abandoned");
  add(counts.known, "checks known");
  add(counts.unknown, "checks unknown");
  return text.empty() ? "nothing since the shared memory was made" : text;
}

/// A scope's name on one line.
std::string shown(std::string_view name) {
  if (name.empty()) return "(all later ones)";
  return Json(name).dump(-1, ' ', false, Json::error_handler_t::replace);
}

void add_row(std::string& text, std::string_view name, const std::string& value) {
  fmt::format_to(std::back_inserter(text), "{:<14}{}\n", name, value);
}

/// Of a store that hosts share: what its server knows, and what this process has done.
std::string shared_to_text(const Metrics& metrics) {
  std::string text;
  add_row(text, "records", std::to_string(metrics.ids));
  add_row(text, "retention", format_duration(metrics.retention));
  add_row(text, "remembers", fmt::format("all that was processed since {}", format_time(metrics.known_since)));
  add_row(text, "claims", fmt::format("{} held", metrics.claims_held));
  return text;
}

std::string to_text(const Metrics& metrics) {
  std::string text;
  const auto row = [&](std::string_view name, const std::string& value) { add_row(text, name, value); };
  row("ids", fmt::format("{} in {} of {} buckets", metrics.ids, metrics.live_buckets.size(), metrics.buckets));
  row("retention", format_duration(metrics.retention));
  row("log",
      fmt::format("accepted below LSN {}, on disk below {} ({} to go)", metrics.head.value, metrics.durable.value,
                  bytes(metrics.head.value - std::min(metrics.head.value, metrics.durable.value))));
  const std::string cap = metrics.max_bytes == 0 ? "" : fmt::format(" of at most {}", bytes(metrics.max_bytes));
  row("data.mdb", fmt::format("{}{} in {} log blocks", bytes(metrics.data_bytes), cap, metrics.log_blocks));
  row("shared memory",
      fmt::format("ring {}, filter {} in {} generations, index {}", bytes(metrics.ring_bytes),
                  bytes(metrics.filter_bytes), metrics.filter_generations, bytes(metrics.index_bytes)));
  row("live_dir", fmt::format("{}, {}", printable(metrics.live_dir.native()),
                              metrics.live_dir_chosen ? "chosen by the store" : "given by an option"));
  row("reboot", fmt::format("the hints of {} of {} buckets are on disk, {} of the log would be read",
                            metrics.sealed_buckets, metrics.live_buckets.size(), bytes(metrics.unsealed_bytes)));
  row("remembers", fmt::format("all that was processed since {}", format_time(metrics.known_since)));
  row("claims", fmt::format("{} held of at most {}", metrics.claims_held, metrics.max_claims));
  row("all processes",
      fmt::format("{} records, {} flushes of {} in all, {} transactions, {} buckets expired, {} forgotten early, "
                  "{} claims taken over, {} dead lock owners, shared memory damaged {} times",
                  metrics.host_records, metrics.flushes, bytes(metrics.flushed_bytes), metrics.transactions,
                  metrics.expired_buckets, metrics.early_drops, metrics.takeovers, metrics.dead_owners,
                  metrics.damages));
  row("flush time", fmt::format("{}; last {} us, longest {} us", quantiles(metrics.flush_seconds),
                                metrics.last_flush.count(), metrics.longest_flush.count()));
  row("mark time", quantiles(metrics.host_mark_seconds) + " (every 64th call of a thread)");
  row("check time", quantiles(metrics.host_check_seconds) + " (every 64th call of a thread)");
  for (const ScopeMetrics& scope : metrics.scopes) row("scope", shown(scope.scope) + ": " + to_text(scope.host));
  for (const BucketMetrics& bucket : metrics.live_buckets) {
    row(fmt::format("bucket {}", bucket.number),
        fmt::format("{} to {}, {} ids from LSN {}, index {} in {} tables", format_time(bucket.slice_begin),
                    format_time(bucket.slice_end), bucket.ids, bucket.first_lsn.value, bytes(bucket.index_bytes),
                    bucket.index_tables));
  }
  if (metrics.clock_fault.count() != 0) {
    row("clock fault",
        fmt::format("the wall clock is {} us ahead of the boot clock; expiry follows the boot clock until it "
                    "is corrected",
                    metrics.clock_fault.count()));
  }
  return text;
}

}  // namespace

int run_stat(const StatOptions& options) {
  Output output = standard_output();
  const Metrics metrics = open_for_reading(options.store).metrics();
  switch (options.form) {
    case StatOptions::Form::text:
      output.write(is_shared(options.store) ? shared_to_text(metrics) : to_text(metrics));
      break;
    case StatOptions::Form::json:
      output.write(to_json(metrics).dump() + '\n');
      break;
    case StatOptions::Form::prometheus:
      output.write(metrics.prometheus(MetricsOf::host));
      break;
  }
  return 0;
}

}  // namespace oncelog::tool
