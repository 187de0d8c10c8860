#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <oncelog/metrics.h>

namespace oncelog {
namespace {

/// Strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) -> unsigned {
      return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0;
    };
    const unsigned first = byte(0);
    const std::size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
    if (length == 0) return false;
    unsigned code = length == 1 ? first : first & (0x7FU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      if (byte(k) >> 6 != 2) return false;
      code = code << 6 | (byte(k) & 0x3FU);
    }
    constexpr std::array<unsigned, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    i += length;
  }
  return true;
}

std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    text += c == '\n' ? std::string_view("\\n") : std::string_view(&c, 1);
  }
  return text;
}

/// As the label `scope`, or in hexadecimal as another one, so that no name can look like another's.
std::string scope_label(std::string_view name) {
  if (is_utf8(name)) return fmt::format("scope=\"{}\"", escaped(name));
  std::string hex;
  for (const char c : name) fmt::format_to(std::back_inserter(hex), "{:02x}", static_cast<unsigned char>(c));
  return fmt::format("scope_hex=\"{}\"", hex);
}

double seconds(std::chrono::microseconds time) {
  return static_cast<double>(time.count()) / 1e6;
}

/// Writes the text format: a family at a time, its HELP and TYPE first.
class Exposition {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(out(), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }

  template <typename Value>
  void sample(std::string_view labels, Value value) {
    line({}, labels, value);
  }

  template <typename Value>
  void counter(std::string_view name, std::string_view help, Value value) {
    family(name, "counter", help);
    sample({}, value);
  }

  template <typename Value>
  void gauge(std::string_view name, std::string_view help, Value value) {
    family(name, "gauge", help);
    sample({}, value);
  }

  void histogram(std::string_view name, std::string_view help, const HistogramMetrics& histogram) {
    family(name, "histogram", help);
    for (const auto& bucket : histogram.buckets) line("_bucket", fmt::format("le=\"{}\"", bucket.up_to), bucket.count);
    line("_bucket", "le=\"+Inf\"", histogram.count);
    line("_sum", {}, histogram.sum);
    line("_count", {}, histogram.count);
  }

  std::string take() { return std::move(text_); }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }

  template <typename Value>
  void line(std::string_view suffix, std::string_view labels, Value value) {
    fmt::format_to(out(), "{}{}", name_, suffix);
    if (!labels.empty()) fmt::format_to(out(), "{{{}}}", labels);
    fmt::format_to(out(), " {}\n", value);
  }

  std::string text_;
  std::string name_;
};

/// One member of IdCounts and the label that tells it from the others of its family.
struct IdCount {
  std::string_view label;
  std::uint64_t IdCounts::*count;
};
constexpr std::array kDecisions{
    IdCount{"verdict=\"fresh\"", &IdCounts::fresh}, IdCount{"verdict=\"duplicate\"", &IdCounts::duplicate},
    IdCount{"verdict=\"in_progress\"", &IdCounts::in_progress}, IdCount{"verdict=\"conflict\"", &IdCounts::conflict},
    IdCount{"verdict=\"too_old\"", &IdCounts::too_old}};
constexpr std::array kClaimEnds{IdCount{"end=\"completed\"", &IdCounts::completed},
                                IdCount{"end=\"late\"", &IdCounts::late},
                                IdCount{"end=\"abandoned\"", &IdCounts::abandoned}};
constexpr std::array kChecks{IdCount{"answer=\"known\"", &IdCounts::known},
                             IdCount{"answer=\"unknown\"", &IdCounts::unknown}};

/// What a process counts and what the host does, under names with the prefix, with sentences that say whose it is.
struct Counted {
  std::string_view prefix;
  std::string_view whose;
  IdCounts ScopeMetrics::*counts;
  std::uint64_t filter_candidates;
  std::uint64_t log_reads;
  const HistogramMetrics& mark_seconds;
  const HistogramMetrics& check_seconds;
};

