#include "base/failpoint.h"

#include <signal.h>

#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::failpoints;

namespace {

constexpr std::uint32_t kClaims = 24;

/// What a child says that it was told before it died.
struct Told {
  std::atomic<bool> claimed{false};
  std::atomic<bool> plain{false};
  std::atomic<bool> committed{false};
  std::atomic<bool> completed{false};
  std::atomic<bool> over{false};
  std::atomic<bool> synced{false};
  std::atomic<bool> forgotten{false};
};

/// How those who come after a death find the store.
enum class After {
  reopened,    // As the dead left it.
  rebuilt,     // Without its shared memory: what was not flushed is gone.
  open,        // They have had it open all the time.
  died_again,  // Who found it first died as well, at each place where one can, one after the other.
};

/// One store, in which children die at one place after the other.
class Crashes {
 public:
  explicit Crashes(After after) : after_(after) {
    options_.retention = 1h;
    options_.expected_ids = 1;
    options_.flush_interval = 1h;
    options_.ring_bytes = 64 << 10;
    options_.max_claims = kClaims;
    if (after_ == After::open) store_ = open();
  }

  FakeHost& host() const { return *host_; }

  /// Has a child run `scenario` and die at the n-th failpoint, for each n until one survives; then `check`.
  void run(const std::function<void(const Store&, Told&, const std::string&)>& scenario,
           const std::function<void(const Store&, const Told&, const std::string&)>& check) {
    std::uint64_t nth = 0;
    for (bool died = true; died;) {
      nth += scaled(1, 7);
      CAPTURE(nth);
      const std::string n = std::to_string(nth);
      const Shared<Told> told;
      const int status = wait_for(spawn([&] {
        const Store store = open();
        store.scope("orders");
        store.scope("mails");
        store.lock("makes the tokens' epoch", 1h);
        failpoints.arm(nth);
        scenario(store, *told, n);
        failpoints.arm(0);
        return 0;
      }));
      died = status != 0;
      if (died) REQUIRE(status == -SIGKILL);
      if (after_ == After::rebuilt) remove_derived(dir_ / "store");
      if (after_ == After::died_again && died) die_again(nth);
      if (after_ != After::open) store_ = open();
      check(*store_, *told, n);
      // No lease is lost: all can be had at once.
      const Ids ids(kClaims, [&](std::size_t i) { return "all of them " + n + " " + std::to_string(i); });
      CHECK_NOTHROW(store_->scope("orders").begin(ids, 1h).abandon());
      CHECK(store_->claims().empty());
      check_log();
      if (after_ != After::open) store_.reset();
    }
    CHECK(nth > 20);
    MESSAGE(nth << " places");
  }

  /// Whether what was accepted but not synced may be gone.
  bool forgetful() const { return after_ == After::rebuilt; }

 private:
  Store open() const { return StoreAccess::open(dir_ / "store", options_, *host_); }

  /// At every seventh place, and at others than after the death before.
  void die_again(std::uint64_t first) const {
    const std::uint64_t stride = scaled(7, 15);
    for (std::uint64_t nth = 1 + first % stride;; nth += stride) {
      const int status = wait_for(spawn([&] {
        const Store store = open();
        failpoints.arm(nth);
        const Claim claim = store.scope("orders").begin("of who came first", 1h);
        store.transact([](Transaction& tx) { tx.put("t", "k", "v"); });
        store.sync();
        failpoints.arm(0);
        return 0;
      }));
      if (status == 0) return;
      REQUIRE(status == -SIGKILL);
    }
  }

  /// No id has two records but after it was forgotten, and nothing is damaged.
  void check_log() const {
    std::map<std::pair<std::string, std::string>, int> seen;
    store_->scan({}, [&](const Record& record) {
      int& count = seen[{record.scope, record.id}];
      count = record.forgotten ? 0 : count + 1;
      CHECK(count <= 1);
      return true;
    });
    Lsn last;
    for (const Record& record : store_->correlated("chain")) {
      CHECK(record.lsn > last);
      last = record.lsn;
    }
  }

