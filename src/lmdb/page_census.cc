#include "lmdb/page_census.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

#include "lmdb/page_format.h"
#include "lmdb/tree_walk.h"

namespace oncelog::internal::lmdb {
namespace {

/// An entry of the free list: its length, then as many page numbers, the highest first; its key is the transaction that
/// freed them.
class FreeListEntry {
 public:
  FreeListEntry(const Pages& pages, const TreeEntry& entry, const FaultVisitor& fault)
      : pages_(pages), entry_(entry), fault_(fault) {}

  void visit(std::uint64_t newest_transaction, const std::function<void(PageNumber)>& visit_page) const {
    const std::optional<std::uint64_t> length = this->length();
    if (!length) return;
    // The first is 1; LMDB asserts that when it next commits.
    const std::uint64_t freed_by = entry_.number().value_or(0);
    if (freed_by == 0 || freed_by > newest_transaction) {
      fault_({entry_.page,
              fmt::format("an entry of the free list is of transaction {}, of 1 to {}", freed_by, newest_transaction)});
    }
    PageNumber above = kNoPage;  // LMDB relies on their order.
    std::array<PageNumber, 512> numbers;
    for (std::uint64_t done = 0; done < *length;) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(*length - done, numbers.size()));
      const auto some = std::span(numbers).first(count);
      if (!read(1 + done, some)) return;
      for (const PageNumber page : some) {
        if (page >= above) fault_({entry_.page, "an entry of the free list is not in order"});
        above = page;
        visit_page(page);
      }
      done += count;
    }
  }

 private:
  /// How many pages it lists; nothing when that cannot be read or cannot be.
  std::optional<std::uint64_t> length() const {
    std::array<std::uint64_t, 1> length{};
    if (entry_.bytes < sizeof length) {
      fault_({entry_.page, "an entry of the free list has no length"});
      return std::nullopt;
    }
    if (!read(0, length)) return std::nullopt;
    const std::uint64_t room = entry_.bytes / sizeof length - 1;
    if (length[0] > room) {
      fault_(
          {entry_.page, fmt::format("an entry of the free list has room for {} pages, not for {}", room, length[0])});
      return std::nullopt;
    }
    return length[0];
  }

  bool read(std::uint64_t first_word, std::span<std::uint64_t> words) const {
    return pages_.read(entry_, first_word * sizeof(std::uint64_t), std::as_writable_bytes(words), fault_);
  }

  const Pages& pages_;
  const TreeEntry& entry_;
  const FaultVisitor& fault_;
};

}  // namespace

Passed read_free_list(const Pages& pages, const Meta& meta, const std::function<void(PageNumber)>& visit,
                      const FaultVisitor& fault, const PageClaim& claim) {
  TreeWalk walk{pages, meta.free, fault, claim, [&](const TreeEntry& entry) {
                  FreeListEntry(pages, entry, fault).visit(meta.transaction, visit);
                  return true;
                }};
  walk.check_overflows = true;
  walk.is_free_list = true;
  walk.run();
  if (walk.entries != meta.free.entries) {
    fault(
        {meta.page, fmt::format("it says that the free list has {} entries, not {}", meta.free.entries, walk.entries)});
  }
  return {walk.entries, walk.overflow_runs};
}

CensusTaker::CensusTaker(const Pages& pages, const Meta& meta, const FaultVisitor& report,
                         const std::function<void(std::uint64_t)>& step)
    : pages_(pages),
      meta_(meta),
      fault_([this, &report](const Fault& found) {
        ++census_.faults;
        report(found);
      }),
      step_(step) {}

PageCensus CensusTaker::take() {
  census_.pages = meta_.last_page + 1;
  if (!meta_.usable()) {
    fault_({meta_.page, meta_.fault});
    return std::move(census_);
  }
  census_.free_pages = PageSet(census_.pages);
  census_.used_pages = PageSet(std::min(pages_.pages(), census_.pages));
  census_.used_pages.add(0, std::min<std::uint64_t>(2, pages_.pages()));
  read_free_pages();
  walk_tables();
  count_pages();
  return std::move(census_);
}