void write_counted(Exposition& text, const std::vector<ScopeMetrics>& scopes, const Counted& counted) {
  const auto name = [&](std::string_view rest) { return fmt::format("{}{}", counted.prefix, rest); };
  const auto help = [&](std::string_view what) { return fmt::format("{} ({}).", what, counted.whose); };
  const auto by_scope = [&](std::string_view rest, std::string_view what, std::span<const IdCount> members) {
    text.family(name(rest), "counter", help(what));
    for (const ScopeMetrics& scope : scopes) {
      const std::string label = scope_label(scope.scope);
      for (const IdCount& member : members) {
        text.sample(fmt::format("{},{}", label, member.label), scope.*counted.counts.*member.count);
      }
    }
  };
  by_scope("decisions_total", "Ids decided on by mark, begin and a transaction's mark, by scope and verdict",
           kDecisions);
  by_scope("claims_ended_total", "Claims by scope and how they ended", kClaimEnds);
  by_scope("checks_total", "Ids asked for with contains and find, by scope and answer", kChecks);
  text.counter(name("filter_candidates_total"), help("Ids that the filter could not turn away"),
               counted.filter_candidates);
  text.counter(name("log_reads_total"), help("Records read from LMDB to answer"), counted.log_reads);
  text.histogram(name("mark_duration_seconds"),
                 help("Time of mark for one id, sampled from every 64th call of a thread"), counted.mark_seconds);
  text.histogram(name("check_duration_seconds"),
                 help("Time of contains and find for one id, sampled from every 64th call of a thread"),
                 counted.check_seconds);
}

}  // namespace

std::string Metrics::prometheus(MetricsOf of) const {
  Exposition text;
  write_counted(text, scopes,
                {"oncelog_", "of all processes since the shared memory was made", &ScopeMetrics::host,
                 host_filter_candidates, host_log_reads, host_mark_seconds, host_check_seconds});
  text.counter("oncelog_records_total", "Records accepted by all processes since the shared memory was made.",
               host_records);
  text.counter("oncelog_flushes_total", "Group commits of all processes since the shared memory was made.", flushes);
  text.counter("oncelog_flushed_bytes_total", "Bytes of records in all group commits.", flushed_bytes);
  text.histogram("oncelog_flush_duration_seconds", "What each group commit took, its fsync included.", flush_seconds);
  text.histogram("oncelog_flush_size_bytes", "Bytes of records in each group commit.", flush_bytes);
  text.counter("oncelog_transactions_total", "Commits of transactions.", transactions);
  text.counter("oncelog_dead_owners_total", "Times the lock was taken over from a process that died holding it.",
               dead_owners);
  text.counter("oncelog_shared_memory_damages_total",
               "Times the shared memory was made anew because the one before was damaged.", damages);
  text.counter("oncelog_claim_takeovers_total",
               "Claims and locks that another one got after their owner's death or lease.", takeovers);
  text.counter("oncelog_expired_buckets_total", "Time buckets dropped, early ones included.", expired_buckets);
  text.counter("oncelog_early_dropped_buckets_total", "Time buckets that max_bytes had dropped before their time.",
               early_drops);

  text.gauge("oncelog_ids", "Records in all time buckets.", ids);
  text.gauge("oncelog_time_buckets", "Time buckets that hold records.", live_buckets.size());
  text.gauge("oncelog_claims_held", "Claims and locks held.", claims_held);
  text.gauge("oncelog_claims_limit", "Claims and locks that may be held.", max_claims);
  text.gauge("oncelog_data_bytes", "Used pages of data.mdb, reusable ones included.", data_bytes);
  text.gauge("oncelog_data_bytes_limit", "The cap on data.mdb (max_bytes); 0 when there is none.", max_bytes);
  text.gauge("oncelog_log_blocks", "Blocks of records in data.mdb.", log_blocks);
  text.gauge("oncelog_ring_bytes", "Size of the ring of records that are not flushed yet.", ring_bytes);
  text.gauge("oncelog_filter_bytes", "Size of the filter's generations.", filter_bytes);
  text.gauge("oncelog_filter_generations", "Generations of the filter.", filter_generations);
  text.gauge("oncelog_index_bytes", "Size of all index tables.", index_bytes);
  text.gauge("oncelog_sealed_time_buckets", "Time buckets whose hints are on disk, for after a reboot.",
             sealed_buckets);
  text.gauge("oncelog_unsealed_bytes", "Bytes of records that opening after a reboot reads.", unsealed_bytes);
  text.gauge("oncelog_unflushed_bytes", "Bytes of accepted records that are not on disk yet.",
             head.value - std::min(head.value, durable.value));
  text.gauge("oncelog_retention_seconds", "How long an id stays a duplicate.", seconds(retention));
  text.gauge("oncelog_known_since_timestamp_seconds", "Everything processed since then is remembered.",
             seconds(known_since.time_since_epoch()));
  text.gauge("oncelog_clock_fault_seconds", "How far the wall clock has jumped ahead of the boot clock.",
             seconds(clock_fault));
  if (of == MetricsOf::host) return text.take();

  write_counted(text, scopes,
                {"oncelog_process_", "of this process", &ScopeMetrics::process, filter_candidates, log_reads,
                 mark_seconds, check_seconds});
  text.gauge("oncelog_process_failing", "Whether this process's last flush, upkeep or event hook failed.",
             last_error.empty() ? 0 : 1);
  return text.take();
}

}  // namespace oncelog
