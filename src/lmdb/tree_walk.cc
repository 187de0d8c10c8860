#include "lmdb/tree_walk.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace oncelog::internal::lmdb {

void TreeWalk::run() {
  if (tree.root != kNoPage) descend(tree.root, 1, std::nullopt, std::nullopt);
}

/// The page and all below it, whose keys are at or above `low` and below `high`. False ends the walk.
bool TreeWalk::descend(PageNumber number, unsigned level, Key low, Key high) {
  if (!claim(number, 1)) {
    fault({number, number >= pages.pages() ? "it is used by a tree, and beyond the end of the file"
                                           : "it is used twice, or used and free"});
    return true;
  }
  std::vector<std::byte> bytes(pages.page_bytes());
  if (const auto error = pages.read_page(number, bytes)) {
    fault({number, *error});
    return true;
  }
  const TreePage page(bytes);
  if (std::string what = page.fault(number); !what.empty()) {
    fault({number, std::move(what)});
    return true;
  }
  if (level > Pages::kMaxDepth || page.is_branch() == (level == tree.depth)) {
    fault({number, fmt::format("it is a {} at level {} of a tree of depth {}", page.is_branch() ? "branch" : "leaf",
                               level, tree.depth)});
    if (level > Pages::kMaxDepth) return true;
  }
  // LMDB asserts that, but in the free list, which it changes while it commits.
  if (page.is_branch() && page.count() < 2 && !is_free_list) fault({number, "it is a branch with one entry"});
  ++(page.is_branch() ? branch_pages : leaf_pages);
  check_keys(page, number, low, high);
  return page.is_branch() ? visit_branch(page, number, level, low, high) : visit_leaf(page, number);
}

/// Reports entries that are out of order, overlap, or lie beside the page.
void TreeWalk::check_keys(const TreePage& page, PageNumber number, Key low, Key high) const {
  Key last;
  std::size_t room = 0;
  for (std::size_t i = 0; i < page.count(); ++i) {
    const auto node = page.node(i);
    if (!node) {
      fault({number, fmt::format("its entry {} does not lie on it", i)});
      continue;
    }
    room += node->room;
    if (page.is_branch() && i == 0) continue;  // The first key of a branch is never looked at.
    const bool ordered = (!last || compare(*last, node->key, tree.integer_key()) < 0) &&
                         (!low || compare(*low, node->key, tree.integer_key()) <= 0) &&
                         (!high || compare(node->key, *high, tree.integer_key()) < 0);
    if (!ordered) fault({number, fmt::format("the key of its entry {} is out of order", i)});
    if (tree.integer_key() && node->key.size() != sizeof(std::uint64_t)) {
      fault({number, fmt::format("the key of its entry {} has {} bytes instead of 8", i, node->key.size())});
    }
    last = node->key;
  }
  if (room != page.room()) fault({number, fmt::format("its entries take {} bytes, not {}", room, page.room())});
}

bool TreeWalk::visit_branch(const TreePage& page, PageNumber number, unsigned level, Key low, Key high) {
  for (std::size_t i = 0; i < page.count(); ++i) {
    const auto node = page.node(i);
    if (!node) continue;
    const auto next = i + 1 < page.count() ? page.node(i + 1) : std::nullopt;
    const Key end = next ? Key(next->key) : i + 1 < page.count() ? Key() : high;
    if (from && end && end->size() == sizeof *from && load<std::uint64_t>(*end, 0) <= *from) continue;
    const Key begin = i == 0 ? low : Key(node->key);
    if (node->child() < 2) {
      fault({number, fmt::format("its entry {} names page {}", i, node->child())});
      continue;
    }
    if (!descend(node->child(), level + 1, begin, end)) return false;
  }
  return true;
}

bool TreeWalk::visit_leaf(const TreePage& page, PageNumber number) {
  for (std::size_t i = 0; i < page.count(); ++i) {
    const auto node = page.node(i);
    if (!node) continue;
    if (std::string what = fault_of(*node); !what.empty()) {
      fault({number, std::move(what)});
      continue;
    }
    const TreeEntry entry = to_entry(*node, number, i);
    if (from && entry.number().value_or(*from) < *from) continue;
    ++entries;
    if (entry.overflow != kNoPage && !check_run(entry)) continue;
    if (visit && !visit(entry)) return false;
  }
  return true;
}

bool TreeWalk::check_run(const TreeEntry& entry) {
  ++overflow_runs;
  if (!check_overflows) return true;  // Checked when it is read.
  const std::uint64_t needed = overflow_pages(entry.bytes, pages.page_bytes());
  std::array<std::byte, Pages::kHeaderBytes> bytes;
  std::uint64_t count = needed;
  if (entry.overflow < pages.pages()) {
    if (const auto error = pages.read_at(entry.overflow * pages.page_bytes(), bytes)) {
      fault({entry.overflow, *error});
      return false;
    }
    const auto header = load<PageHeader>(bytes, 0);
    // A value that was replaced by a shorter one keeps its run.
    if (header.number != entry.overflow || header.flags != kOverflow || header.run_pages() < needed) {
      fault({entry.overflow,
             fmt::format("it is not the first of {} overflow pages, as page {} says", needed, entry.page)});
      return false;
    }
    count = header.run_pages();
  }
  if (entry.overflow < 2 || entry.overflow >= pages.pages() || count > pages.pages() - entry.overflow) {
    fault({entry.page, fmt::format("a value of {} bytes lies in {} pages from page {}, beyond the end of the file",
                                   entry.bytes, count, entry.overflow)});
    return false;
  }
  overflow_page_count += count;
  if (!claim(entry.overflow, count)) {
    fault(
        {entry.overflow, fmt::format("one of the {} overflow pages from here is used twice, or used and free", count)});
    return false;
  }
  return true;
}

}  // namespace oncelog::internal::lmdb