  const After after_;
  const Shared<FakeHost> host_;
  const TempDir dir_;
  Options options_;
  std::optional<Store> store_;
};

After pick_after() {
  After after = After::reopened;
  SUBCASE("and the store is opened again") {}
  SUBCASE("and the store is opened again without its shared memory") {
    after = After::rebuilt;
  }
  SUBCASE("while another process has the store open") {
    after = After::open;
  }
  SUBCASE("and who opens the store again dies at any place, too") {
    after = After::died_again;
  }
  return after;
}

/// mark() on an id that may have been left behind anyhow: never in progress for good.
bool was_marked(const Scope& scope, const std::string& id) {
  const Marked marked = scope.mark(id);
  REQUIRE(marked != Verdict::in_progress);
  CHECK(scope.contains(id));
  return marked == Verdict::duplicate;
}

bool in_chain(const Store& store, const std::string& id) {
  for (const Record& record : store.correlated("chain")) {
    if (record.id == id) return true;
  }
  return false;
}

bool is_scanned(const Store& store, const std::string& id) {
  bool found = false;
  store.scan({}, [&](const Record& record) {
    found = record.id == id;
    return !found;
  });
  return found;
}

}  // namespace

TEST_CASE("what a transaction has marked can be forgotten wherever it died, and is what its effect is until then") {
  Crashes crashes(After::open);
  crashes.run(
      [](const Store& store, Told&, const std::string& n) {
        store.transact([&](Transaction& tx) {
          tx.mark(store.scope("orders"), n);
          tx.put("orders", n, "paid");
        });
      },
      [](const Store& store, const Told&, const std::string& n) {
        const Scope orders = store.scope("orders");
        const bool effect = store.get("orders", n).has_value();
        CHECK(orders.forget(n) == effect);
        CHECK_FALSE(orders.contains(n));
        CHECK(orders.mark(n) == Verdict::fresh);
      });
}

TEST_CASE("a process that dies at any place in a transaction leaves all of it or nothing") {
  Crashes crashes(pick_after());
  crashes.run(
      [](const Store& store, Told& told, const std::string& n) {
        const Scope orders = store.scope("orders");
        const Scope mails = store.scope("mails");
        Claim claim = orders.begin("claimed " + n, 1h, {.correlation = "chain"});
        store.transact([&](Transaction& tx) {
          tx.mark(orders, "order " + n, {.correlation = "chain"});
          std::thread([&] {
            orders.mark("plain " + n, {.correlation = "chain"});
            told.plain = true;
          }).join();
          tx.put("orders", n, "paid");
          tx.mark(mails, "mail " + n, {.correlation = "chain", .result = "sent"});
          tx.mark(mails, "mail without attributes " + n);
          tx.put("mails", n, "sent");
          tx.complete(claim, {.result = "done"});
        });
        told.committed = true;
        orders.mark("after " + n);
        told.over = true;
        store.sync();
        told.synced = true;
      },
      [&](const Store& store, const Told& told, const std::string& n) {
        const Scope orders = store.scope("orders");
        const Scope mails = store.scope("mails");
        const bool effect = store.get("orders", n).has_value();
        CHECK(store.get("mails", n).has_value() == effect);
        // Also for who only looks, before anyone has settled what the dead have left.
        CHECK(orders.contains("order " + n) == effect);
        CHECK(mails.find("mail " + n).has_value() == effect);
        CHECK(in_chain(store, "order " + n) == effect);
        CHECK(is_scanned(store, "mail without attributes " + n) == effect);
        if (told.committed) CHECK(effect);
        CHECK(was_marked(orders, "order " + n) == effect);
        CHECK(was_marked(mails, "mail " + n) == effect);
        CHECK(was_marked(mails, "mail without attributes " + n) == effect);
        const Claim claim = orders.begin("claimed " + n, 1h);
        CHECK((claim == Verdict::duplicate) == effect);
        CHECK(static_cast<bool>(claim) == !effect);
        if (effect) {
          CHECK(mails.find("mail " + n)->result == "sent");
          CHECK(claim.record()->result == "done");
        }
        for (const std::string id : {"order ", "mail ", "claimed "}) CHECK(in_chain(store, id + n) == effect);
        if (told.plain && (!crashes.forgetful() || told.synced)) {
          CHECK(was_marked(orders, "plain " + n));
          CHECK(in_chain(store, "plain " + n));
        }
        if (told.over && (!crashes.forgetful() || told.synced)) CHECK(was_marked(orders, "after " + n));
      });
}

