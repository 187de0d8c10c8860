#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lmdb/handles.h"
#include "shared.h"
#include "store_files.h"
#include "support.h"

// Writes that fail in a process that goes on: the calls with which LMDB writes are this executable's own.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// How many of the next calls fail, and with what.
struct Fault {
  std::atomic<int> left{0};
  std::atomic<int> error_number{EIO};

  bool strikes() {
    int now = left.load();
    while (now > 0 && !left.compare_exchange_weak(now, now - 1)) {
    }
    if (now > 0) errno = error_number.load();
    return now > 0;
  }
  void arm(int times, int with = EIO) {
    error_number = with;
    left = times;
  }
};

Fault meta_write;
Fault data_sync;
constexpr int kAlways = 1'000'000'000;

}  // namespace

// Under both names that the C library has for it, by label: its header joins the two.
extern "C" {
ssize_t short_pwrite(int file, const void* bytes, size_t size, off_t at) __asm__("pwrite");
ssize_t long_pwrite(int file, const void* bytes, size_t size, off_t at) __asm__("pwrite64");
}
ssize_t short_pwrite(int file, const void* bytes, size_t size, off_t at) {
  const bool meta = at < 8192 && size < 200;  // Part of one of the first two pages.
  if (meta && meta_write.strikes()) return -1;
  return ::syscall(SYS_pwrite64, file, bytes, size, at);
}
ssize_t long_pwrite(int file, const void* bytes, size_t size, off_t at) {
  return short_pwrite(file, bytes, size, at);
}
extern "C" int fdatasync(int file) {
  if (data_sync.strikes()) return -1;
  return static_cast<int>(::syscall(SYS_fdatasync, file));
}

namespace {

constexpr int kKnown = 5000;
const Options kOptions{.expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 64 << 10};

std::string id_of(int number) {
  return "message-" + std::to_string(number);
}

/// A store whose first kKnown ids lie in data.mdb, most of them no longer in the ring, and who is told what happens.
struct Attacked {
  explicit Attacked(const std::filesystem::path& path) {
    Options options = kOptions;
    options.on_event = [this](const StoreEvent& event) {
      failures += event.kind == StoreEventKind::flush_failed;
      recoveries += event.kind == StoreEventKind::flush_recovered;
    };
    store.emplace(Store::open(path, options));
    scope.emplace(store->scope("orders"));
    for (int id = 0; id < kKnown; ++id) scope->mark(id_of(id));
    store->sync();
  }
  ~Attacked() {
    meta_write.arm(0);
    data_sync.arm(0);
  }

