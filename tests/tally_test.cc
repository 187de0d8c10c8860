#include "shared/tally.h"

#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

TEST_CASE("a histogram's bucket holds what is above half its bound, up to the bound, and the last one all else") {
  using Histogram = BasicHistogram<std::uint64_t>;
  CHECK(Histogram::bucket_of(0) == 0);
  CHECK(Histogram::bucket_of(1) == 0);
  for (std::size_t i = 1; i < Histogram::kBuckets - 1; ++i) {
    CAPTURE(i);
    const std::uint64_t bound = std::uint64_t{1} << i;
    CHECK(Histogram::bucket_of(bound / 2 + 1) == i);
    CHECK(Histogram::bucket_of(bound) == i);
    CHECK(Histogram::bucket_of(bound + 1) == i + 1);
  }
  CHECK(Histogram::bucket_of(~std::uint64_t{0}) == Histogram::kBuckets - 1);
}

TEST_CASE("the host gets what the threads' sums have grown by, from each process, and each count once") {
  HostTally host;
  std::array<ThreadTally, 2> threads;
  ProcessTally one(host);
  ProcessTally other(host);
  const auto fold = [&](ProcessTally& process, std::span<ThreadTally> of) {
    return process.fold([&](auto visit) { std::ranges::for_each(of, visit); });
  };
  one.know_scope(2);
  threads[0].count(2, IdEvent::known);
  threads[1].count(2, IdEvent::known, 2);
  ThreadTally::add(threads[1].log_reads, 5);
  CHECK(fold(one, threads).of(2, IdEvent::known) == 3);
  CHECK(host.of(2, IdEvent::known) == 3);
  fold(one, threads);
  CHECK(host.of(2, IdEvent::known) == 3);
  CHECK(host.log_reads == 5);
  threads[0].count(2, IdEvent::known);
  fold(one, threads);
  CHECK(host.of(2, IdEvent::known) == 4);

  ThreadTally third;
  other.know_scope(2);
  other.know_scope(1'000'000);
  third.count(2, IdEvent::known);
  third.count(1'000'000, IdEvent::late);
  fold(other, std::span(&third, 1));
  CHECK(host.of(2, IdEvent::known) == 5);
  CHECK(host.of(64, IdEvent::late) == 1);
  CHECK(host.of(0, IdEvent::late) == 1);
  CHECK(host.of(63, IdEvent::late) == 0);
}

TEST_CASE("a child that goes on after a fork adds nothing of its parent's counts to the host") {
  const TempDir dir;
  Store store = Store::open(dir / "store", {.flush_interval = std::chrono::hours{1}});
  store.scope("s").mark("a");
  const pid_t child = spawn([&] {
    store = Store::open(dir / "store");  // Lets go of the parent's.
    static_cast<void>(store.metrics());
    return 0;
  });
  CHECK(wait_for(child) == 0);
  CHECK(store.metrics().scopes.at(0).host.fresh == 1);
}
