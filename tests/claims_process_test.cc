#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kProcesses = 4;
constexpr unsigned kThreads = 2;
constexpr std::size_t kMostIds = 100'000;
const Options kOptions{.expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 64 << 10};

std::string id_of(std::size_t number) {
  return "message-" + std::to_string(number);
}

/// What all processes write down, and where they would meet if a claim were held twice.
struct Board {
  std::array<std::atomic<std::uint32_t>, kMostIds> holder{};     // Who holds the claim: a life and a thread.
  std::array<std::atomic<std::uint32_t>, kMostIds> completed{};  // How often complete() was in time.
  std::array<std::atomic<std::uint8_t>, kMostIds> marked{};      // Somebody was told that it is a duplicate.
  std::array<std::atomic<std::uint8_t>, 1 << 16> dead{};         // By life: it was killed, and waited for.
  std::atomic<std::uint64_t> last_token{0};
};

/// A name for a thread of one life of a process, never 0.
std::uint32_t name_of(unsigned life, unsigned thread) {
  return (life + 1) * kThreads + thread;
}
unsigned life_of(std::uint32_t name) {
  return name / kThreads - 1;
}

/// Writes down that `name` holds the id. Who held it before must be dead: a process that has been killed is soon waited
/// for.
void enter(Board& board, std::size_t id, std::uint32_t name) {
  std::uint32_t before = board.holder[id].load();
  for (;;) {
    if (before != 0) {
      const unsigned life = life_of(before);
      expect(life != life_of(name) && holds_soon([&] { return board.dead[life].load() != 0; }),
             "nobody alive holds the claim of id " + std::to_string(id));
    }
    if (board.holder[id].compare_exchange_weak(before, name)) return;
  }
}

void leave(Board& board, std::size_t id, std::uint32_t name) {
  std::uint32_t own = name;
  expect(board.holder[id].compare_exchange_strong(own, 0), "nobody else holds the claim of id " + std::to_string(id));
}

/// Goes over all ids in runs of neighbours, so that the threads do meet, and in an order of its own, until each of them
/// is known to be completed.
void work(const Store& store, Board& board, std::size_t count, std::uint32_t name, std::uint64_t seed) {
  const Scope scope = store.scope("orders");
  std::mt19937_64 random(seed);
  constexpr std::size_t kRun = 32;
  std::vector<std::size_t> runs;
  for (std::size_t run = 0; run * kRun < count; ++run) runs.push_back(run);
  std::vector<std::size_t> left;
  const auto one = [&](std::size_t id) {
    const std::chrono::milliseconds patience{random() % 50 == 0 ? 2 : 0};
    Claim claim = scope.begin(id_of(id), 1h, {}, patience);
    if (claim == Verdict::duplicate) {
      board.marked[id].store(1);
      return true;
    }
    if (!claim) {
      expect(claim == Verdict::in_progress, "an id is fresh, in progress or a duplicate");
      return false;
    }
    enter(board, id, name);
    expect(board.completed[id].load() == 0, "a completed id is not given out again");
    if (random() % 8 == 0) std::this_thread::yield();
    const std::uint64_t dice = random() % 10;
    leave(board, id, name);
    if (dice < 6) {
      expect(static_cast<bool>(claim.complete()), "nobody has taken a claim whose owner lives");
      expect(board.completed[id].fetch_add(1) == 0, "an id is completed once");
      return true;
    }
    if (dice < 9) claim.abandon();
    return false;  // Or by the destructor.
  };
  const auto batch = [&](std::size_t begin, std::size_t end) {
    const Ids ids(end - begin, [&](std::size_t i) { return id_of(begin + i); });
    ClaimBatch claims = scope.begin(ids, 1h);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (claims.verdicts()[i] == Verdict::fresh) enter(board, begin + i, name);
    }
    const bool complete = random() % 3 != 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (claims.verdicts()[i] == Verdict::fresh) leave(board, begin + i, name);
    }
    std::size_t late = 0;
    if (complete) claims.complete(&late);
    expect(late == 0, "nobody has taken a claim whose owner lives");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (claims.verdicts()[i] == Verdict::duplicate) board.marked[begin + i].store(1);
      if (claims.verdicts()[i] == Verdict::fresh && complete) {
        expect(board.completed[begin + i].fetch_add(1) == 0, "an id is completed once");
      } else if (claims.verdicts()[i] != Verdict::duplicate) {
        left.push_back(begin + i);
      }
    }
  };
  for (std::size_t from = 0; from < runs.size(); from += 64) {
    std::shuffle(runs.begin() + static_cast<std::ptrdiff_t>(from),
                 runs.begin() + static_cast<std::ptrdiff_t>(std::min(runs.size(), from + 64)), random);
  }
  for (const std::size_t run : runs) {
    const std::size_t begin = run * kRun;
    const std::size_t end = std::min(count, begin + kRun);
    if (random() % 2 == 0) {
      batch(begin, end);
    } else {
      for (std::size_t id = begin; id < end; ++id) {
        if (!one(id)) left.push_back(id);
      }
    }
  }
  while (!left.empty()) {
    std::shuffle(left.begin(), left.end(), random);
    std::erase_if(left, one);
  }
}

}  // namespace