TEST_CASE("a process that dies at any place in its claims leaves them completed or free") {
  Crashes crashes(pick_after());
  crashes.run(
      [&](const Store& store, Told& told, const std::string& n) {
        const Scope orders = store.scope("orders");
        Claim completed = orders.begin("completed " + n, 1h, {.correlation = "chain"});
        told.claimed = true;
        {
          const Claim abandoned = orders.begin("abandoned " + n, 1h);
          // What is over is taken by a claim, and by a mark.
          const Claim passed = orders.begin("passed " + n, 10s);
          const Claim marked = orders.begin("marked " + n, 10s);
          crashes.host().advance(10s);
          const Claim taker = orders.begin("passed " + n, 10s);
          expect(static_cast<bool>(taker), "what is over can be taken");
          expect(orders.mark("marked " + n) == Verdict::fresh, "what is over can be marked");
          told.plain = true;
        }
        expect(static_cast<bool>(completed.complete({.result = "done"})), "the claim is in time");
        told.completed = true;
        const Ids ids(3, [&](std::size_t i) { return "batch " + n + " " + std::to_string(i); });
        ClaimBatch batch = orders.begin(ids, 1h);
        batch.complete();
        told.over = true;
      },
      [&](const Store& store, const Told& told, const std::string& n) {
        const Scope orders = store.scope("orders");
        CHECK(orders.begin("abandoned " + n, 1h));
        CHECK(orders.begin("passed " + n, 1h));
        const Claim completed = orders.begin("completed " + n, 1h);
        if (told.completed && !crashes.forgetful()) CHECK(completed == Verdict::duplicate);
        if (completed == Verdict::duplicate) {
          CHECK(completed.record()->result == "done");
          CHECK(in_chain(store, "completed " + n));
        } else {
          CHECK(completed);
          CHECK_FALSE(in_chain(store, "completed " + n));
        }
        const Claim marked = orders.begin("marked " + n, 1h);
        CHECK(marked != Verdict::in_progress);
        if (told.plain && !crashes.forgetful()) CHECK(marked == Verdict::duplicate);
        bool last = true;
        for (int i = 0; i < 3; ++i) {
          const Claim one = orders.begin("batch " + n + " " + std::to_string(i), 1h);
          CHECK(one != Verdict::in_progress);
          if (told.over && !crashes.forgetful()) CHECK(one == Verdict::duplicate);
          if (one == Verdict::duplicate) CHECK(last);  // In order.
          last = one == Verdict::duplicate;
        }
      });
}

TEST_CASE("a process that dies at any place in marking, forgetting and flushing loses nothing it was told of") {
  Crashes crashes(pick_after());
  crashes.run(
      [](const Store& store, Told& told, const std::string& n) {
        const Scope orders = store.scope("orders");
        orders.mark("plain " + n, {.correlation = "chain"});
        told.plain = true;
        store.sync();
        told.synced = true;
        orders.mark("again " + n, {.correlation = "chain"});
        orders.forget("again " + n);
        told.forgotten = true;
        orders.mark("again " + n, {.correlation = "chain"}, Ack::disk);
        told.over = true;
      },
      [&](const Store& store, const Told& told, const std::string& n) {
        const Scope orders = store.scope("orders");
        if (told.plain && (told.synced || !crashes.forgetful())) {
          CHECK(was_marked(orders, "plain " + n));
          CHECK(in_chain(store, "plain " + n));
        }
        if (told.over) {
          CHECK(was_marked(orders, "again " + n));
          CHECK(in_chain(store, "again " + n));
        } else if (!told.forgotten) {
          was_marked(orders, "again " + n);
        }
        const bool known = told.over || !told.forgotten || orders.contains("again " + n);
        CHECK(orders.forget("again " + n) == known);
        CHECK(orders.mark("again " + n) == Verdict::fresh);
      });
}

