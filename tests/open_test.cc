#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/fork_generation.h"
#include "engine/registry.h"
#include "marked_store.h"
#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("without create, a missing store is not made") {
  const TempDir dir;
  for (const Options& options : {Options{.create = false}, Options{.read_only = true}}) {
    CHECK(error_code_naming("nowhere", [&] { Store::open(dir / "nowhere", options); }) == ErrorCode::not_found);
    CHECK_FALSE(std::filesystem::exists(dir / "nowhere"));
    CHECK(error_code_of([&] { Store::open(dir.path(), options); }) == ErrorCode::not_found);
    CHECK(std::filesystem::is_empty(dir.path()));
  }
}

TEST_CASE("a file, a path through one, or a directory that holds other things never becomes a store") {
  const TempDir dir;
  std::ofstream(dir / "notes.txt") << "mine";
  CHECK(error_code_naming("notes.txt", [&] { Store::open(dir / "notes.txt"); }) == ErrorCode::not_a_store);
  const auto through = error_code_of([&] { Store::open(dir / "notes.txt" / "store"); });
  CHECK((through == ErrorCode::io || through == ErrorCode::not_a_store));
  CHECK(error_code_naming("notes.txt", [&] { Store::open(dir.path()); }) == ErrorCode::not_a_store);
  // All is as it was.
  CHECK(std::filesystem::file_size(dir / "notes.txt") == 4);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("an option outside its bounds is an error that names it, before anything is made") {
  const TempDir dir;
  const auto refused = [&](const std::string& named, const Options& options) {
    CHECK(error_code_naming(named, [&] { Store::open(dir / "store", options); }) == ErrorCode::invalid_argument);
    CHECK_FALSE(std::filesystem::exists(dir / "store"));
  };
  refused("retention", {.retention = 0ms});
  refused("retention", {.retention = 24h * 365 * 100 + 1ms});
  refused("retention", {.retention = 24h * 365 * 101});
  refused("buckets", {.buckets = kMinBuckets - 1});
  refused("buckets", {.buckets = kMaxBuckets + 1});
  refused("expected_ids", {.expected_ids = 0});
  refused("flush_interval", {.flush_interval = 0ms});
  refused("ring_bytes", {.ring_bytes = std::uint64_t{32} << 10});
  refused("ring_bytes", {.ring_bytes = 65'535});
  refused("ring_bytes", {.ring_bytes = 100'000});
  refused("ring_bytes", {.ring_bytes = std::uint64_t{2} << 30});
  refused("map_bytes", {.map_bytes = 1000});
  refused("map_bytes", {.map_bytes = 4096});
  refused("map_bytes", {.map_bytes = std::uint64_t{5} << 40});
  refused("max_readers", {.max_readers = 0});
}

TEST_CASE("a store reserves so little address space that thousands can be open in a process") {
  const TempDir dir;
  const auto reserved = [] {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  };
  const Options options{.expected_ids = 1, .ring_bytes = 64 << 10};
  std::vector<Store> stores{Store::open(dir / "first", options)};
  const std::uint64_t before = reserved();
  for (int i = 0; i < 4; ++i) stores.push_back(Store::open(dir / std::to_string(i), options));
  CHECK((reserved() - before) / 4 < std::uint64_t{20} << 30);
}

TEST_CASE("what a store was created with is kept") {
  const TempDir dir;
  { const Store store = Store::open(dir / "store", {.retention = 1h, .buckets = 5}); }
  CHECK(Store::open(dir / "store", {.retention = 1h}).metrics().buckets == 5);
}

TEST_CASE("options that contradict the stored ones are an error that says which and what is stored") {
  const TempDir dir;
  const Options created{.retention = 2h, .buckets = 5, .expected_ids = 1};
  make_marked_store(dir / "store", created);
  const auto check_all = [&] {
    const auto retention = [&] { Store::open(dir / "store", {.retention = 3h}); };
    CHECK(error_code_naming("retention of 2h", retention) == ErrorCode::options_mismatch);
    CHECK(error_code_naming("not 3h", retention) == ErrorCode::options_mismatch);
    CHECK(error_code_naming("5 buckets, not 6", [&] { Store::open(dir / "store", {.buckets = 6}); }) ==
          ErrorCode::options_mismatch);
  };
  check_all();
  {
    const Store open = Store::open(dir / "store", created);
    check_all();
    CHECK(error_code_of([&] { Store::open(dir / "store", {.live_dir = dir.path()}); }) == ErrorCode::live_dir_mismatch);
  }
  while_open_elsewhere(dir / "store", created, check_all);
  expect_whole(dir / "store", created);
}

TEST_CASE("a read-only store answers, and accepts nothing") {
  const TempDir dir;
  {
    const Store store = Store::open(dir / "store");
    store.scope("s").mark("a");
  }
  const Store store = Store::open(dir / "store", {.read_only = true});
  const Scope scope = store.scope("s");
  CHECK(scope.contains("a"));
  CHECK(scope.find("a"));
  CHECK_FALSE(scope.contains("b"));
  CHECK_FALSE(store.scope("unknown").contains("a"));
  CHECK(error_code_of([&] { scope.mark("b"); }) == ErrorCode::read_only);
  CHECK(error_code_of([&] { store.sync(); }) == ErrorCode::read_only);
  CHECK(error_code_of([&] { store.expire(); }) == ErrorCode::read_only);
  CHECK(store.metrics().ids == 1);
  int visits = 0;
  store.scan({}, [&](const Record&) { return ++visits > 0; });
  CHECK(visits == 1);
  CHECK(error_code_of([&] { Store::open(dir / "store"); }) == ErrorCode::options_mismatch);
}

TEST_CASE("a store opened with read_only refuses to write, and follows what others write") {
  const TempDir dir;
  make_marked_store(dir / "store");
  while_open_elsewhere(dir / "store", {.expected_ids = 1}, [&] {
    const Store reading = Store::open(dir / "store", {.read_only = true});
    const Scope scope = reading.scope("orders");
    CHECK(error_code_of([&] { scope.mark("a"); }) == ErrorCode::read_only);
    CHECK(error_code_of([&] { reading.sync(); }) == ErrorCode::read_only);
    CHECK(error_code_of([&] { reading.expire(); }) == ErrorCode::read_only);
    CHECK_FALSE(scope.contains("a"));
    CHECK(wait_for(spawn([&] {
            Store::open(dir / "store", {.expected_ids = 1}).scope("orders").mark("a");
            return 0;
          })) == 0);
    CHECK(scope.contains("a"));
  });
}

TEST_CASE("all handles of one directory in a process share one engine, whatever path they came by") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  std::filesystem::create_directory_symlink(dir / "store", dir / "link");
  const Store again = Store::open(dir / "store");
  const Store linked = Store::open(dir / "link");
  const Store dotted = Store::open(dir / "store" / ".." / "store");
  store.scope("s").mark("a");
  // Nothing was flushed and each would have a counter of its own.
  for (const Store* other : {&again, &linked, &dotted}) {
    CHECK(other->scope("s").contains("a"));
    CHECK(other->metrics().marks_fresh == 1);
  }
}

TEST_CASE("handles come and go, and the last one closes") {
  const TempDir dir;
  for (int i = 0; i < 10; ++i) {
    const Store store = Store::open(dir / "store", {.flush_interval = 1h});
    CHECK(store.metrics().marks_fresh == 0);  // A new engine.
    CHECK(store.scope("s").mark(std::to_string(i)) == Verdict::fresh);
    for (int j = 0; j <= i; ++j) CHECK(store.scope("s").contains(std::to_string(j)));
  }
}

TEST_CASE("a child of the process that opened a store is told so by every call, and its parent goes on") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("s");
  const Marked marked = scope.mark("a", Ack::disk);
  const std::uint64_t generation = internal::fork_generation();
  const pid_t child = spawn([&] {
    if (internal::fork_generation() == generation) return 1;
    int answered = 0;
    const auto forked = [&](const auto& call) {
      try {
        call();
        ++answered;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::forked) ++answered;
      }
    };
    forked([&] { scope.contains("a"); });
    forked([&] { scope.find("a"); });
    forked([&] { scope.mark("b"); });
    forked([&] { store.scope("t"); });
    forked([&] { store.wait(marked.lsn); });
    forked([&] { store.durable(); });
    forked([&] { store.sync(); });
    forked([&] { store.expire(); });
    forked([&] { store.metrics(); });
    forked([&] { store.scan({}, [](const Record&) { return true; }); });
    return answered == 0 ? 0 : 10 + answered;
  });
  CHECK(wait_for(child) == 0);
  CHECK(scope.contains("a"));
  CHECK(scope.mark("b", Ack::disk) == Verdict::fresh);
}

TEST_CASE("a child opens its parent's store anew, beside its parent") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("s");
  scope.mark("parent's");
  const pid_t child = spawn([&] {
    expect(error_code_of([&] { scope.contains("parent's"); }) == ErrorCode::forked, "the parent's handle is refused");
    const Store own = Store::open(dir / "store");
    const Scope mine = own.scope("s");
    return mine.contains("parent's") && mine.mark("child's") == Verdict::fresh ? 0 : 1;
  });
  CHECK(wait_for(child) == 0);
  CHECK(scope.contains("child's"));
}

TEST_CASE("a process that is stopped within a transaction keeps nobody from opening, checking and reading figures") {
  const TempDir dir;
  { CHECK(Store::open(dir / "store").scope("s").mark("a", Ack::disk) == Verdict::fresh); }
  const pid_t stopped = spawn([&] {
    const Store store = Store::open(dir / "store");
    store.transact([](Transaction& tx) {
      tx.put("t", "k", "v");
      ::raise(SIGSTOP);
    });
    return 0;
  });
  int status = 0;
  REQUIRE(::waitpid(stopped, &status, WUNTRACED) == stopped);
  REQUIRE(WIFSTOPPED(status));
  for (const bool read_only : {true, false}) {
    CAPTURE(read_only);
    CHECK(wait_for(spawn([&]() -> int {
            ::alarm(60);  // Ends it should it wait for the stopped one.
            const Store store = Store::open(dir / "store", {.read_only = read_only});
            const bool known = store.scope("s").contains("a");
            store.metrics();
            ::_exit(known ? 0
                          : 1);  // A writer's orderly close flushes, and that is what the stopped one keeps it from.
          })) == 0);
  }
  REQUIRE(::kill(stopped, SIGCONT) == 0);
  CHECK(wait_for(stopped) == 0);
  CHECK(Store::open(dir / "store").get("t", "k") == "v");
}

TEST_CASE("every new store is whole or not there, however many processes make it at once") {
  const TempDir dir;
  std::vector<pid_t> children;
  for (int child = 0; child < 8; ++child) {
    children.push_back(spawn([&, child] {
      const Store store = Store::open(dir / "a" / "b" / "store");
      return store.scope("s").mark(std::to_string(child), Ack::disk) == Verdict::fresh ? 0 : 1;
    }));
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  const Scope scope = Store::open(dir / "a" / "b" / "store").scope("s");
  for (int child = 0; child < 8; ++child) CHECK(scope.contains(std::to_string(child)));
  for (const auto& entry : std::filesystem::directory_iterator(dir / "a" / "b" / "store")) {
    CHECK_FALSE(entry.path().filename().string().starts_with("data.mdb."));
    CHECK(entry.path().filename() != "oncelog.lock");
  }
}

TEST_CASE("what a creator that died has left is no obstacle, and is deleted by the next user who is alone") {
  const TempDir dir;
  std::filesystem::create_directory(dir / "store");
  std::ofstream(dir / "store" / "data.mdb.new-0123456789abcdef") << "half a file";
  CHECK(Store::open(dir / "store").scope("s").mark("a") == Verdict::fresh);
  CHECK_FALSE(std::filesystem::exists(dir / "store" / "data.mdb.new-0123456789abcdef"));
}

TEST_CASE("what an earlier version's creation left when the power failed becomes a store; what was complete does not") {
  const TempDir dir;
  const auto data = dir / "store" / "data.mdb";
  const auto note = dir / "store" / "oncelog.lock";
  std::filesystem::create_directory(dir / "store");
  std::string content;
  SUBCASE("an empty file") {}
  SUBCASE("zeros") {
    content.assign(8192, '\0');
  }
  SUBCASE("half a page") {
    content.assign(2000, '\0');
  }
  std::ofstream(data) << content;
  SUBCASE("never complete") {
    std::ofstream(note).flush();
    CHECK(Store::open(dir / "store").scope("s").mark("a") == Verdict::fresh);
    CHECK_FALSE(std::filesystem::exists(note));
    CHECK(Store::open(dir / "store").scope("s").contains("a"));
  }
  SUBCASE("complete once") {
    std::ofstream(note) << ".";
    CHECK_THROWS_AS(Store::open(dir / "store"), Error);
    CHECK(std::filesystem::file_size(data) == content.size());
  }
  SUBCASE("of this version, which never leaves such a file") {
    CHECK_THROWS_AS(Store::open(dir / "store"), Error);
    CHECK(std::filesystem::file_size(data) == content.size());
  }
}

TEST_CASE("a data.mdb that is deleted or replaced while it is in use is an error of what would write to it") {
  const TempDir dir;
  const auto data = dir / "store" / "data.mdb";
  std::string elsewhere;
  {
    const Store store = Store::open(dir / "store", {.flush_interval = 1h});
    const Scope scope = store.scope("s");
    CHECK(scope.mark("a", Ack::disk) == Verdict::fresh);
    std::filesystem::rename(data, dir / "kept");
    SUBCASE("deleted") {}
    SUBCASE("replaced") {
      std::ofstream(data) << "another file";
    }
    CHECK(error_text_of([&] { scope.mark("b", Ack::disk); }).find("deleted or replaced") != std::string::npos);
    CHECK_THROWS_AS(store.transact([](Transaction& tx) { tx.put("t", "k", "v"); }), Error);
    CHECK(scope.contains("a"));
    std::filesystem::rename(dir / "kept", data);
    store.sync();
  }
  CHECK(Store::open(dir / "store").scope("s").contains("a"));
}

TEST_CASE("the directory of a store may be renamed while it is in use, and the process may change its own") {
  const TempDir dir;
  CHECK(wait_for(spawn([&] {
          std::filesystem::current_path(dir.path());
          const Store store = Store::open("store");
          std::filesystem::create_directory("elsewhere");
          std::filesystem::current_path("elsewhere");
          if (store.scope("s").mark("a", Ack::disk) != Verdict::fresh) return 1;
          if (!Store::open(dir / "store").scope("s").contains("a")) return 3;
          if (!store.verify().sound()) return 4;
          store.backup(dir / "backup");
          std::filesystem::rename(dir / "store", dir / "renamed");
          return store.scope("s").mark("b", Ack::disk) == Verdict::fresh ? 0 : 2;
        })) == 0);
  CHECK(Store::open(dir / "renamed").scope("s").contains("b"));
}

TEST_CASE("a live_dir that is relative is where the process was when it opened the store") {
  const TempDir dir;
  CHECK(wait_for(spawn([&] {
          std::filesystem::current_path(dir.path());
          const Store store = Store::open("store", {.live_dir = "shared"});
          std::filesystem::create_directory("elsewhere");
          std::filesystem::current_path("elsewhere");
          const Store again = Store::open(dir / "store", {.live_dir = dir / "shared"});
          return again.scope("s").mark("a") == Verdict::fresh && store.scope("s").contains("a") ? 0 : 1;
        })) == 0);
  // It was noted where that is.
  CHECK(Store::open(dir / "store", {.read_only = true}).scope("s").contains("a"));
}

TEST_CASE("a second process with another live_dir is an error that names both, and neither is harmed") {
  const TempDir dir;
  make_marked_store(dir / "store");
  std::filesystem::create_directory(dir / "elsewhere");
  const Options elsewhere{.live_dir = dir / "elsewhere", .expected_ids = 1};
  while_open_elsewhere(dir / "store", {.expected_ids = 1}, [&] {
    CHECK(error_code_naming("elsewhere", [&] { Store::open(dir / "store", elsewhere); }) ==
          ErrorCode::live_dir_mismatch);
    CHECK(error_code_naming((dir / "store").string(), [&] { Store::open(dir / "store", elsewhere); }) ==
          ErrorCode::live_dir_mismatch);
    CHECK(Store::open(dir / "store").scope("orders").contains(marked_id(0)));
  });
  expect_whole(dir / "store", elsewhere);
  const Options own{.live_dir = dir / "store", .expected_ids = 1};
  while_open_elsewhere(dir / "store", elsewhere, [&] {
    CHECK(error_code_of([&] { Store::open(dir / "store", own); }) == ErrorCode::live_dir_mismatch);
    CHECK(Store::open(dir / "store", {.read_only = true}).scope("orders").contains(marked_id(0)));
  });
  expect_whole(dir / "store", own);
}
