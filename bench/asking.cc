#include "asking.h"

#include <algorithm>
#include <array>
#include <span>

namespace oncelog::bench {

std::size_t ask(const Scope& scope, const Asking& how, const Ids& ids, std::size_t begin, std::size_t end) {
  std::size_t known = 0;
  if (!how.batches) {
    for (std::size_t i = begin; i < end; ++i) {
      known += how.mark ? scope.mark(ids[i]) == Verdict::duplicate : scope.contains(ids[i]);
    }
    return known;
  }
  Batch<kBatch> batch;
  std::array<bool, kBatch> answers;
  std::array<Marked, kBatch> marked;
  for (std::size_t i = begin; i < end; i += kBatch) {
    const auto all = batch.of(ids, i);
    const auto some = all.first(std::min(all.size(), end - i));
    if (how.mark) {
      scope.mark(some, std::span(marked).first(some.size()));
      for (std::size_t j = 0; j < some.size(); ++j) known += marked[j] == Verdict::duplicate;
    } else {
      scope.contains(some, std::span(answers).first(some.size()));
      for (std::size_t j = 0; j < some.size(); ++j) known += answers[j];
    }
  }
  return known;
}

}  // namespace oncelog::bench
