#include "row.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace oncelog::bench {

double Row::quantile_ns(double share) const {
  const auto found = std::ranges::find(kShares, share);
  if (found == kShares.end()) throw std::logic_error("this share is not kept");
  // One sample at least must lie above it.
  if (quantiles_ns.empty() || static_cast<double>(samples) * (1 - share) < 1) return 0;
  return quantiles_ns[static_cast<std::size_t>(std::distance(kShares.begin(), found))];
}

std::string Row::to_line() const {
  return fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}", peer, work, ids, held, value, operations,
                     fresh, duplicate, wrong, limited ? 1 : 0, samples, max_ns, joined(quantiles_ns), note);
}

Row Row::from_line(const std::string& line) {
  std::istringstream in(line);
  Row row;
  std::string quantiles;
  in >> row.peer >> row.work >> row.ids >> row.held >> row.value >> row.operations >> row.fresh >> row.duplicate >>
      row.wrong >> row.limited >> row.samples >> row.max_ns;
  if (!in) throw std::runtime_error("not a row: " + line);
  in.ignore(1);
  std::getline(in, quantiles, '\t');
  std::getline(in, row.note);
  std::istringstream values(quantiles);
  for (std::string value; std::getline(values, value, ',');) row.quantiles_ns.push_back(std::stod(value));
  return row;
}

std::string joined(std::span<const double> numbers) {
  std::string text;
  for (const double number : numbers) {
    if (!text.empty()) text += ',';
    text += fmt::format("{}", number);
  }
  return text;
}

}  // namespace oncelog::bench