  std::atomic<int> failures{0};
  std::atomic<int> recoveries{0};
  std::optional<Store> store;
  std::optional<Scope> scope;
};

/// Threads that look known ids up until they are told to stop.
class Lookers {
 public:
  explicit Lookers(const Scope& scope) {
    for (int thread = 0; thread < 2; ++thread) {
      threads_.emplace_back([this, scope, thread] {
        for (int id = thread; !stop_.load(); id = (id + 37) % kKnown) {
          try {
            wrong_ += !scope.contains(id_of(id));
            ++looks_;
          } catch (const Error&) {
            ++errors_;
          }
        }
      });
    }
  }
  ~Lookers() { stop(); }
  void stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void look_on() {
    const int now = looks_;
    wait_until([&] { return looks_ > now + 2000; });
  }
  int wrong() const { return wrong_; }
  int errors() const { return errors_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> wrong_{0};
  std::atomic<int> errors_{0};
  std::atomic<int> looks_{0};
  std::vector<std::thread> threads_;
};

bool syncs(const Store& store) {
  try {
    store.sync();
    return true;
  } catch (const Error&) {
    return false;
  }
}

int known(const Scope& scope) {
  int count = 0;
  for (int id = 0; id < kKnown; ++id) count += scope.contains(id_of(id));
  return count;
}

}  // namespace

TEST_CASE("one failed write is an error that says so, and then everything goes on, in all threads and processes") {
  const TempDir dir;
  int code = 0;
  Fault* fault = nullptr;
  SUBCASE("of the meta page") {
    fault = &meta_write;
    code = EIO;
  }
  SUBCASE("of the meta page, for want of space") {
    fault = &meta_write;
    code = ENOSPC;
  }
  SUBCASE("of the data's sync") {
    fault = &data_sync;
    code = EIO;
  }
  Attacked attacked(dir / "store");
  const Store& store = *attacked.store;
  const Scope& scope = *attacked.scope;
  Claim claim = scope.begin("claimed", 1h);
  REQUIRE(claim);
  Lookers lookers(scope);
  fault->arm(1, code);
  scope.mark("accepted");
  wait_until([&] { return fault->left == 0; });
  // Where there is no space the flush makes some, and has not failed.
  if (code == EIO) wait_until([&] { return attacked.failures == 1 && attacked.recoveries == 1; });
  wait_until([&] { return syncs(store); });
  CHECK(store.durable() > scope.find("accepted")->lsn);
  lookers.look_on();
  lookers.stop();
  CHECK(lookers.wrong() == 0);
  CHECK(lookers.errors() == 0);
  CHECK(known(scope) == kKnown);
  CHECK(scope.begin("claimed", 1h).verdict() == Verdict::in_progress);
  CHECK(claim.complete());
  CHECK(scope.mark("later", Ack::disk) == Verdict::fresh);
  store.transact([&](Transaction& tx) { tx.put("table", "key", "value"); });
  CHECK(store.get("table", "key") == "value");
  CHECK(wait_for(spawn([&] {
          const Scope other = Store::open(dir / "store", kOptions).scope("orders");
          return known(other) == kKnown && other.contains("accepted") && other.contains("later") &&
                         other.mark("theirs", Ack::disk) == Verdict::fresh
                     ? 0
                     : 1;
        })) == 0);
  CHECK(scope.contains("theirs"));
  CHECK(known(scope) == kKnown);
}

TEST_CASE("while every write of the meta page fails known ids are answered, and the sentence is true") {
  const TempDir dir;
  Attacked attacked(dir / "store");
  const Store& store = *attacked.store;
  const Scope& scope = *attacked.scope;
  Lookers lookers(scope);
  meta_write.arm(kAlways);
  scope.mark("accepted");
  wait_until([&] { return attacked.failures == 1; });
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::string sentence = error_text_of([&] { store.sync(); });
    CAPTURE(sentence);
    CHECK(sentence.find("damage") == std::string::npos);
    CHECK(sentence.find("lost") + sentence.find("Input/output error") != 2 * std::string::npos);
  }
  CHECK(error_code_of([&] { scope.mark("refused"); }) == ErrorCode::io);
  CHECK(scope.mark(id_of(1)) == Verdict::duplicate);
  CHECK(known(scope) == kKnown);
  lookers.look_on();
  CHECK(attacked.recoveries == 0);
  meta_write.arm(0);
  wait_until([&] { return attacked.recoveries == 1; });
  lookers.look_on();
  lookers.stop();
  CHECK(lookers.wrong() == 0);
  CHECK(lookers.errors() == 0);
  CHECK(scope.mark("refused", Ack::disk) == Verdict::fresh);
  attacked.scope.reset();
  attacked.store.reset();
  const Scope again = Store::open(dir / "store", kOptions).scope("orders");
  CHECK(known(again) == kKnown);
  CHECK(again.contains("accepted"));
}

TEST_CASE("a failed transaction has no effect, and the next one is as any other") {
  const TempDir dir;
  Attacked attacked(dir / "store");
  const Store& store = *attacked.store;
  const Scope& scope = *attacked.scope;
  const auto work = [&](Transaction& tx) {
    CHECK(tx.mark(scope, "order") == Verdict::fresh);
    tx.put("orders", "1", "paid");
  };
  const auto failing = [&](Transaction& tx) {
    work(tx);
    meta_write.arm(1);
  };
  CHECK(error_code_of([&] { store.transact(failing); }) == ErrorCode::io);
  CHECK_FALSE(scope.contains("order"));
  CHECK_FALSE(store.get("orders", "1"));
  store.transact(work);
  CHECK(scope.contains("order"));
  CHECK(store.get("orders", "1") == "paid");
}

TEST_CASE("a scan that goes on meanwhile ends as it began, and its thread is told what it stands in the way of") {
  const TempDir dir;
  Attacked attacked(dir / "store");
  const Store& store = *attacked.store;
  const Scope& scope = *attacked.scope;
  store.transact([](Transaction& tx) {
    for (int i = 0; i < 10; ++i) tx.put("table", std::to_string(i), std::to_string(i));
  });
  int entries = 0;
  store.scan_table("table", "", [&](std::string_view key, std::string_view value) {
    CHECK(key == value);
    if (++entries == 3) {
      meta_write.arm(1);
      scope.mark("accepted");
      CHECK_FALSE(syncs(store));
      std::string sentence;
      wait_until([&] {
        sentence = syncs(store) ? "" : error_text_of([&] { store.sync(); });
        return sentence.find("is running") != std::string::npos;
      });
    }
    return true;
  });
  CHECK(entries == 10);
  wait_until([&] { return syncs(store); });
  CHECK(known(scope) == kKnown);
  CHECK(scope.contains("accepted"));
}

