#include "shared/tally.h"

namespace oncelog::internal {

void SampledTime::note() const {
  const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin_);
  const auto ns = static_cast<std::uint64_t>(took.count());
  auto& times = tally_.times_of(what_);
  ThreadTally::add(times.counts[times.bucket_of(ns)]);
  ThreadTally::add(times.sum, ns);
}

void ProcessTally::know_scope(std::uint32_t scope) {
  const std::uint32_t wanted = Tally::slot_of(scope) + 1;
  std::uint32_t known = slots_.load(std::memory_order_relaxed);
  while (known < wanted && !slots_.compare_exchange_weak(known, wanted, std::memory_order_relaxed)) {
  }
}

void ProcessTally::add_to_host(const Tally& sums, std::uint32_t slots) {
  Tally growth = sums;
  growth.each(folded_, slots, [](std::uint64_t& grown, std::uint64_t before) { grown -= before; });
  growth.each(host_, slots, [](std::uint64_t grown, std::atomic<std::uint64_t>& host) {
    if (grown != 0) host.fetch_add(grown, std::memory_order_relaxed);
  });
  folded_ = sums;
}

}  // namespace oncelog::internal
