#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "store_files.h"
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

/// A thread that claims.
class Worker {
 public:
  Worker(const Store& store, Board& board, std::uint32_t name, std::uint64_t seed)
      : scope_(store.scope("orders")), board_(board), name_(name), random_(seed) {}

  /// Goes over all ids in runs of neighbours, so that the threads do meet, and in an order of its own, until each of
  /// them is known to be completed.
  void work(std::size_t count) {
    constexpr std::size_t kRun = 32;
    std::vector<std::size_t> runs;
    for (std::size_t run = 0; run * kRun < count; ++run) runs.push_back(run);
    for (std::size_t from = 0; from < runs.size(); from += 64) {
      std::shuffle(runs.begin() + static_cast<std::ptrdiff_t>(from),
                   runs.begin() + static_cast<std::ptrdiff_t>(std::min(runs.size(), from + 64)), random_);
    }
    for (const std::size_t run : runs) {
      const std::size_t begin = run * kRun;
      const std::size_t end = std::min(count, begin + kRun);
      if (random_() % 2 == 0) {
        batch(begin, end);
      } else {
        for (std::size_t id = begin; id < end; ++id) {
          if (!one(id)) left_.push_back(id);
        }
      }
    }
    while (!left_.empty()) {
      std::shuffle(left_.begin(), left_.end(), random_);
      std::erase_if(left_, [&](std::size_t id) { return one(id); });
    }
  }

 private:
  /// Returns whether the id is completed.
  bool one(std::size_t id) {
    const std::chrono::milliseconds patience{random_() % 50 == 0 ? 2 : 0};
    Claim claim = scope_.begin(id_of(id), 1h, {}, patience);
    if (claim == Verdict::duplicate) {
      board_.marked[id].store(1);
      return true;
    }
    if (!claim) {
      expect(claim == Verdict::in_progress, "an id is fresh, in progress or a duplicate");
      return false;
    }
    enter(board_, id, name_);
    expect(board_.completed[id].load() == 0, "a completed id is not given out again");
    if (random_() % 8 == 0) std::this_thread::yield();
    const std::uint64_t dice = random_() % 10;
    leave(board_, id, name_);
    if (dice < 6) {
      expect(static_cast<bool>(claim.complete()), "nobody has taken a claim whose owner lives");
      expect(board_.completed[id].fetch_add(1) == 0, "an id is completed once");
      return true;
    }
    if (dice < 9) claim.abandon();
    return false;  // Or by the destructor.
  }

  void batch(std::size_t begin, std::size_t end) {
    const Ids ids(end - begin, [&](std::size_t i) { return id_of(begin + i); });
    ClaimBatch claims = scope_.begin(ids, 1h);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (claims.verdicts()[i] == Verdict::fresh) enter(board_, begin + i, name_);
    }
    const bool complete = random_() % 3 != 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (claims.verdicts()[i] == Verdict::fresh) leave(board_, begin + i, name_);
    }
    std::size_t late = 0;
    if (complete) claims.complete(&late);
    expect(late == 0, "nobody has taken a claim whose owner lives");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (claims.verdicts()[i] == Verdict::duplicate) board_.marked[begin + i].store(1);
      if (claims.verdicts()[i] == Verdict::fresh && complete) {
        expect(board_.completed[begin + i].fetch_add(1) == 0, "an id is completed once");
      } else if (claims.verdicts()[i] != Verdict::duplicate) {
        left_.push_back(begin + i);
      }
    }
  }

  const Scope scope_;
  Board& board_;
  const std::uint32_t name_;
  std::mt19937_64 random_;
  std::vector<std::size_t> left_;
};

using Processes = std::array<pid_t, kProcesses>;

/// Kills one of the processes each time that another part of the work is done, `kills` times over nine tenths of it,
/// and then calls `killed` with its place. Waits for all of them at the end.
void kill_and_wait(Processes& processes, std::uint64_t kills, std::uint64_t whole, std::mt19937_64& random,
                   const std::function<std::uint64_t()>& done, const std::function<void(unsigned)>& killed) {
  for (std::uint64_t kill = 0; kill < kills; ++kill) {
    if (!holds_soon([&] { return done() >= kill * whole * 9 / 10 / kills; })) FAIL("the work stands still");
    const unsigned p = static_cast<unsigned>(random() % kProcesses);
    ::kill(processes[p], SIGKILL);
    const int status = wait_for(processes[p]);
    CHECK((status == -SIGKILL || status == 0));  // It may just have finished.
    killed(p);
  }
  for (const pid_t process : processes) CHECK(wait_for(process) == 0);
}

