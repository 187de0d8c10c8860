#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "injector.h"
#include "intercept.h"
#include "shared.h"
#include "support.h"

// Every call by which a store changes its files, maps memory or starts a thread fails once, and with all after it, in
// each of the things that a store does. See README.md for the long mode, which visits more.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kMaxIds = 4096;
constexpr unsigned kMaxTransactions = 64;
constexpr unsigned kHangSeconds = 60;
const std::string kResult(300, 'r');

/// What became of an id, or of a transaction.
enum class Fate : std::uint8_t {
  untouched,
  refused,   // The call threw.
  accepted,  // It was fresh.
  on_disk,   // And the store has said that it is on disk.
};

/// What a child has been promised, and what it found wrong: in memory that outlives it.
struct Ledger {
  std::array<std::atomic<Fate>, kMaxIds> ids{};
  std::array<std::atomic<Fate>, kMaxTransactions> transactions{};
  std::atomic<bool> fired{false};
  char wrong[2048] = {};

  __attribute__((format(printf, 2, 3))) void report(const char* format, ...) {
    if (wrong[0] != '\0') return;  // The first is the cause.
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(wrong, sizeof wrong, format, arguments);
    va_end(arguments);
  }
};

/// A child's store and what it does with it: each call is made as an application would, and its answer compared with
/// what was promised before.
class Subject {
 public:
  Subject(std::filesystem::path path, const FakeHost& fake_host, Ledger& promises, Injector* faults)
      : path_(std::move(path)), host_(fake_host), ledger_(promises), injector_(faults) {
    options_.retention = 80s;
    options_.buckets = 8;
    options_.expected_ids = 1;
    options_.flush_interval = 1h;
    options_.ring_bytes = 64 << 10;
    options_.max_claims = 16;
    options_.map_bytes = 16 << 20;
    options_.max_readers = 16;
  }

  Options& options() { return options_; }

  bool open() {
    return attempt("open", [&] { store_ = StoreAccess::open(path_, options_, host_); });
  }
  void close() { store_.reset(); }
  bool is_open() const { return store_.has_value(); }

  static std::string name(unsigned id) { return "message-" + std::to_string(id); }

  void mark(unsigned id, Ack ack = Ack::host, const Attributes& attributes = {}) {
    const Fate before = ledger_.ids[id];
    if (before == Fate::untouched) ledger_.ids[id] = Fate::refused;
    attempt("mark", [&] { settle(id, before, store_->scope("orders").mark(name(id), attributes, ack).verdict, ack); });
  }

  void mark(unsigned first, unsigned end) {
    for (; first < end; ++first) mark(first);
  }

  /// Of which nothing is expected later.
  void mark_what_will_expire(unsigned first, unsigned end) {
    attempt("mark", [&] {
      for (; first < end; ++first) store_->scope("gone").mark(name(first), {.result = std::string_view(kResult)});
    });
  }

  void sync() {
    std::vector<unsigned> before;
    for (unsigned id = 0; id < kMaxIds; ++id) {
      if (ledger_.ids[id] == Fate::accepted) before.push_back(id);
    }
    if (!attempt("sync", [&] { store_->sync(); })) return;
    for (const unsigned id : before) ledger_.ids[id] = Fate::on_disk;
  }

  /// Two marks, an entry, and an end of a claim where that can be had.
  void transact(unsigned number, std::size_t value_bytes = 100) {
    const std::string n = std::to_string(number);
    attempt("transact", [&] {
      const Scope orders = store_->scope("orders");
      Claim claim = orders.begin("claimed " + n, 1h);
      ledger_.transactions[number] = Fate::refused;
      store_->transact([&](Transaction& tx) {
        tx.mark(orders, "first " + n);
        tx.put("table", n, std::string(value_bytes, 'v'));
        tx.erase("table", "common");
        tx.put("table", "common", std::string(value_bytes, 'c'));
        tx.mark(orders, "second " + n, {.result = "done"});
        tx.complete(claim);
      });
      ledger_.transactions[number] = Fate::on_disk;
    });
  }

  void claim(unsigned id) {
    const Fate before = ledger_.ids[id];
    if (before == Fate::untouched) ledger_.ids[id] = Fate::refused;
    attempt("claim", [&] {
      Claim claimed = store_->scope("orders").begin(name(id), 1h, {.correlation = "chain"});
      if (!claimed) {
        settle(id, before, claimed.verdict(), Ack::host);
      } else if (claimed.complete({.result = "done"}, Ack::disk)) {
        settle(id, before, Verdict::fresh, Ack::disk);
      } else {
        ledger_.report("a claim that was in time came too late");
      }
    });
  }

