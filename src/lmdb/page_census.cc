#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "lmdb/page_format.h"
#include "lmdb/pages.h"
#include "lmdb/tree_walk.h"

namespace oncelog::internal::lmdb {

/// Visits the pages in the free list. An entry is a list of page numbers behind its length, its key the transaction
/// that freed them.
void Pages::free_records(const Meta& meta, const std::function<void(PageNumber)>& visit, const FaultVisitor& fault,
                         const std::function<bool(PageNumber, std::uint64_t)>& claim, std::uint64_t* entries,
                         std::uint64_t* overflows) const {
  constexpr std::size_t kNumbersAtOnce = 512;
  TreeWalk walk{*this, meta.free, fault, claim, [&](const TreeEntry& entry) {
                  std::uint64_t length = 0;
                  const auto words = [](auto& numbers) { return std::as_writable_bytes(std::span(numbers)); };
                  std::array<std::uint64_t, 1> first{};
                  if (entry.bytes < sizeof length || !read(entry, 0, words(first), fault)) {
                    if (entry.bytes < sizeof length) fault({entry.page, "an entry of the free list has no length"});
                    return true;
                  }
                  length = first[0];
                  if (length > entry.bytes / sizeof length - 1) {
                    fault({entry.page, fmt::format("an entry of the free list has room for {} pages, not for {}",
                                                   entry.bytes / sizeof length - 1, length)});
                    return true;
                  }
                  // The first is 1; LMDB asserts that when it next commits.
                  const std::uint64_t freed_by = entry.number().value_or(0);
                  if (freed_by == 0 || freed_by > meta.transaction) {
                    fault({entry.page, fmt::format("an entry of the free list is of transaction {}, of 1 to {}",
                                                   freed_by, meta.transaction)});
                  }
                  PageNumber above = kNoPage;  // LMDB relies on their order.
                  std::array<PageNumber, kNumbersAtOnce> numbers;
                  for (std::uint64_t done = 0; done < length;) {
                    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(length - done, numbers.size()));
                    const auto some = std::span(numbers).first(count);
                    if (!read(entry, (1 + done) * sizeof length, std::as_writable_bytes(some), fault)) return true;
                    for (const PageNumber page : some) {
                      if (page >= above) fault({entry.page, "an entry of the free list is not in order"});
                      above = page;
                      visit(page);
                    }
                    done += count;
                  }
                  return true;
                }};
  walk.check_overflows = true;
  walk.is_free_list = true;
  walk.run();
  if (walk.entries != meta.free.entries) {
    fault(
        {meta.page, fmt::format("it says that the free list has {} entries, not {}", meta.free.entries, walk.entries)});
  }
  if (entries != nullptr) *entries += walk.entries;
  if (overflows != nullptr) *overflows += walk.overflow_runs;
}

PageSet Pages::free_pages(const Meta& meta, const FaultVisitor& fault) const {
  if (!meta.usable()) {
    fault({meta.page, meta.fault});
    return PageSet(0);
  }
  PageSet free(meta.last_page + 1);
  PageSet visited(std::min(pages(), meta.last_page + 1));
  free_records(
      meta,
      [&](PageNumber page) {
        if (page < 2 || !free.add(page)) fault({page, "it is in the free list twice, or cannot be free"});
      },
      fault, [&](PageNumber first, std::uint64_t count) { return visited.add(first, count); }, nullptr, nullptr);
  return free;
}

bool Pages::lacks_only_free_pages(const Meta& meta) const {
  bool sound = meta.usable();
  if (!sound || pages() > meta.last_page) return sound;
  const PageSet free = free_pages(meta, [&](const Fault&) { sound = false; });
  for (PageNumber page = pages(); sound && page <= meta.last_page; ++page) sound = free.contains(page);
  return sound;
}

PageCensus Pages::census(const Meta& meta, const FaultVisitor& report,
                         const std::function<void(std::uint64_t)>& step) const {
  constexpr std::uint64_t kPagesPerStep = 4096;
  PageCensus census;
  const FaultVisitor fault = [&](const Fault& found) {
    ++census.faults;
    report(found);
  };
  census.pages = meta.last_page + 1;
  if (!meta.usable()) {
    fault({meta.page, meta.fault});
    return census;
  }
  PageSet free(census.pages);
  PageSet used(std::min(pages(), census.pages));
  used.add(0, std::min<std::uint64_t>(2, pages()));
  std::uint64_t done = 0;
  const auto claim = [&](PageNumber first, std::uint64_t count) {
    if (step && done / kPagesPerStep != (done + count) / kPagesPerStep) step(done + count);
    done += count;
    return used.add(first, count);
  };
  free_records(
      meta,
      [&](PageNumber page) {
        if (page < 2 || page > meta.last_page) {
          fault({page, "it is in the free list, and cannot be free"});
        } else if (!free.add(page)) {
          fault({page, "it is in the free list twice"});
        }
      },
      fault, claim, &census.entries, &census.overflows);

  const auto walk_tree = [&](const TreeInfo& tree, const std::string& name, PageNumber described_on,
                             const std::function<bool(const TreeEntry&)>& visit) {
    if (std::string what = fault_of(tree, meta.last_page); !what.empty()) {
      fault({described_on, fmt::format("{} is damaged: {}", name, what)});
      return;
    }
    TreeWalk walk{*this, tree, fault, claim, visit};
    walk.check_overflows = true;
    walk.run();
    census.entries += walk.entries;
    census.overflows += walk.overflow_runs;
    if (walk.branch_pages != tree.branch_pages || walk.leaf_pages != tree.leaf_pages ||
        walk.overflow_page_count != tree.overflow_pages || walk.entries != tree.entries) {
      fault({described_on, fmt::format("{} has {} entries in {} + {} + {} pages, not {} in {} + {} + {}", name,
                                       walk.entries, walk.branch_pages, walk.leaf_pages, walk.overflow_page_count,
                                       tree.entries, tree.branch_pages, tree.leaf_pages, tree.overflow_pages)});
    }
  };
  walk_tree(meta.main, "the table of tables", meta.page, [&](const TreeEntry& entry) {
    if (!entry.is_tree) {
      fault({entry.page, fmt::format("the table of tables has an entry \"{}\" that is no table", entry.text())});
      return true;
    }
    walk_tree(load<TreeInfo>(entry.value, 0), fmt::format("table \"{}\"", entry.text()), entry.page,
              [&](const TreeEntry& inner) {
                if (inner.is_tree) fault({inner.page, "it has a table inside a table"});
                return true;
              });
    return true;
  });

  for (PageNumber page = 2; page < census.pages; ++page) {
    const bool is_used = used.contains(page);
    const bool is_free = free.contains(page);
    census.used += is_used;
    census.free += is_free;
    census.lost += !is_used && !is_free;
    if (is_used && is_free) fault({page, "it is used and in the free list"});
    if (page >= pages()) {
      ++census.missing;
      if (!is_free) fault({page, "it is beyond the end of the file, and not free"});
    }
  }
  census.used_pages = std::move(used);
  census.free_pages = std::move(free);
  return census;
}

}  // namespace oncelog::internal::lmdb
