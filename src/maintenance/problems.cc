#include "maintenance/problems.h"

#include <fmt/format.h>

#include <utility>

namespace oncelog {

std::string_view to_string(ProblemKind kind) {
  switch (kind) {
    case ProblemKind::page:
      return "page";
    case ProblemKind::meta:
      return "meta";
    case ProblemKind::space:
      return "space";
    case ProblemKind::identity:
      return "identity";
    case ProblemKind::number:
      return "number";
    case ProblemKind::scope:
      return "scope";
    case ProblemKind::bucket:
      return "bucket";
    case ProblemKind::block:
      return "block";
    case ProblemKind::record:
      return "record";
    case ProblemKind::hint:
      return "hint";
    case ProblemKind::opening:
      return "opening";
  }
  return "unknown";
}

}  // namespace oncelog

namespace oncelog::internal {
namespace {

/// Different for different problems; the remedy follows from the rest.
std::string key_of(const Problem& problem) {
  return fmt::format("{}\n{}\n{}\n{}", to_string(problem.kind), problem.where, problem.sentence, problem.meaning);
}

}  // namespace

std::string page_name(lmdb::PageNumber page) {
  return fmt::format("page {} of data.mdb", page);
}

std::string lsn_name(Lsn lsn) {
  return fmt::format("LSN {}", lsn.value);
}

Problems::Problems(VerifyReport& report, std::size_t most) : report_(&report), most_(most) {
  for (const Problem& problem : report.problems) known_.insert(key_of(problem));
}

void Problems::add(ProblemKind kind, std::string where, std::string sentence, std::string meaning, std::string remedy) {
  Problem problem{kind, std::move(where), std::move(sentence), std::move(meaning), std::move(remedy)};
  std::string key = key_of(problem);
  if (known_.contains(key)) return;
  ++report_->problem_count;
  if (report_->problems.size() >= most_) return;
  known_.insert(std::move(key));
  report_->problems.push_back(std::move(problem));
}

void Problems::add(const lmdb::Fault& fault) {
  add(ProblemKind::page, page_name(fault.page), fault.what,
      "what lies on or below the page may be missing from answers, and LMDB may crash a process that reads it",
      kRestoreOrRepair);
}

}  // namespace oncelog::internal