  void lock() {
    attempt("lock", [&] {
      const Lock held = store_->lock("one at a time", 1h);
      if (!held) ledger_.report("a lock that nobody holds was not to be had");
    });
  }

  void expire() {
    attempt("expire", [&] { store_->expire(); });
  }

  void use_new_scope(const std::string& scope) {
    attempt("scope", [&] { store_->scope(scope).mark("a"); });
  }

  void read_all() {
    attempt("scan", [&] { store_->scan({}, [](const Record&) { return true; }); });
    attempt("scan_table",
            [&] { store_->scan_table("table", "", [](std::string_view, std::string_view) { return true; }); });
    attempt("correlated", [&] { store_->correlated("chain"); });
    attempt("metrics", [&] { store_->metrics(); });
  }

  /// After the fault has gone: the same process goes on.
  void goes_on() {
    wait_for_success("open", [&] {
      if (!store_) store_ = StoreAccess::open(path_, options_, host_);
    });
    wait_for_success("sync", [&] { store_->sync(); });
    wait_for_success("mark", [&] { store_->scope("orders").mark("goes on", Ack::disk); });
    sync();
  }

  enum class Promised { all, what_is_on_disk };

  /// Everything promised is there, and what was refused can be had once.
  void check(Promised promised) {
    check_promises(promised);
    if (ledger_.wrong[0] != '\0') return;
    const Scope orders = store_->scope("orders");
    for (unsigned id = 0; id < kMaxIds; ++id) {
      const Fate fate = ledger_.ids[id];
      if (fate == Fate::untouched) continue;
      const bool must = fate == Fate::on_disk || (fate == Fate::accepted && promised == Promised::all);
      const Verdict verdict = orders.mark(name(id)).verdict;
      if (verdict != Verdict::duplicate && (must || verdict != Verdict::fresh)) {
        ledger_.report("%s is %s", name(id).c_str(), std::string(oncelog::to_string(verdict)).c_str());
      }
      if (orders.mark(name(id)) != Verdict::duplicate) ledger_.report("%s is fresh twice", name(id).c_str());
      ledger_.ids[id] = Fate::accepted;
    }
    for (unsigned number = 0; number < kMaxTransactions; ++number) {
      if (ledger_.transactions[number] == Fate::untouched) continue;
      for (const char* part : {"first ", "second ", "claimed "}) {
        const std::string id = part + std::to_string(number);
        if (orders.mark(id) == Verdict::in_progress) ledger_.report("%s is in progress for good", id.c_str());
        if (orders.mark(id) != Verdict::duplicate) ledger_.report("%s is fresh twice", id.c_str());
      }
      ledger_.transactions[number] = Fate::untouched;  // No longer whole or absent.
    }
    if (!store_->claims().empty()) ledger_.report("a claim was left behind");
    sync();
    check_log();
  }

 private:
  void check_promises(Promised promised) {
    const Scope orders = store_->scope("orders");
    for (unsigned id = 0; id < kMaxIds; ++id) {
      const Fate fate = ledger_.ids[id];
      const bool must = fate == Fate::on_disk || (fate == Fate::accepted && promised == Promised::all);
      if (must && !orders.contains(name(id))) ledger_.report("%s was accepted and is lost", name(id).c_str());
    }
    for (unsigned number = 0; number < kMaxTransactions; ++number) {
      const Fate fate = ledger_.transactions[number];
      if (fate == Fate::untouched) continue;
      const std::string n = std::to_string(number);
      const bool effect = store_->get("table", n).has_value();
      for (const char* part : {"first ", "second ", "claimed "}) {
        if (orders.contains(part + n) != effect) ledger_.report("transaction %u is there in part", number);
      }
      if (fate == Fate::on_disk && !effect) ledger_.report("transaction %u has committed and is lost", number);
      if (fate == Fate::refused && effect && promised == Promised::all) {
        ledger_.report("transaction %u has failed and is there", number);
      }
    }
  }

  /// No id has two records, unless the first one was taken back: a mark that was refused is.
  void check_log() {
    std::set<std::string> seen;
    store_->scan({}, [&](const Record& record) {
      if (record.forgotten) {
        seen.erase(record.scope + '/' + record.id);
        return true;
      }
      if (!seen.insert(record.scope + '/' + record.id).second) ledger_.report("%s is there twice", record.id.c_str());
      return true;
    });
  }

  void settle(unsigned id, Fate before, Verdict verdict, Ack ack) {
    if (verdict == Verdict::fresh && before >= Fate::accepted) ledger_.report("%s is fresh again", name(id).c_str());
    if (verdict == Verdict::duplicate && before == Fate::untouched) {
      ledger_.report("%s is a duplicate of nothing", name(id).c_str());
    }
    ledger_.ids[id] = ack == Ack::disk ? Fate::on_disk : std::max(before, Fate::accepted);
  }

