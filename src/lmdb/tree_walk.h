#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "lmdb/page_format.h"
#include "lmdb/pages.h"

namespace oncelog::internal::lmdb {

/// A walk over one tree, depth first and in the order of its keys. Reports what contradicts the format and continues
/// after it. An object is for one walk.
class TreeWalk {
 public:
  using Key = std::optional<std::span<const std::byte>>;

  const Pages& pages;
  const TreeInfo& tree;
  const FaultVisitor& fault;
  /// Returns false when one of the pages was visited before, or is not in the file. So no walk runs in circles.
  std::function<bool(PageNumber, std::uint64_t)> claim;
  std::function<bool(const TreeEntry&)> visit;  // False ends the walk.
  std::optional<std::uint64_t> from = std::nullopt;
  bool check_overflows = false;  // Reads the first page of each overflow run.
  bool is_free_list = false;

  std::uint64_t branch_pages = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t overflow_page_count = 0;
  std::uint64_t overflow_runs = 0;
  std::uint64_t entries = 0;

  void run();

 private:
  bool descend(PageNumber number, unsigned level, Key low, Key high);
  void check_keys(const TreePage& page, PageNumber number, Key low, Key high) const;
  bool visit_branch(const TreePage& page, PageNumber number, unsigned level, Key low, Key high);
  bool visit_leaf(const TreePage& page, PageNumber number);
  bool check_run(const TreeEntry& entry);
};

}  // namespace oncelog::internal::lmdb
