#pragma once

#include <cstddef>
#include <string>
#include <unordered_set>

#include <oncelog/record.h>
#include <oncelog/verify.h>

#include "lmdb/pages.h"

namespace oncelog::internal {

inline constexpr const char* kRepair =
    "close the store in every process, then: oncelog repair --store STORE --into NEWDIR";
inline constexpr const char* kRestoreOrRepair =
    "restore the newest backup, or close the store in every process, then: oncelog repair --store STORE --into NEWDIR";

/// How a problem says where it is.
std::string page_name(lmdb::PageNumber page);
std::string lsn_name(Lsn lsn);

/// Collects problems, up to a number, and counts the rest. What is found twice, on two ways to it, is one problem.
/// Nobody else adds to the report, or takes from it, meanwhile.
class Problems {
 public:
  Problems(VerifyReport& report, std::size_t most);
  void add(ProblemKind kind, std::string where, std::string sentence, std::string meaning, std::string remedy);
  /// A fault in the structure of a store that is being verified.
  void add(const lmdb::Fault& fault);
  bool none() const { return report_->problem_count == 0; }

 private:
  VerifyReport* report_;
  std::size_t most_;
  std::unordered_set<std::string> known_;  // Those in the report. One damaged number may be millions of problems.
};

}  // namespace oncelog::internal
