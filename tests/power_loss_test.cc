#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "intercept.h"
#include "lossy_disk.h"
#include "recording.h"
#include "shared.h"
#include "support.h"

// What a store writes is recorded, and its directory made as the disk may have it when the power fails at any moment:
// what was synced is whole, of the rest each sector may be there or not, in any of its versions. Then the machine
// boots. See README.md for the long mode, which visits more moments.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto kRetention = 80s;

// Ids that are enough for a bucket to be sealed, and what stands for all of them in a recording.
constexpr std::size_t kBulk = 17'000;
constexpr unsigned kBulkNumber = 1'000'000'000;

Options options_for(std::uint64_t max_bytes) {
  return {.retention = kRetention,
          .buckets = 8,
          .max_bytes = max_bytes,
          .expected_ids = 1,
          .flush_interval = 1h,
          .ring_bytes = 64 << 10,
          .max_claims = 16,
          .map_bytes = 64 << 20,
          .max_readers = 16};
}

std::string id_of(unsigned number) {
  return "message-" + std::to_string(number);
}

std::string bulk_id_of(std::size_t number) {
  return "bulk-" + std::to_string(number);
}

std::string value_of(unsigned number) {
  return std::string(number % 5 == 4 ? 150'000 : number % 3 == 2 ? 9'000 : 50, static_cast<char>('a' + number % 26));
}

/// A process that uses a store and has noted what the store promises. Numbers are those of its messages and
/// transactions, and no other process's.
class Worker {
 public:
  Worker(fs::path path, const Options& options, FakeHost& host, Recording& recording, unsigned first)
      : path_(std::move(path)), options_(options), host_(host), recording_(recording), next_(first) {
    open();
  }

  FakeHost& host() { return host_; }
  Store& store() { return *store_; }

  void mark(Ack ack) {
    const unsigned number = next_++;
    recording_.append({.kind = OpKind::marking, .number = number});
    const bool done = attempt([&] {
      const std::string result(number % 7 * 100, 'r');
      const auto marked = store_->scope("orders").mark(id_of(number), {.correlation = "chain", .result = result}, ack);
      if (ack != Ack::disk) waiting_.emplace_back(number, marked.lsn);
    });
    if (done && ack == Ack::disk) recording_.append({.kind = OpKind::acknowledged, .number = number});
    acknowledge();
  }

  void mark(unsigned count) {
    while (count-- > 0) mark(Ack::host);
  }

  void sync() {
    attempt([&] { store_->sync(); });
    acknowledge();
  }

  void mark_bulk() {
    recording_.append({.kind = OpKind::marking, .number = kBulkNumber});
    const Ids ids(kBulk, bulk_id_of);
    std::vector<Marked> marked(ids.size());
    store_->scope("orders").mark(ids, marked);
    store_->sync();
    recording_.append({.kind = OpKind::acknowledged, .number = kBulkNumber});
  }

  /// Marks and syncs until the background has come to `done`, which it works at when the ring fills up.
  template <typename Done>
  void mark_until(Done done) {
    for (int rounds = 0; !done(store_->metrics()); ++rounds) {
      expect(rounds < 1'000, "the background gets done");
      mark(200);
      sync();
    }
  }

  void transact() {
    const unsigned number = next_++;
    recording_.append({.kind = OpKind::transacting, .number = number});
    const bool done = attempt([&] {
      const Scope orders = store_->scope("orders");
      store_->transact([&](Transaction& tx) {
        tx.mark(orders, "first-" + std::to_string(number));
        tx.put("table", std::to_string(number), value_of(number));
        if (number >= 20) tx.put("table", std::to_string(number - number % 20), "again");
        tx.mark(orders, "second-" + std::to_string(number));
      });
    });
    if (done) recording_.append({.kind = OpKind::committed, .number = number});
    acknowledge();
  }

  void expire() {
    attempt([&] { store_->expire(); });
  }

  void reopen() {
    store_.reset();
    open();
    acknowledge();
  }

 private:
  /// With an application's patience: what failed may be right the next time.
  void open() {
    for (int tries = 0; !store_; ++tries) {
      try {
        store_ = StoreAccess::open(path_, options_, host_);
      } catch (const Error&) {
        if (tries == 5) throw;
      }
    }
  }

  bool attempt(const std::function<void()>& call) {
    try {
      call();
      return true;
    } catch (const Error&) {
      if (store_) reopen();
      return false;
    }
  }

  /// What the store says is on disk.
  void acknowledge() {
    const Lsn durable = store_->durable();
    std::erase_if(waiting_, [&](const auto& waiting) {
      if (waiting.second >= durable) return false;
      recording_.append({.kind = OpKind::acknowledged, .number = waiting.first});
      return true;
    });
  }

  const fs::path path_;
  const Options options_;
  FakeHost& host_;
  Recording& recording_;
  unsigned next_;
  std::optional<Store> store_;
  std::vector<std::pair<unsigned, Lsn>> waiting_;
};

struct Message {
  std::int64_t wall_us = 0;
  bool promised = false;
};

/// What was promised up to a moment of a recording.
struct Promises {
  Promises(const Recording& recording, std::size_t end) {
    for (std::size_t at = 0; at < end; ++at) {
      const Op& op = recording.ops[at];
      wall_us = op.wall_us;
      if (op.kind == OpKind::marking) messages[op.number].wall_us = op.wall_us;
      if (op.kind == OpKind::acknowledged) messages[op.number].promised = true;
      if (op.kind == OpKind::transacting) transactions[op.number].wall_us = op.wall_us;
      if (op.kind == OpKind::committed) transactions[op.number].promised = true;
    }
  }

