#include "engine/reader_pool.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "parts.h"
#include "shared.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

struct TestReader : Parts {
  BlockDirectory directory;
  Reader reader{tables.env, *tables.log, directory, header(), live->ring(), *views};
  std::optional<Found> look(std::string_view id) { return reader.look(reader.view(), probe(id)); }
  void overwrite() {
    for (int i = 0; i < 65; ++i) {
      append(std::to_string(i) + std::string(1020, 'x'));
      if (i % 20 == 0) flush();
    }
    flush();
  }
};

}  // namespace

TEST_CASE("a record is found in the ring, after its flush, and in the log") {
  TestReader test;
  CHECK_FALSE(test.look("a"));
  const Lsn lsn = test.append("a");
  REQUIRE(test.look("a"));
  CHECK(test.look("a")->lsn == lsn);
  CHECK(test.look("a")->time_us == FakeHost::kStartUs);
  test.flush();
  CHECK(test.look("a")->lsn == lsn);
  CHECK(test.reader.counters.log_reads == 0);
  test.overwrite();
  REQUIRE(test.look("a"));
  CHECK(test.look("a")->lsn == lsn);
  CHECK(test.reader.counters.log_reads == 2);
  CHECK_FALSE(test.look("b"));
}

TEST_CASE("of several records of an id the newest is found, in whatever bucket") {
  TestReader test;
  test.append("a");
  test.append("a");
  test.host.advance(10s);
  test.open_bucket();
  const Lsn newest = test.append("a");
  CHECK(test.look("a")->lsn == newest);
  test.overwrite();
  CHECK(test.look("a")->lsn == newest);
}

TEST_CASE("a hint to a record that was never accepted finds nothing") {
  TestReader test;
  test.append("a");
  const auto view = test.views->newest();
  const Probe probe = test.probe("dead");
  view->generations.back()->add(probe.hash, view->buckets.back().info.lane);
  view->buckets.back().newest_table().insert(probe.hash, probe.of, (test.head().value - 8) / kRecordUnit);
  CHECK_FALSE(test.look("dead"));
  test.append("somebody else's");
  CHECK_FALSE(test.look("dead"));
}

TEST_CASE("the same id in another scope is not found") {
  TestReader test;
  test.append("a");
  Probe other = test.probe("a");
  other.scope = Parts::kScope + 1;  // Even with the same hash.
  CHECK_FALSE(test.reader.look(test.reader.view(), other));
}

TEST_CASE("a record that does not match its checksum is damage, not an answer") {
  TestReader test;
  const Lsn lsn = test.append("a");
  RecordBuffer buffer;
  test.live->ring().write(
      lsn, encode_record(buffer, {.scope = Parts::kScope, .id = "a", .digest = 12345}, lsn, FakeHost::kStartUs));
  CHECK(error_code_of([&] { test.look("a"); }) == ErrorCode::corrupt);
  test.overwrite();
  CHECK(error_code_of([&] { test.look("a"); }) == ErrorCode::corrupt);
}

TEST_CASE("many look-ups at once find what single ones find") {
  TestReader test;
  std::vector<std::string> ids;
  for (int i = 0; i < 500; ++i) ids.push_back(std::to_string(i) + std::string(static_cast<std::size_t>(i) % 300, 'x'));
  for (std::size_t i = 0; i < ids.size(); i += 2) {
    test.append(ids[i]);
    if (i % 50 == 0) test.flush();
  }
  for (int i = 0; i < 10; ++i) test.append(ids[0]);  // More hints than one id usually has.
  std::vector<Probe> probes;
  for (const std::string& id : ids) probes.push_back(test.probe(id));
  std::vector<std::optional<Found>> found(ids.size());
  test.reader.look(test.reader.view(), probes, found);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto alone = test.look(ids[i]);
    REQUIRE(found[i].has_value() == (i % 2 == 0));
    REQUIRE(alone.has_value() == found[i].has_value());
    if (alone) REQUIRE(alone->lsn == found[i]->lsn);
  }
}

TEST_CASE("looking again sees only what came since, and says when the ring has passed it") {
  TestReader test;
  const Lsn first = test.append("a");
  const Lsn floor = test.head();
  bool passed = false;
  CHECK_FALSE(test.reader.look_again(test.reader.view(), test.probe("a"), floor, passed));
  const Lsn second = test.append("a");
  CHECK(second > first);
  CHECK(test.reader.look_again(test.reader.view(), test.probe("a"), floor, passed)->lsn == second);
  CHECK_FALSE(passed);
  test.flush();
  test.overwrite();
  CHECK_FALSE(test.reader.look_again(test.reader.view(), test.probe("a"), floor, passed));
  CHECK(passed);
}

TEST_CASE("a thread keeps its reader, and leaves it to the next when it ends") {
  Parts parts;
  const auto pool = std::make_shared<ReaderPool>(parts.tables.env, *parts.tables.log, parts.header(),
                                                 parts.live->ring(), *parts.views);
  const auto of_thread = [&] {
    Reader* reader = nullptr;
    std::thread([&] {
      reader = &pool->mine();
      if (reader != &pool->mine()) reader = nullptr;
    }).join();
    return reader;
  };
  Reader* const first = of_thread();
  REQUIRE(first != nullptr);
  CHECK(of_thread() == first);
  Reader* const mine = &pool->mine();
  CHECK(mine == first);
  CHECK(of_thread() != mine);
  std::uint64_t readers = 0;
  pool->each_counters([&](const ThreadTally&) { ++readers; });
  CHECK(readers == 2);
  pool->close();
}

TEST_CASE("a child forked while another thread has the readers' mutex ends without waiting for it") {
  Parts parts;
  const auto pool = std::make_shared<ReaderPool>(parts.tables.env, *parts.tables.log, parts.header(),
                                                 parts.live->ring(), *parts.views);
  std::atomic<bool> held{false};
  std::atomic<bool> over{false};
  pool->mine();
  std::thread other([&] {
    pool->each_counters([&](const ThreadTally&) {
      held.store(true);
      held.notify_all();
      over.wait(false);
    });
  });
  held.wait(false);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) std::exit(0);  // Not _exit: this thread says farewell.
  const bool ended = holds_soon([&] { return ::waitpid(child, nullptr, WNOHANG) == child; });
  CHECK(ended);
  if (!ended) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  over.store(true);
  over.notify_all();
  other.join();
  pool->close();
}
