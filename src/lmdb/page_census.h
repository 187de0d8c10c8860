#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lmdb/pages.h"

namespace oncelog::internal::lmdb {

/// How much a walk over a tree has passed.
struct Passed {
  std::uint64_t entries = 0;
  std::uint64_t overflow_runs = 0;
};

/// Takes pages into a set of those that were visited; false when one of them is in it, or is not in the file.
using PageClaim = std::function<bool(PageNumber first, std::uint64_t count)>;

/// Visits the pages in the free list of a commit, those beyond the file's end included, and reports what is wrong with
/// the list itself. What LMDB would give away twice is the visitor's to find.
Passed read_free_list(const Pages& pages, const Meta& meta, const std::function<void(PageNumber)>& visit,
                      const FaultVisitor& fault, const PageClaim& claim);

/// Takes the census of one commit, see Pages::census: every page of it is in use, free, or lost.
class CensusTaker {
 public:
  CensusTaker(const Pages& pages, const Meta& meta, const FaultVisitor& report,
              const std::function<void(std::uint64_t)>& step);
  CensusTaker(const CensusTaker&) = delete;
  CensusTaker& operator=(const CensusTaker&) = delete;

  /// Once.
  PageCensus take();

 private:
  void read_free_pages();
  void walk_tables();
  /// A tree that `described_on`, a page, describes.
  void walk_tree(const TreeInfo& tree, const std::string& name, PageNumber described_on,
                 const std::function<bool(const TreeEntry&)>& visit);
  void count_pages();
  void report_missing();
  bool claim(PageNumber first, std::uint64_t count);

  const Pages& pages_;
  const Meta& meta_;
  const FaultVisitor fault_;  // Counts and reports.
  const std::function<void(std::uint64_t)>& step_;
  PageCensus census_;
  std::uint64_t done_ = 0;  // Pages claimed.
};

}  // namespace oncelog::internal::lmdb
