#include "maintenance/problems.h"

#include <fmt/format.h>

#include <algorithm>
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

std::string page_name(lmdb::PageNumber page) {
  return fmt::format("page {} of data.mdb", page);
}

std::string lsn_name(Lsn lsn) {
  return fmt::format("LSN {}", lsn.value);
}

void Problems::add(ProblemKind kind, std::string where, std::string sentence, std::string meaning, std::string remedy) {
  const auto is_same = [&](const Problem& known) {
    return known.kind == kind && known.where == where && known.sentence == sentence && known.meaning == meaning;
  };
  if (std::ranges::any_of(report_->problems, is_same)) return;
  ++report_->problem_count;
  if (report_->problems.size() >= most_) return;
  report_->problems.push_back({kind, std::move(where), std::move(sentence), std::move(meaning), std::move(remedy)});
}

void Problems::add(const lmdb::Fault& fault) {
  add(ProblemKind::page, page_name(fault.page), fault.what,
      "what lies on or below the page may be missing from answers, and LMDB may crash a process that reads it",
      kRestoreOrRepair);
}

}  // namespace oncelog::internal