TEST_CASE("a process that dies at any place while a store heals leaves hints that name every record") {
  const Options options{.retention = 1h, .expected_ids = 1, .flush_interval = 1ms, .ring_bytes = 1 << 20};
  const Shared<FakeHost> host;
  const Shared<std::size_t> ids;
  const auto id_of = [](std::size_t i) { return "id " + std::to_string(i); };
  constexpr std::size_t kIds = 3'000;  // More of them where the store has healed meanwhile.
  const auto healed = [](const Store& store) {
    const Metrics metrics = store.metrics();
    return metrics.live_buckets.at(0).index_tables == 1 && metrics.filter_generations == 1;
  };
  std::uint64_t deaths = 0;
  // Most places are entries that are copied, all alike: these are visited in steps, the others one by one.
  const auto next = [](std::uint64_t nth) {
    return nth + (nth < 40 ? 1 : nth < 400 ? scaled(7, 29) : scaled(97, 401));
  };
  for (std::uint64_t nth = 1; nth < 6'500; nth = next(nth)) {
    CAPTURE(nth);
    const TempDir dir;
    // What is copied is in the log. So where little was flushed, which depends on how the first process and its
    // background take turns, a chain of tables and generations is left that has most still to be copied.
    REQUIRE(wait_for(spawn([&] {
              Options unflushed = options;
              unflushed.flush_interval = 1h;
              const Store store = StoreAccess::open(dir / "store", unflushed, *host);
              const Scope orders = store.scope("orders");
              orders.mark("the first one is flushed at once");
              store.sync();
              std::size_t marked = 0;
              do {
                for (const std::size_t end = marked + kIds; marked < end; ++marked) {
                  orders.mark(id_of(marked), {.correlation = marked % 5 == 0 ? "chain" : ""});
                }
              } while (healed(store));
              *ids = marked;
              ::raise(SIGKILL);
              return 0;
            })) == -SIGKILL);
    const int status = wait_for(spawn([&] {
      failpoints.arm(nth);
      const Store store = StoreAccess::open(dir / "store", options, *host);
      wait_until([&] { return healed(store); });
      failpoints.arm(0);
      return 0;
    }));
    if (status != 0) REQUIRE(status == -SIGKILL);
    deaths += status != 0;
    const Store store = StoreAccess::open(dir / "store", options, *host);
    const Scope orders = store.scope("orders");
    for (std::size_t i = 0; i < *ids; ++i) REQUIRE(orders.contains(id_of(i)));
    CHECK(orders.mark("one more") == Verdict::fresh);
    wait_until([&] { return healed(store); });
    for (std::size_t i = 0; i < *ids; ++i) REQUIRE(orders.mark(id_of(i)) == Verdict::duplicate);
    CHECK(store.correlated("chain").size() == *ids / 5);
    CHECK(store.verify({.deep = true}).problems.empty());
  }
  CHECK(deaths > 20);
  MESSAGE(deaths << " deaths");
}

namespace {

/// A bucket that is worth to be sealed, and the next one.
constexpr std::size_t kSealedIds = 17'000;
const Options kSealing{
    .retention = 1h, .buckets = 4, .expected_ids = 4 * kSealedIds, .flush_interval = 1ms, .ring_bytes = 1 << 20};

std::string sealed_id(std::size_t i) {
  return "sealed id " + std::to_string(i);
}

std::size_t sealed_files(const std::filesystem::path& store) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(store)) {
    count += entry.path().filename().string().starts_with("sealed-");
  }
  return count;
}