  std::int64_t wall_us = FakeHost::kStartUs;
  std::map<unsigned, Message> messages;
  std::map<unsigned, Message> transactions;
};

/// The machine has booted again: all that was promised is there, and the store goes on.
void check_after_boot(const fs::path& path, const Promises& promises) {
  FakeHost host;
  host.advance(std::chrono::microseconds(promises.wall_us - FakeHost::kStartUs));
  host.reboot();
  Options options = options_for(0);
  options.retention.reset();
  options.buckets.reset();
  const bool anything = std::ranges::any_of(promises.messages, [](const auto& one) { return one.second.promised; });
  {
    const Store store = StoreAccess::open(path, options, host);
    const Scope orders = store.scope("orders");
    const std::int64_t since_us = store.known_since().time_since_epoch() / 1us;
    const auto remembered = [&](const Message& message) { return message.wall_us >= since_us; };
    expect(store.metrics().damages == 0, "nothing is damaged that is noted");
    Promises others = promises;
    if (const auto bulk = others.messages.extract(kBulkNumber); !bulk.empty()) {
      const bool kept = bulk.mapped().promised && remembered(bulk.mapped());
      for (std::size_t i = 0; kept && i < kBulk; ++i) {
        expect(orders.contains(bulk_id_of(i)), bulk_id_of(i) + " is on disk, the store had said");
      }
    }
    for (const auto& [number, message] : others.messages) {
      if (message.promised && remembered(message)) {
        expect(orders.contains(id_of(number)), id_of(number) + " is on disk, the store had said");
      }
    }
    for (const auto& [number, message] : promises.transactions) {
      const auto value = store.get("table", std::to_string(number));
      const bool effect = value.has_value();
      expect(!message.promised || effect, "transaction " + std::to_string(number) + " had committed");
      expect(!effect || *value == "again" || *value == value_of(number), "an effect is what was put");
      if (!remembered(message)) continue;
      const bool first = orders.contains("first-" + std::to_string(number));
      const bool second = orders.contains("second-" + std::to_string(number));
      // "again" is a later transaction's, and there also when this one has failed.
      const bool own = !effect || *value != "again";
      expect(first == second && (!own || first == effect) && (!message.promised || first),
             "transaction " + std::to_string(number) + " is there whole or not at all");
    }
    for (const auto& [number, message] : others.messages) {
      if (!remembered(message)) continue;
      const Verdict verdict = orders.mark(id_of(number)).verdict;
      expect(verdict == Verdict::fresh || verdict == Verdict::duplicate, "a mark has a verdict");
      expect(orders.mark(id_of(number)) == Verdict::duplicate, "no id is fresh twice");
    }
    std::set<std::string> seen;
    store.scan({}, [&](const Record& record) {
      if (record.forgotten) {
        seen.erase(record.id);  // A mark that was refused was taken back.
        return true;
      }
      expect(seen.insert(record.id).second, "no id has two records: " + record.id);
      return true;
    });
    expect(orders.mark("after the boot", Ack::disk) == Verdict::fresh, "the store goes on");
    store.transact([&](Transaction& tx) { tx.put("table", "after", "the boot"); });
    expect(!anything || !seen.empty() || since_us > 0, "something is there");
  }
  host.reboot();
  const Store store = StoreAccess::open(path, options, host);
  expect(store.scope("orders").contains("after the boot"), "the store had gone on");
  expect(store.get("table", "after") == "the boot", "the transaction too");
}

/// Runs the workload in a process of its own, with its n-th sync failing unless that is 0, and lets the power fail at
/// every sync and at `points` moments besides. Returns how many syncs there were.
unsigned lose_power(std::uint64_t seed, unsigned failing_sync, std::size_t points, std::uint64_t max_bytes,
                    const std::function<void(const std::function<Worker(unsigned)>&)>& workload) {
  const TempDir dir(memory_directory());
  const Shared<FakeHost> host;
  const Shared<Recording> recording;
  recording->host = &*host;
  REQUIRE(wait_for(spawn([&] {
            fs::create_directory(dir / "disk");
            Recorder recorder(dir / "disk", *recording, failing_sync);
            intercept(&recorder);
            workload([&](unsigned first) {
              return Worker(dir / "disk" / "store", options_for(max_bytes), *host, *recording, first);
            });
            intercept(nullptr);
            return 0;
          })) == 0);
  fs::remove_all(dir / "disk");
  std::mt19937_64 random(seed);
  std::vector<std::size_t> moments;
  for (std::size_t at = 0; at < recording->count; ++at) {
    const OpKind kind = recording->ops[at].kind;
    if (kind == OpKind::sync_all || kind == OpKind::sync_one || kind == OpKind::sync_names) {
      moments.insert(moments.end(), {at, at + 1});
    }
  }
  for (std::size_t i = 0; i < points; ++i) moments.push_back(random() % (recording->count + 1));
  std::ranges::sort(moments);
  constexpr std::size_t kGroup = 100;  // In one process, which what is wrong may crash.
  for (std::size_t first = 0; first < moments.size(); first += kGroup) {
    const Shared<std::array<char, 1024>> at;
    const std::uint64_t group_seed = random();
    const int status = wait_for(spawn([&] {
      ::alarm(120);
      std::mt19937_64 choice(group_seed);
      Disk disk(*recording);
      for (std::size_t i = first; i < std::min(first + kGroup, moments.size()); ++i) {
        std::snprintf(at->data(), at->size(), "the power fails before op %zu of %zu", moments[i], recording->count);
        disk.advance_to(moments[i]);
        const TempDir image(memory_directory());
        fs::create_directory(image / "store");
        disk.make(image.path(), choice);
        check_after_boot(image / "store", Promises(*recording, moments[i]));
      }
      return 0;
    }));
    const std::string where = at->data();
    CAPTURE(where);
    CAPTURE(failing_sync);
    REQUIRE(status == 0);
  }
  return recording->syncs;
}

void do_everything(Worker& worker, std::mt19937_64& random, unsigned steps) {
  for (unsigned step = 0; step < steps; ++step) {
    switch (random() % 10) {
      case 0:
        worker.sync();
        break;
      case 1:
        worker.mark(Ack::disk);
        break;
      case 2:
      case 3:
        worker.transact();
        break;
      case 4:
        worker.host().advance(std::chrono::milliseconds(random() % 9000));
        break;
      case 5:
        worker.expire();
        break;
      case 6:
        worker.reopen();
        break;
      case 7:
        worker.mark(static_cast<unsigned>(random() % 400));
        break;
      default:
        worker.mark(static_cast<unsigned>(random() % 20));
        break;
    }
  }
}

std::size_t points(std::size_t few) {
  return long_mode() ? few * 20 : few;
}

}  // namespace