  /// Makes a call that may fail while calls are made to; compares how.
  bool attempt(const char* what, const std::function<void()>& call) {
    try {
      call();
      return true;
    } catch (const Error& error) {
      const std::string code(oncelog::to_string(error.code()));
      const std::string_view sentence = error.what();
      const bool fitting = injector_ != nullptr && injector_->fired() && fits(injector_->lack(), error.code());
      const bool slander = sentence.find("damaged") != sentence.npos || sentence.find("replaced") != sentence.npos;
      if (!fitting || slander || sentence.size() < 20) ledger_.report("%s: %s: %s", what, code.c_str(), error.what());
    } catch (const std::exception& error) {
      ledger_.report("%s: an exception that is no Error: %s", what, error.what());
    }
    return false;
  }

  void wait_for_success(const char* what, const std::function<void()>& call) {
    std::string last;
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    do {
      try {
        return call();
      } catch (const Error& error) {
        last = error.what();
      }
      ::sched_yield();
    } while (std::chrono::steady_clock::now() < deadline);
    ledger_.report("%s never goes on: %s", what, last.c_str());
  }

  const std::filesystem::path path_;
  const FakeHost& host_;
  Ledger& ledger_;
  Injector* const injector_;
  Options options_;
  std::optional<Store> store_;
};

/// One of the things that a store does: `prepare` runs before calls are made to fail, `act` while they do.
struct Scenario {
  std::function<void(Subject&, FakeHost&)> prepare;
  std::function<void(Subject&, FakeHost&)> act;
};

void open_with_some(Subject& subject, FakeHost&) {
  subject.open();
  subject.transact(0);
  subject.mark(0, 100);
  subject.sync();
  subject.mark(100, 110);
}

/// How a run ends.
enum class Ending {
  goes_on,   // The process goes on, closes, and opens again; then the machine reboots.
  killed,    // The process is killed, and another one opens the store.
  rebooted,  // The machine loses all but what was written.
};

/// One run of a scenario in which the n-th call fails; false when there were less.
bool run(const Scenario& scenario, Lack lack, unsigned nth, bool always, Ending ending) {
  const TempDir dir(memory_directory());
  const auto path = dir / "store";
  const Shared<FakeHost> host;
  const Shared<Ledger> ledger;
  const auto reopen = [&](Subject& subject, Subject::Promised promised) {
    if (!subject.open()) return;
    subject.check(promised);
    subject.close();
  };
  int status = wait_for(spawn([&] {
    ::alarm(kHangSeconds);
    ::setenv("TMPDIR", dir.path().c_str(), 1);
    Injector injector(lack, nth, always);
    intercept(&injector);
    Subject subject(path, *host, *ledger, &injector);
    scenario.prepare(subject, *host);
    if (ledger->wrong[0] != '\0') return 1;
    injector.arm(true);
    scenario.act(subject, *host);
    ledger->fired = injector.fired();
    if (ending != Ending::goes_on) ::kill(::getpid(), SIGKILL);
    injector.arm(false);
    if (ledger->wrong[0] != '\0') return 1;
    subject.goes_on();
    if (ledger->wrong[0] != '\0') return 1;
    subject.check(Subject::Promised::all);
    subject.close();
    reopen(subject, Subject::Promised::all);
    host->reboot();
    reopen(subject, Subject::Promised::all);
    return 0;
  }));
  if (ending != Ending::goes_on && status == -SIGKILL && ledger->wrong[0] == '\0') {
    status = wait_for(spawn([&] {
      ::alarm(kHangSeconds);
      if (ending == Ending::rebooted) host->reboot();
      Subject subject(path, *host, *ledger, nullptr);
      reopen(subject, ending == Ending::killed ? Subject::Promised::all : Subject::Promised::what_is_on_disk);
      return 0;
    }));
  }
  if (status != 0 || ledger->wrong[0] != '\0') {
    FAIL_CHECK("lack of " << to_string(lack) << ", call " << nth << std::string(always ? " and all after it" : "")
                          << ", ending " << static_cast<int>(ending) << ": exit " << status << ": "
                          << std::string(ledger->wrong));
  }
  return ledger->fired;
}

/// All runs of a scenario.
void visit(const Scenario& scenario) {
  unsigned runs = 0;
  for (const Lack lack : {Lack::space, Lack::device, Lack::permission, Lack::descriptors, Lack::memory}) {
    for (const bool always : {false, true}) {
      unsigned nth = 1;
      for (; run(scenario, lack, nth, always, Ending::goes_on); ++nth) {
        ++runs;
        for (const Ending ending : {Ending::killed, Ending::rebooted}) {
          if (!long_mode() && (nth + (ending == Ending::killed)) % 2 != 0) continue;
          run(scenario, lack, nth, always, ending);
          ++runs;
        }
      }
      MESSAGE("lack of " << to_string(lack) << std::string(always ? ", for good: " : ", once: ") << nth - 1
                         << " calls");
    }
  }
  CHECK(runs > 10);
}

}  // namespace