/// Makes the store, and leaves it as a death does. Copies of it are not sealed: notes are of one data.mdb.
void make_unsealed(const std::filesystem::path& path, const Shared<FakeHost>& host) {
  REQUIRE(wait_for(spawn([&] {
            Options options = kSealing;
            options.flush_interval = 1h;
            const Store store = StoreAccess::open(path, options, *host);
            const Scope orders = store.scope("orders");
            const Ids ids(kSealedIds, sealed_id);
            std::vector<Marked> marked(ids.size());
            orders.mark(ids, marked);
            host->advance(15min);
            orders.mark("of the next bucket");
            store.sync();
            ::raise(SIGKILL);
            return 0;
          })) == -SIGKILL);
}

/// Opens the store after a reboot; `all` whether its ids are within the retention.
void check_sealed(const std::filesystem::path& path, const Shared<FakeHost>& host, bool all) {
  host->reboot();
  const Store store = StoreAccess::open(path, kSealing, *host);
  const Scope orders = store.scope("orders");
  for (std::size_t i = 0; i < kSealedIds; ++i) REQUIRE(orders.contains(sealed_id(i)) == all);
  CHECK(store.metrics().damages == 0);
  CHECK(store.verify({.deep = true}).problems.empty());
  if (!all) return;
  wait_until([&] { return store.metrics().sealed_buckets == 1; });
  for (std::size_t i = 0; i < kSealedIds; i += 10) REQUIRE(orders.mark(sealed_id(i)) == Verdict::duplicate);
}

}  // namespace

TEST_CASE(
    "a process that dies at any place while it seals, or forgets what is sealed, leaves a store that a reboot does not "
    "hurt") {
  const Shared<FakeHost> host;
  const TempDir made;
  make_unsealed(made / "store", host);
  std::uint64_t deaths = 0;
  bool died = true;
  for (std::uint64_t nth = 1; died; ++nth) {
    CAPTURE(nth);
    const TempDir dir;
    const auto path = dir / "store";
    copy_store(made / "store", path);
    const Shared<std::atomic<bool>> expired;
    const Shared<FakeHost> later;
    later->advance(std::chrono::microseconds(host->wall_us() - later->wall_us()));
    const int status = wait_for(spawn([&] {
      const Store store = StoreAccess::open(path, kSealing, *later);
      failpoints.arm(nth);
      wait_until([&] { return store.metrics().sealed_buckets == 1; });
      *expired = true;
      later->advance(1h);
      wait_until([&] { return store.metrics().live_buckets.empty() && sealed_files(path) == 0; });
      failpoints.arm(0);
      return 0;
    }));
    died = status != 0;
    if (died) REQUIRE(status == -SIGKILL);
    deaths += died;
    check_sealed(path, later, !*expired);
    if (!*expired) check_sealed(path, later, true);
  }
  CHECK(deaths > 10);
  MESSAGE(deaths << " deaths");
}

TEST_CASE("a process that dies at any place while it opens a sealed store leaves one that opens") {
  const Shared<FakeHost> host;
  const TempDir dir;
  const auto path = dir / "store";
  make_unsealed(path, host);
  check_sealed(path, host, true);
  std::uint64_t deaths = 0;
  bool died = true;
  for (std::uint64_t nth = 1; died; ++nth) {
    CAPTURE(nth);
    host->reboot();
    const int status = wait_for(spawn([&] {
      failpoints.arm(nth);
      const Store store = StoreAccess::open(path, kSealing, *host);
      failpoints.arm(0);
      return 0;
    }));
    died = status != 0;
    if (died) REQUIRE(status == -SIGKILL);
    deaths += died;
    check_sealed(path, host, true);
  }
  CHECK(deaths > 2);
  MESSAGE(deaths << " deaths");
}