TEST_CASE("a mark that was refused because of the disk is no mark, and never becomes one") {
  const TempDir dir;
  std::vector<std::string> names;
  {
    Attacked attacked(dir / "store");
    const Store& store = *attacked.store;
    const Scope& scope = *attacked.scope;
    std::string sentence;
    SUBCASE("one") {
      names = {"refused"};
      data_sync.arm(kAlways);
      sentence = error_text_of([&] { scope.mark("refused", Ack::disk); });
    }
    SUBCASE("a batch, of which one was known before") {
      const Ids ids(201, [](std::size_t i) { return i < 200 ? "refused-" + std::to_string(i) : id_of(1); });
      names.assign(ids.begin(), ids.end() - 1);
      std::vector<Marked> out(ids.size());
      data_sync.arm(kAlways);
      sentence = error_text_of([&] { scope.mark(ids, out, Ack::disk); });
    }
    CAPTURE(sentence);
    CHECK((sentence.find("not marked") != std::string::npos || sentence.find("None of the ids") != std::string::npos));
    for (const std::string& name : names) CHECK_FALSE(scope.contains(name));
    CHECK(known(scope) == kKnown);
    data_sync.arm(0);
    wait_until([&] { return syncs(store); });
    for (const std::string& name : names) CHECK_FALSE(scope.contains(name));
  }
  remove_derived(dir / "store");
  const Scope again = Store::open(dir / "store", kOptions).scope("orders");
  CHECK(known(again) == kKnown);
  for (const std::string& name : names) CHECK(again.mark(name, Ack::disk) == Verdict::fresh);
}

TEST_CASE("what cannot be taken back when the disk fails stands, and the sentence says so") {
  const TempDir dir;
  Attacked attacked(dir / "store");
  const Store& store = *attacked.store;
  const Scope& scope = *attacked.scope;
  std::string sentence;
  SUBCASE("a completed claim") {
    Claim claim = scope.begin("claimed", 1h);
    data_sync.arm(kAlways);
    sentence = error_text_of([&] { claim.complete({}, Ack::disk); });
    CHECK(scope.contains("claimed"));
    CHECK_FALSE(claim);
  }
  SUBCASE("a forgotten id") {
    data_sync.arm(kAlways);
    sentence = error_text_of([&] { scope.forget(id_of(7), Ack::disk); });
    CHECK_FALSE(scope.contains(id_of(7)));
  }
  CAPTURE(sentence);
  CHECK(sentence.find("stands nevertheless") != std::string::npos);
  data_sync.arm(0);
  wait_until([&] { return syncs(store); });
}

TEST_CASE("a commit that fails undoes what it may have left in the meta page before anything else is written") {
  using namespace internal;
  const TempDir dir;
  const lmdb::Env env(dir.path(), MDB_NOTLS, std::uint64_t{16} << 20, 8, 4);
  MDB_dbi dbi = 0;
  const auto put = [&](std::uint64_t key) {
    lmdb::WriteTxn txn(env);
    if (dbi == 0) dbi = txn.open_table("table", MDB_CREATE | MDB_INTEGERKEY);
    txn.put(dbi, lmdb::to_val(key), lmdb::to_bytes("value"));
    txn.commit();
  };
  for (std::uint64_t key = 1; key < 5; ++key) put(key);
  // The write, and LMDB's own attempt to take it back, and the first attempt to mend it.
  meta_write.arm(3);
  CHECK(error_code_of([&] { put(5); }) == ErrorCode::io);
  CHECK(meta_write.left == 0);
  data_sync.arm(1);
  CHECK(error_code_of([&] { put(5); }) == ErrorCode::io);
  CHECK(data_sync.left == 0);
  put(6);
  const std::uint64_t five = 5;
  const std::uint64_t six = 6;
  const lmdb::Txn txn(env, MDB_RDONLY);
  CHECK_FALSE(txn.get(dbi, lmdb::to_val(five)));
  CHECK(txn.get(dbi, lmdb::to_val(six)));
}