TEST_CASE("a power failure at any moment takes nothing that is on disk, and leaves transactions whole") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(400), 0, [&](const auto& worker) {
    std::mt19937_64 random(seed);
    Worker one = worker(0);
    do_everything(one, random, 150);
  });
}

TEST_CASE("a power failure at any moment in a store's making leaves one that opens, or none") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(200), 0, [&](const auto& worker) {
    Worker one = worker(0);
    one.mark(Ack::disk);
    one.transact();
  });
}

TEST_CASE("a power failure at any moment of a store with a cap takes nothing that it remembers") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(150), 1 << 20, [&](const auto& worker) {
    Worker one = worker(0);
    for (unsigned round = 0; round < 60; ++round) {
      one.mark(100);
      if (round % 7 == 3) one.expire();
      if (round % 11 == 5) one.transact();
      if (round % 23 == 9) one.reopen();
      one.sync();
      one.host().advance(2s);
    }
  });
}

TEST_CASE("a power failure at any moment of sealing hints, and of forgetting them, leaves what is noted whole") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(60), 0, [&](const auto& worker) {
    Worker one = worker(0);
    one.mark_bulk();
    one.host().advance(11s);
    one.mark_until([](const Metrics& metrics) { return metrics.sealed_buckets == 1; });
    one.reopen();
    one.host().advance(75s);
    one.expire();
    one.mark_until([](const Metrics& metrics) { return metrics.sealed_buckets == 0; });
  });
}

TEST_CASE("a power failure at any moment takes nothing of two processes") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(250), 0, [&](const auto& worker) {
    std::array<pid_t, 2> children{};
    for (unsigned i = 0; i < children.size(); ++i) {
      children[i] = spawn([&] {
        std::mt19937_64 random(seed + i);
        Worker one = worker(i * 100'000);
        do_everything(one, random, 60);
        return 0;
      });
    }
    for (const pid_t child : children) {
      if (wait_for(child) != 0) throw std::runtime_error("a process failed");
    }
  });
}

TEST_CASE("a sync that fails and whose data is lost takes nothing that is on disk") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  unsigned syncs = 2;
  for (unsigned failing = 1; failing < syncs; failing += long_mode() ? 1 : 7) {
    syncs = lose_power(seed, failing, points(5), 0, [&](const auto& worker) {
      std::mt19937_64 random(seed);
      Worker one = worker(0);
      do_everything(one, random, 40);
    });
  }
}

TEST_CASE("a sync that fails while a store is made, and is tried again, takes nothing that is on disk") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  unsigned syncs = 2;
  for (unsigned failing = 1; failing < syncs; ++failing) {
    syncs = lose_power(seed, failing, points(20), 0, [&](const auto& worker) {
      Worker one = worker(0);
      one.mark(Ack::disk);
      one.transact();
    });
  }
}
