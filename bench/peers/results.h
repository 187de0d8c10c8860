#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "machine.h"
#include "row.h"

namespace oncelog::bench {

/// A run's figures: the rows of all peers and sizes, in the order they were measured.
class Results {
 public:
  std::string date;
  Facts facts;                                                  // Of the machine and the run.
  std::vector<std::pair<std::string, std::string>> peers = {};  // Names and versions, the one to compare with first.
  std::vector<std::size_t> ids = {};                            // Ascending.
  std::vector<Row> rows = {};

  /// nullptr when it is not there.
  const Row* find(std::string_view peer, std::string_view work, std::size_t size) const;
  std::vector<const Row*> all(std::string_view peer, std::string_view work) const;
};

/// One Markdown page: ratios, percentiles, plots.
std::string to_markdown(const Results& results);

/// All that was measured, raw.
std::string to_json(const Results& results);

/// Writes the SVG images that the page shows.
void write_plots(const Results& results, const std::filesystem::path& directory);

}  // namespace oncelog::bench