TEST_CASE("a call that fails while creating a store loses nothing") {
  visit({[](Subject&, FakeHost&) {},
         [](Subject& subject, FakeHost&) {
           if (subject.open()) subject.mark(0, Ack::disk);
         }});
}

TEST_CASE("a call that fails while opening a store loses nothing") {
  visit({[](Subject& subject, FakeHost& host) {
           open_with_some(subject, host);
           subject.close();
         },
         [](Subject& subject, FakeHost&) {
           if (subject.open()) subject.mark(1000, Ack::disk);
         }});
}

TEST_CASE("a call that fails while opening a store after a reboot loses nothing") {
  visit({[](Subject& subject, FakeHost& host) {
           open_with_some(subject, host);
           subject.close();
           host.reboot();
         },
         [](Subject& subject, FakeHost&) {
           if (subject.open()) subject.mark(1000, Ack::disk);
         }});
}

TEST_CASE("a call that fails while moving a store's shared memory loses nothing") {
  visit({[](Subject& subject, FakeHost& host) {
           open_with_some(subject, host);
           subject.close();
           subject.options().live_dir = std::filesystem::path(::getenv("TMPDIR")) / "live";
         },
         [](Subject& subject, FakeHost&) {
           if (subject.open()) subject.mark(1000, Ack::disk);
         }});
}

TEST_CASE("a call that fails while marking to the disk loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost&) {
           for (unsigned id = 1000; id < 1004; ++id) subject.mark(id, Ack::disk);
           subject.mark(1004, Ack::disk, {.correlation = "chain", .result = std::string_view(std::string(3000, 'r'))});
           subject.mark(0, Ack::disk);
         }});
}

TEST_CASE("a call that fails while flushing loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost&) {
           subject.mark(1000, 1800);
           subject.sync();
           subject.mark(1800, 1900);
           subject.sync();
         }});
}

TEST_CASE("a call that fails while the ring is full and index and filter grow loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost&) { subject.mark(1000, 4000); }});
}

TEST_CASE("a call that fails while opening a new bucket loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost& host) {
           for (unsigned slice = 0; slice < 3; ++slice) {
             host.advance(11s);
             subject.mark(1000 + slice * 10, 1010 + slice * 10);
             subject.sync();
           }
         }});
}

TEST_CASE("a call that fails while expiring loses nothing") {
  visit({[](Subject& subject, FakeHost& host) {
           subject.open();
           for (unsigned slice = 0; slice < 5; ++slice) {
             subject.mark_what_will_expire(slice * 300, slice * 300 + 300);
             subject.sync();
             host.advance(11s);
           }
           host.advance(81s);
           subject.mark(0, 10);
         },
         [](Subject& subject, FakeHost& host) {
           subject.expire();
           subject.mark(1000, 1100);
           host.advance(11s);
           subject.mark(1100, Ack::disk);
           subject.expire();
         }});
}

TEST_CASE("a call that fails while transacting loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost&) {
           subject.transact(1);
           subject.mark(1000, 1010);
           subject.transact(2, 20'000);
           subject.transact(3, 300'000);
           subject.mark(1010, Ack::disk);
           subject.transact(4);
         }});
}

TEST_CASE("a call that fails while closing loses nothing") {
  visit({[](Subject& subject, FakeHost& host) {
           open_with_some(subject, host);
           subject.mark(1000, 1500);
         },
         [](Subject& subject, FakeHost&) {
           subject.close();
           if (subject.open()) subject.mark(2000, Ack::disk);
         }});
}

TEST_CASE("a call that fails while claiming loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost&) {
           subject.lock();
           subject.claim(1000);
           subject.claim(1001);
           subject.claim(0);
           subject.lock();
         }});
}

TEST_CASE("a call that fails while using a scope for the first time loses nothing") {
  visit({open_with_some, [](Subject& subject, FakeHost&) {
           subject.use_new_scope("a new one");
           subject.use_new_scope("another");
           subject.mark(1000, Ack::disk);
         }});
}

TEST_CASE("a call that fails while reading loses nothing") {
  visit({[](Subject& subject, FakeHost& host) {
           open_with_some(subject, host);
           subject.close();
           subject.options().read_only = true;
         },
         [](Subject& subject, FakeHost&) {
           if (subject.open()) subject.read_all();
           subject.close();
           subject.options().read_only = false;
         }});
}