TEST_CASE("no claim is ever held twice, and each id is completed once, while processes are killed") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Shared<Board> board;
  const std::size_t count = scaled(kMostIds, 3'000);
  const unsigned kills = static_cast<unsigned>(scaled(60, 8));
  unsigned lives = 0;
  std::array<pid_t, kProcesses> children{};
  std::array<unsigned, kProcesses> life{};
  const auto start = [&](unsigned p) {
    life[p] = lives++;
    const std::uint64_t own_seed = random();
    children[p] = spawn([&, p, own_seed] {
      const Store store = Store::open(dir / "store", kOptions);
      std::array<std::string, kThreads> errors;
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          try {
            work(store, *board, count, name_of(life[p], t), own_seed + t);
          } catch (const std::exception& error) {
            errors[t] = error.what();
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (const std::string& error : errors) expect(error.empty(), error);
      return 0;
    });
  };
  const auto completed = [&] {
    std::size_t ids = 0;
    for (std::size_t id = 0; id < count; ++id) ids += board->completed[id].load() != 0;
    return ids;
  };
  for (unsigned p = 0; p < kProcesses; ++p) start(p);
  // Spread over the work: the n-th kill comes when n parts of it are done.
  for (unsigned kill = 0; kill < kills; ++kill) {
    const std::size_t wanted = kill * count * 9 / 10 / kills;
    if (!holds_soon([&] { return completed() >= wanted; })) FAIL("the work stands still");
    const unsigned p = static_cast<unsigned>(random() % kProcesses);
    ::kill(children[p], SIGKILL);
    const int status = wait_for(children[p]);
    CHECK((status == -SIGKILL || status == 0));
    board->dead[life[p]].store(1);
    start(p);
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);

  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  CHECK(store.claims().empty());
  std::size_t known = 0;
  std::size_t told = 0;
  for (std::size_t id = 0; id < count; ++id) {
    known += scope.contains(id_of(id));
    told += board->marked[id].load() != 0 || board->completed[id].load() == 1;
  }
  CHECK(known == count);
  CHECK(told == count);
  std::size_t scanned = 0;
  store.scan({}, [&](const Record&) { return ++scanned > 0; });
  CHECK(scanned == count);
  MESSAGE(count << " ids and " << lives << " processes from seed " << seed);
}

TEST_CASE("a lock is held by one at a time while its owners are killed, and its tokens grow") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Shared<Board> board;
  const std::uint64_t turns = scaled(20'000, 1'000);
  const Shared<std::atomic<std::uint64_t>> taken(std::uint64_t{0});
  unsigned lives = 0;
  std::array<pid_t, kProcesses> children{};
  std::array<unsigned, kProcesses> life{};
  const auto start = [&](unsigned p) {
    life[p] = lives++;
    children[p] = spawn([&, p] {
      const Store store = Store::open(dir / "store", kOptions);
      const std::uint32_t name = name_of(life[p], 0);
      while (taken->load() < turns) {
        const Lock lock = store.lock("leader", 1h, 1h);
        expect(static_cast<bool>(lock), "the lock is got within the hour");
        enter(*board, 0, name);
        const std::uint64_t before = board->last_token.exchange(lock.token());
        expect(before < lock.token(), "tokens grow");
        taken->fetch_add(1);
        leave(*board, 0, name);
      }
      return 0;
    });
  };
  for (unsigned p = 0; p < kProcesses; ++p) start(p);
  const std::uint64_t kills = scaled(40, 6);
  for (std::uint64_t kill = 0; kill < kills; ++kill) {
    if (!holds_soon([&] { return taken->load() >= kill * turns * 9 / 10 / kills; })) FAIL("the work stands still");
    const unsigned p = static_cast<unsigned>(random() % kProcesses);
    ::kill(children[p], SIGKILL);
    const int status = wait_for(children[p]);
    CHECK((status == -SIGKILL || status == 0));  // It may just have finished.
    board->dead[life[p]].store(1);
    start(p);
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
}

TEST_CASE("a chain that several processes append to, while they are killed, tells every acknowledged record once") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Shared<Board> board;
  const std::size_t count = scaled(20'000, 2'000);
  const Shared<std::atomic<std::size_t>> next(std::size_t{0});
  std::array<pid_t, kProcesses> children{};
  const auto start = [&](unsigned p) {
    children[p] = spawn([&] {
      const Store store = Store::open(dir / "store", kOptions);
      const Scope scope = store.scope("orders");
      for (std::size_t id = next->fetch_add(1); id < count; id = next->fetch_add(1)) {
        const Attributes attributes{.correlation = id % 3 == 0 ? "other" : "chain"};
        switch (id % 5) {
          case 0: {
            Claim claim = scope.begin(id_of(id), 1h, attributes);
            expect(static_cast<bool>(claim.complete()), "the claim is in time");
            break;
          }
          case 1:
            if (id % 500 == 1) {
              store.transact([&](Transaction& tx) { tx.mark(scope, id_of(id), attributes); });
              break;
            }
            [[fallthrough]];
          default:
            expect(scope.mark(id_of(id), attributes) == Verdict::fresh, "each id comes once");
        }
        board->marked[id].store(1);
        if (id % 1'000 == 7) {
          // Everything that was acknowledged before is there already.
          std::vector<std::uint8_t> before(count);
          for (std::size_t i = 0; i < count; ++i) before[i] = board->marked[i].load();
          std::vector<std::uint8_t> seen(count);
          for (const char* chain : {"chain", "other"}) {
            for (const Record& record : store.correlated(chain)) {
              seen[std::stoul(record.id.substr(record.id.find('-') + 1))] = 1;
            }
          }
          for (std::size_t i = 0; i < count; ++i) expect(seen[i] >= before[i], "id " + std::to_string(i) + " is told");
        }
      }
      return 0;
    });
  };
  for (unsigned p = 0; p < kProcesses; ++p) start(p);
  const std::uint64_t kills = scaled(40, 6);
  for (std::uint64_t kill = 0; kill < kills; ++kill) {
    if (!holds_soon([&] { return next->load() >= kill * count * 9 / 10 / kills; })) FAIL("the work stands still");
    const unsigned p = static_cast<unsigned>(random() % kProcesses);
    ::kill(children[p], SIGKILL);
    const int status = wait_for(children[p]);
    CHECK((status == -SIGKILL || status == 0));
    start(p);
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  const auto check = [&] {
    const Store store = Store::open(dir / "store", kOptions);
    std::vector<std::uint8_t> seen(count);
    for (const std::string chain : {"chain", "other"}) {
      Lsn last;
      for (const Record& record : store.correlated(chain)) {
        CHECK(record.lsn > last);
        last = record.lsn;
        CHECK(record.correlation == chain);
        ++seen[std::stoul(record.id.substr(record.id.find('-') + 1))];
      }
    }
    for (std::size_t id = 0; id < count; ++id) {
      REQUIRE(seen[id] <= 1);
      REQUIRE(seen[id] >= board->marked[id].load());
      REQUIRE(seen[id] == store.scope("orders").contains(id_of(id)));
    }
  };
  check();
  for (const auto& entry : std::filesystem::directory_iterator(dir / "store")) {
    const std::string name = entry.path().filename().string();
    if (name == "live" || name.starts_with("index-") || name.starts_with("filter-")) {
      std::filesystem::remove(entry.path());
    }
  }
  check();
}
