#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "results.h"

namespace oncelog::bench {
namespace {

constexpr std::array kPercentileWorks{"mark", "check_fresh", "check_known", "consumer", "durable_1", "expiry_marks"};
constexpr std::array kPercentiles{0.5, 0.9, 0.99, 0.999, 0.9999};

/// Three digits that say something.
std::string short_number(double value) {
  if (value >= 100) return fmt::format("{:.0f}", value);
  if (value >= 10) return fmt::format("{:.1f}", value);
  return fmt::format("{:.2f}", value);
}

std::string time_of(double ns) {
  if (ns >= 1e6) return short_number(ns / 1e6) + " ms";
  if (ns >= 1e4) return short_number(ns / 1e3) + " us";
  return fmt::format("{:.0f} ns", ns);
}

std::string absolute(const Work& work, const Row& row) {
  if (work.unit == "ns") return time_of(row.value);
  return short_number(row.value) + " " + std::string(work.unit);
}

std::string grouped(std::size_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return text;
}

/// The notes below a table, numbered in the order of their cells.
class Notes {
 public:
  std::string mark(const std::string& note) {
    auto found = std::ranges::find(notes_, note);
    if (found == notes_.end()) found = notes_.insert(found, note);
    return fmt::format(" [{}]", std::distance(notes_.begin(), found) + 1);
  }
  void write(std::string& out) const {
    if (notes_.empty()) return;
    for (std::size_t i = 0; i < notes_.size(); ++i) {
      fmt::format_to(std::back_inserter(out), "{}[{}] {}.", i == 0 ? "" : " ", i + 1, notes_[i]);
    }
    out += "\n\n";
  }

 private:
  std::vector<std::string> notes_;
};

std::string cell(const Work& work, const Row* row, const Row* base, Notes& notes) {
  if (row == nullptr) return "";
  if (!row->measured()) return "–" + (row->note.empty() ? "" : notes.mark(row->note));
  std::string text = absolute(work, *row);
  if (base != nullptr && base != row && base->measured() && base->value > 0) {
    text = fmt::format("**{}** ({})", short_number(row->value / base->value), text);
  }
  if (row->limited) text += notes.mark("fewer operations than meant, as the time was up");
  if (!row->note.empty()) text += notes.mark(row->note);
  if (row->wrong > 0) text += notes.mark(fmt::format("{} WRONG answers", row->wrong));
  return text;
}

void head(std::string& out, const std::string& first, const std::vector<std::string>& names) {
  out += "| " + first + " |";
  for (const std::string& name : names) out += " " + name + " |";
  out += "\n| --- |";
  for (std::size_t i = 0; i < names.size(); ++i) out += " --- |";
  out += "\n";
}

void write_ratios(std::string& out, const Results& results, std::size_t ids) {
  const auto to = std::back_inserter(out);
  std::vector<std::string> names;
  for (const auto& peer : results.peers) names.push_back(peer.first);
  fmt::format_to(to, "## {} ids\n\n", grouped(ids));
  head(out, "work", names);
  Notes notes;
  for (const Work& work : kWorks) {
    const Row* const base = results.find(names.front(), work.key, ids);
    fmt::format_to(to, "| {} |", work.title);
    for (const std::string& name : names) {
      fmt::format_to(to, " {} |", cell(work, results.find(name, work.key, ids), base, notes));
    }
    out += "\n";
  }
  out += "\n";
  notes.write(out);
}

void write_percentiles(std::string& out, const Results& results, std::size_t ids, std::string_view key) {
  const auto to = std::back_inserter(out);
  const auto work = std::ranges::find(kWorks, key, &Work::key);
  fmt::format_to(to, "### {}\n\n", work->title);
  std::vector<std::string> names;
  for (const double share : kPercentiles) names.push_back(fmt::format("p{:g}", share * 100));
  names.emplace_back("longest");
  names.emplace_back("timed");
  head(out, "peer", names);
  for (const auto& peer : results.peers) {
    const Row* const row = results.find(peer.first, key, ids);
    if (row == nullptr || row->samples == 0) continue;
    fmt::format_to(to, "| {} |", peer.first);
    for (const double share : kPercentiles) {
      const double ns = row->quantile_ns(share);
      fmt::format_to(to, " {} |", ns > 0 ? time_of(ns) : "–");
    }
    fmt::format_to(to, " {} | {} |\n", time_of(row->max_ns), grouped(row->samples));
  }
  out += "\n";
}

void write_facts(std::string& out, const Results& results) {
  const auto to = std::back_inserter(out);
  fmt::format_to(to, "| | |\n| --- | --- |\n| date | {} |\n", results.date);
  for (const auto& [name, value] : results.facts) fmt::format_to(to, "| {} | {} |\n", name, value);
  for (const auto& [name, version] : results.peers) fmt::format_to(to, "| {} | {} |\n", name, version);
  out += "\n";
}

}  // namespace

std::string to_markdown(const Results& results) {
  std::string out =
      "# oncelog and its peers\n\n"
      "Written by `tools/bench`: the same ids, one machine, one run. [bench/peers](../peers/README.md) says how "
      "each\n"
      "peer is configured and what each row does; [results.json](results.json) holds all figures.\n\n";
  write_facts(out, results);
  fmt::format_to(
      std::back_inserter(out),
      "A cell is the cost for one id (of opening, in all), and **how many times that of {}** it is: above 1, {} "
      "is better.\n\n",
      results.peers.front().first, results.peers.front().first);
  for (auto ids = results.ids.rbegin(); ids != results.ids.rend(); ++ids) write_ratios(out, results, *ids);
  out +=
      "## Plots\n\n![latencies of a consumer's marks](latency.svg)\n\n![throughput against the store's "
      "size](throughput.svg)\n\n![time to open against the store's size](open.svg)\n\n";
  fmt::format_to(
      std::back_inserter(out),
      "## Percentiles, {} ids\n\nOf operations that were timed one by one, the reading of the clock included. "
      "A dash stands where too few say.\n\n",
      grouped(results.ids.back()));
  for (const char* const work : kPercentileWorks) write_percentiles(out, results, results.ids.back(), work);
  out.pop_back();
  return out;
}

const Row* Results::find(std::string_view peer, std::string_view work, std::size_t size) const {
  const auto found = std::ranges::find_if(
      rows, [&](const Row& row) { return row.peer == peer && row.work == work && row.ids == size; });
  return found == rows.end() ? nullptr : &*found;
}

std::vector<const Row*> Results::all(std::string_view peer, std::string_view work) const {
  std::vector<const Row*> found;
  for (const Row& row : rows) {
    if (row.peer == peer && row.work == work && row.measured()) found.push_back(&row);
  }
  return found;
}

}  // namespace oncelog::bench
