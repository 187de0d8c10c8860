#include "remote/durable_watermark.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "memory_backend.h"
#include "remote/forwarding.h"
#include "remote/remote_engine.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Backend;
using internal::remote::DurableWatermark;
using internal::remote::RemoteEngine;

TEST_CASE("a flush covers what was answered before it began") {
  DurableWatermark watermark;
  { const DurableWatermark::Unsynced call(watermark); }
  watermark.note(Lsn{80});
  CHECK(watermark.get() <= Lsn{80});
  const DurableWatermark::Flush flush(watermark);
  watermark.note(Lsn{88});
  CHECK(watermark.get() <= Lsn{80});
  flush.done();
  CHECK(watermark.get() > Lsn{80});
  CHECK(watermark.get() <= Lsn{88});
}

TEST_CASE("what is answered below what a flush has promised is to be flushed, before and after that is done") {
  DurableWatermark watermark;
  watermark.note(Lsn{80});
  const DurableWatermark::Unsynced call(watermark);
  CHECK_FALSE(call.promised(Lsn{72}));
  const DurableWatermark::Flush flush(watermark);
  CHECK(call.promised(Lsn{72}));
  CHECK_FALSE(call.promised(Lsn{88}));
  flush.done();
  CHECK(call.promised(Lsn{72}));
}

TEST_CASE("a synced call raises the watermark where no unsynced one was under way") {
  DurableWatermark watermark;
  { const DurableWatermark::Unsynced before(watermark); }
  std::optional<DurableWatermark::Unsynced> call;
  SUBCASE("beside it from its beginning") {
    call.emplace(watermark);
    const DurableWatermark::Synced synced(watermark, true);
    call.reset();
    synced.done(Lsn{80});
    CHECK(watermark.get() <= Lsn{80});
  }
  SUBCASE("or has begun since") {
    const DurableWatermark::Synced synced(watermark, true);
    call.emplace(watermark);
    synced.done(Lsn{80});
    CHECK(watermark.get() <= Lsn{80});
    CHECK(call->promised(Lsn{72}));
  }
  SUBCASE("and none was") {
    const DurableWatermark::Synced synced(watermark, true);
    synced.done(Lsn{80});
    CHECK(watermark.get() > Lsn{80});
  }
}

TEST_CASE("of servers with logs of their own a synced call covers no other's, which a flush does") {
  DurableWatermark watermark;
  { const DurableWatermark::Unsynced before(watermark); }
  DurableWatermark::Synced(watermark, false).done(Lsn{80});
  CHECK(watermark.get() <= Lsn{80});
  DurableWatermark::Flush(watermark).done();
  DurableWatermark::Synced(watermark, false).done(Lsn{88});
  CHECK(watermark.get() > Lsn{88});
}

namespace {

/// Keeps back the answer of the one who marks "late", and counts flushes.
class Late final : public internal::remote::Forwarding {
 public:
  using Forwarding::Forwarding;

  void mark(std::string_view scope, std::span<const internal::remote::Ask> asked, Ack ack,
            const internal::remote::Attempt& attempt, std::span<internal::remote::Answer> out) override {
    Forwarding::mark(scope, asked, ack, attempt, out);
    if (asked.front().id != "late") return;
    decided = true;
    wait_until([&] { return answers.load(); });
  }
  void flush() override {
    Forwarding::flush();
    ++flushes;
  }

  std::atomic<bool> decided{false};
  std::atomic<bool> answers{false};
  std::atomic<int> flushes{0};
};

}  // namespace

TEST_CASE("a mark whose answer comes after a later one was promised to be on disk is flushed before it is told") {
  const auto late = std::make_shared<Late>(std::make_shared<MemoryBackend>());
  const Store store =
      StoreAccess::on(std::make_shared<RemoteEngine>(late, oncelog::remote::Options{}, nullptr), Ack::host);
  const Scope scope = store.scope("orders");
  Marked marked;
  int flushes = 0;
  std::thread marker([&] {
    marked = scope.mark("late");
    flushes = late->flushes;
  });
  wait_until([&] { return late->decided.load(); });
  const Marked later = scope.mark("later");
  store.wait(later.lsn);
  CHECK(store.durable() > later.lsn);
  const int before = late->flushes;
  late->answers = true;
  marker.join();
  CHECK(marked.lsn < later.lsn);
  CHECK(flushes > before);
}