bool CensusTaker::claim(PageNumber first, std::uint64_t count) {
  constexpr std::uint64_t kPagesPerStep = 4096;
  if (step_ && done_ / kPagesPerStep != (done_ + count) / kPagesPerStep) step_(done_ + count);
  done_ += count;
  return census_.used_pages.add(first, count);
}

void CensusTaker::read_free_pages() {
  const Passed passed = read_free_list(
      pages_, meta_,
      [this](PageNumber page) {
        if (page < 2 || page > meta_.last_page) {
          fault_({page, "it is in the free list, and cannot be free"});
        } else if (!census_.free_pages.add(page)) {
          fault_({page, "it is in the free list twice"});
        }
      },
      fault_, [this](PageNumber first, std::uint64_t count) { return claim(first, count); });
  census_.entries += passed.entries;
  census_.overflows += passed.overflow_runs;
}

void CensusTaker::walk_tables() {
  walk_tree(meta_.main, "the table of tables", meta_.page, [this](const TreeEntry& entry) {
    if (!entry.is_tree) {
      fault_({entry.page, fmt::format("the table of tables has an entry \"{}\" that is no table", entry.text())});
      return true;
    }
    walk_tree(load<TreeInfo>(entry.value, 0), fmt::format("table \"{}\"", entry.text()), entry.page,
              [this](const TreeEntry& inner) {
                if (inner.is_tree) fault_({inner.page, "it has a table inside a table"});
                return true;
              });
    return true;
  });
}

void CensusTaker::walk_tree(const TreeInfo& tree, const std::string& name, PageNumber described_on,
                            const std::function<bool(const TreeEntry&)>& visit) {
  if (std::string what = fault_of(tree, meta_.last_page); !what.empty()) {
    fault_({described_on, fmt::format("{} is damaged: {}", name, what)});
    return;
  }
  TreeWalk walk{pages_, tree, fault_, [this](PageNumber first, std::uint64_t count) { return claim(first, count); },
                visit};
  walk.check_overflows = true;
  walk.run();
  census_.entries += walk.entries;
  census_.overflows += walk.overflow_runs;
  if (walk.branch_pages != tree.branch_pages || walk.leaf_pages != tree.leaf_pages ||
      walk.overflow_page_count != tree.overflow_pages || walk.entries != tree.entries) {
    fault_({described_on, fmt::format("{} has {} entries in {} + {} + {} pages, not {} in {} + {} + {}", name,
                                      walk.entries, walk.branch_pages, walk.leaf_pages, walk.overflow_page_count,
                                      tree.entries, tree.branch_pages, tree.leaf_pages, tree.overflow_pages)});
  }
}

void CensusTaker::count_pages() {
  for (PageNumber page = 2; page < census_.pages; ++page) {
    const bool is_used = census_.used_pages.contains(page);
    const bool is_free = census_.free_pages.contains(page);
    census_.used += is_used;
    census_.free += is_free;
    census_.lost += !is_used && !is_free;
    if (is_used && is_free) fault_({page, "it is used and in the free list"});
    census_.missing += page >= pages_.pages();
  }
  report_missing();
}

/// A run at a time: one damaged number can make millions of pages missing.
void CensusTaker::report_missing() {
  for (PageNumber page = std::max<PageNumber>(2, pages_.pages()), begin = page; page <= census_.pages; ++page) {
    if (page < census_.pages && !census_.free_pages.contains(page)) continue;
    if (page == begin + 1) fault_({begin, "it is beyond the end of the file, and not free"});
    if (page > begin + 1) {
      fault_({begin, fmt::format("it and the next {} are beyond the end of the file, and not free", page - begin - 1)});
    }
    begin = page + 1;
  }
}

}  // namespace oncelog::internal::lmdb