std::size_t number_in(const std::string& id) {
  return std::stoul(id.substr(id.find('-') + 1));
}

/// Accepts each id of its turn in one of the ways there are, in one of two chains, and now and then compares the chains
/// with what was acknowledged before.
void append_to_chains(const Store& store, Board& board, std::atomic<std::size_t>& next, std::size_t count) {
  const Scope scope = store.scope("orders");
  for (std::size_t id = next.fetch_add(1); id < count; id = next.fetch_add(1)) {
    const Attributes attributes{.correlation = id % 3 == 0 ? "other" : "chain"};
    if (id % 5 == 0) {
      Claim claim = scope.begin(id_of(id), 1h, attributes);
      expect(static_cast<bool>(claim.complete()), "the claim is in time");
    } else if (id % 500 == 1) {
      store.transact([&](Transaction& tx) { tx.mark(scope, id_of(id), attributes); });
    } else {
      expect(scope.mark(id_of(id), attributes) == Verdict::fresh, "each id comes once");
    }
    board.marked[id].store(1);
    if (id % 1'000 != 7) continue;
    // Everything that was acknowledged before is there already.
    std::vector<std::uint8_t> before(count);
    for (std::size_t i = 0; i < count; ++i) before[i] = board.marked[i].load();
    std::vector<std::uint8_t> seen(count);
    for (const char* chain : {"chain", "other"}) {
      for (const Record& record : store.correlated(chain)) seen[number_in(record.id)] = 1;
    }
    for (std::size_t i = 0; i < count; ++i)
      expect(seen[i] >= before[i], "id " + std::to_string(i) + " is in its chain");
  }
}

/// The chains hold every acknowledged id once, in order, and all that the store knows.
void check_chains(const Store& store, const Board& board, std::size_t count) {
  std::vector<std::uint8_t> seen(count);
  for (const std::string chain : {"chain", "other"}) {
    Lsn last;
    for (const Record& record : store.correlated(chain)) {
      CHECK(record.lsn > last);
      last = record.lsn;
      CHECK(record.correlation == chain);
      ++seen[number_in(record.id)];
    }
  }
  for (std::size_t id = 0; id < count; ++id) {
    REQUIRE(seen[id] <= 1);
    REQUIRE(seen[id] >= board.marked[id].load());
    REQUIRE(seen[id] == store.scope("orders").contains(id_of(id)));
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
  const std::uint64_t kills = scaled(60, 8);
  unsigned lives = 0;
  Processes processes{};
  std::array<unsigned, kProcesses> life{};
  const auto start = [&](unsigned p) {
    life[p] = lives++;
    const std::uint64_t own_seed = random();
    processes[p] = spawn([&, p, own_seed] {
      const Store store = Store::open(dir / "store", kOptions);
      std::array<std::string, kThreads> errors;
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          try {
            Worker(store, *board, name_of(life[p], t), own_seed + t).work(count);
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
  kill_and_wait(processes, kills, count, random, completed, [&](unsigned p) {
    board->dead[life[p]].store(1);
    start(p);
  });

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
  Processes processes{};
  std::array<unsigned, kProcesses> life{};
  const auto start = [&](unsigned p) {
    life[p] = lives++;
    processes[p] = spawn([&, p] {
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
  kill_and_wait(
      processes, scaled(40, 6), turns, random, [&] { return taken->load(); },
      [&](unsigned p) {
        board->dead[life[p]].store(1);
        start(p);
      });
}

TEST_CASE("a chain that several processes append to, while they are killed, holds every acknowledged record once") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Shared<Board> board;
  const std::size_t count = scaled(20'000, 2'000);
  const Shared<std::atomic<std::size_t>> next(std::size_t{0});
  Processes processes{};
  const auto start = [&](unsigned p) {
    processes[p] = spawn([&] {
      append_to_chains(Store::open(dir / "store", kOptions), *board, *next, count);
      return 0;
    });
  };
  for (unsigned p = 0; p < kProcesses; ++p) start(p);
  kill_and_wait(
      processes, scaled(40, 6), count, random, [&] { return next->load(); }, start);
  check_chains(Store::open(dir / "store", kOptions), *board, count);
  remove_derived(dir / "store");
  check_chains(Store::open(dir / "store", kOptions), *board, count);
}
