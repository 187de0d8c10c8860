#include <signal.h>

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
constexpr std::size_t kMostIds = 60'000;

/// What all processes write down of the answers they got.
struct Answers {
  std::atomic<unsigned> ready{0};
  std::array<std::atomic<std::uint32_t>, kMostIds> fresh{};
  std::array<std::atomic<std::uint64_t>, kMostIds> lsn{};
  std::array<std::atomic<std::uint8_t>, kMostIds> marked{};

  void note(std::size_t id, const Marked& answer) {
    if (answer == Verdict::fresh) fresh[id].fetch_add(1);
    std::uint64_t none = 0;
    if (!lsn[id].compare_exchange_strong(none, answer.lsn.value)) {
      expect(none == answer.lsn.value, "everyone is told the same record of id " + std::to_string(id));
    }
    marked[id].store(1);
  }

  /// Begins together with `all` others.
  void meet(unsigned all) {
    ready.fetch_add(1);
    expect(holds_soon([&] { return ready.load() >= all; }), "all the others come");
  }
};

std::string id_of(std::size_t number) {
  return "message-" + std::to_string(number);
}

/// Each id of the set once, in an order of the thread's own, in batches of up to `batch`.
void mark_all(const Store& store, Answers& answers, std::size_t first, std::size_t count, std::size_t batch,
              std::uint64_t seed) {
  const Scope scope = store.scope("orders");
  std::vector<std::size_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = first + i;
  std::mt19937_64 random(seed);
  // Shuffled in runs: neighbours in time mark neighbours in the set, so that the threads do meet.
  for (std::size_t begin = 0; begin < count; begin += 512) {
    std::shuffle(numbers.begin() + static_cast<std::ptrdiff_t>(begin),
                 numbers.begin() + static_cast<std::ptrdiff_t>(std::min(count, begin + 512)), random);
  }
  std::vector<Marked> marked;
  for (std::size_t begin = 0; begin < count; begin += batch) {
    const std::size_t some = std::min(batch, count - begin);
    const Ids ids(some, [&](std::size_t i) { return id_of(numbers[begin + i]); });
    marked.resize(some);
    if (some == 1) {
      marked[0] = scope.mark(ids[0]);
    } else {
      scope.mark(ids, marked);
    }
    for (std::size_t i = 0; i < some; ++i) answers.note(numbers[begin + i], marked[i]);
  }
}

/// Runs `body(thread)` in threads of this process; an exception of any of them is thrown on.
template <typename Body>
void in_threads(unsigned count, Body body) {
  std::vector<std::string> errors(count);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      try {
        body(t);
      } catch (const std::exception& error) {
        errors[t] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors) {
    if (!error.empty()) throw std::runtime_error(error);
  }
}

void wait_for_all(const std::vector<pid_t>& children) {
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
}

}  // namespace

TEST_CASE("each id is fresh exactly once over 4 processes of 2 threads that mark overlapping sets") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const TempDir dir;
  const Options options{.expected_ids = 1, .flush_interval = 5ms, .ring_bytes = 64 << 10};
  const Shared<Answers> answers;
  const std::size_t count = scaled(kMostIds, 6'000);
  std::vector<pid_t> children;
  for (unsigned p = 0; p < kProcesses; ++p) {
    children.push_back(spawn([&, p] {
      answers->meet(kProcesses);  // They create the store together, too.
      const Store store = Store::open(dir / "store", options);
      in_threads(kThreads, [&](unsigned t) {
        // Sets of three quarters of all ids that begin at another place in each process: every id is in three.
        const std::size_t first = p * count / kProcesses;
        const std::size_t quarter = count / kProcesses;
        const std::size_t batch = t == 0 ? 1 : 50;
        for (unsigned q = 0; q < 3; ++q)
          mark_all(store, *answers, (first + q * quarter) % count, quarter, batch, seed + p * kThreads + t);
      });
      return 0;
    }));
  }
  wait_for_all(children);
  std::size_t fresh_once = 0;
  for (std::size_t i = 0; i < count; ++i) fresh_once += answers->fresh[i].load() == 1;
  CHECK(fresh_once == count);
  const Scope scope = Store::open(dir / "store").scope("orders");
  std::size_t known = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto record = scope.find(id_of(i));
    known += record && record->lsn.value == answers->lsn[i].load();
  }
  CHECK(known == count);
}

TEST_CASE("a process sees an id as soon as another one's mark has returned") {
  const TempDir dir;
  const Options options{.expected_ids = 1, .flush_interval = 5ms, .ring_bytes = 64 << 10};
  const Shared<Answers> answers;
  const std::size_t count = scaled(kMostIds, 6'000);
  std::vector<pid_t> children;
  for (unsigned p = 0; p < 2; ++p) {
    children.push_back(spawn([&, p] {
      const Store store = Store::open(dir / "store", options);
      mark_all(store, *answers, p * count / 2, count / 2, p == 0 ? 1 : 20, p);
      return 0;
    }));
  }
  for (unsigned p = 0; p < 2; ++p) {
    children.push_back(spawn([&, p] {
      const Store store = Store::open(dir / "store", options);
      const Scope scope = store.scope("orders");
      std::mt19937_64 random(p);
      for (std::size_t looked = 0, seen = 0; seen < count; ++looked) {
        // Behind the writers' front most of the time, where the ring and the log meet.
        const std::size_t id = looked % 4 == 0 ? random() % count : (p * count / 2 + seen) % count;
        if (answers->marked[id].load() != 0) {
          expect(scope.contains(id_of(id)), "a marked id is known");
          expect(scope.find(id_of(id))->lsn.value == answers->lsn[id].load(), "its record is the one that was marked");
          if (looked % 4 != 0) ++seen;
        }
      }
      return 0;
    }));
  }
  wait_for_all(children);
}

TEST_CASE("each id is fresh exactly once in each retention while time passes over all processes") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const TempDir dir;
  const Shared<FakeHost> host;
  const Options options{
      .retention = 10s, .buckets = 5, .expected_ids = 1, .flush_interval = 1ms, .ring_bytes = 64 << 10};
  const std::size_t count = scaled(8'000, 800);
  for (unsigned era = 0; era < scaled(5, 2); ++era) {
    CAPTURE(era);
    const Shared<Answers> answers;
    std::vector<pid_t> children;
    for (unsigned p = 0; p < kProcesses; ++p) {
      children.push_back(spawn([&, p] {
        const Store store = StoreAccess::open(dir / "store", options, *host);
        answers->meet(kProcesses);
        in_threads(kThreads, [&](unsigned t) {
          const std::size_t step = count / 40;
          for (std::size_t begin = 0; begin < count; begin += step) {
            mark_all(store, *answers, begin, step, t == 0 ? 1 : 30, seed + p * kThreads + t);
            // 4 * 2 * 40 times: 8 of the 10 seconds, over four bucket boundaries.
            host->advance(25ms);
          }
        });
        return 0;
      }));
    }
    wait_for_all(children);
    std::size_t fresh_once = 0;
    for (std::size_t i = 0; i < count; ++i) fresh_once += answers->fresh[i].load() == 1;
    CHECK(fresh_once == count);
    host->advance(10s);
  }
}

TEST_CASE("processes may open and close the store while others mark") {
  const TempDir dir;
  const Options options{.expected_ids = 1, .flush_interval = 1ms, .ring_bytes = 64 << 10};
  const Shared<Answers> answers;
  const std::size_t rounds = scaled(60, 10);
  constexpr std::size_t kIdsARound = 100;
  std::vector<pid_t> children;
  for (unsigned p = 0; p < kProcesses; ++p) {
    children.push_back(spawn([&, p] {
      for (std::size_t round = 0; round < rounds; ++round) {
        const Store store = Store::open(dir / "store", options);
        mark_all(store, *answers, round * kIdsARound, kIdsARound, 1 + p * 10, round);
        for (std::size_t id = 0; id < round * kIdsARound; id += 37) {
          expect(store.scope("orders").contains(id_of(id)), "what was marked before is known");
        }
      }
      return 0;
    }));
  }
  wait_for_all(children);
  std::size_t fresh_once = 0;
  for (std::size_t i = 0; i < rounds * kIdsARound; ++i) fresh_once += answers->fresh[i].load() == 1;
  CHECK(fresh_once == rounds * kIdsARound);
}

TEST_CASE("processes that name new scopes at the same moment agree on them") {
  const TempDir dir;
  Store::open(dir / "store");
  constexpr std::size_t kScopes = 50;
  const Shared<Answers> answers;
  std::vector<pid_t> children;
  for (unsigned p = 0; p < kProcesses; ++p) {
    children.push_back(spawn([&, p] {
      const Store store = Store::open(dir / "store");
      answers->meet(kProcesses);
      for (std::size_t s = 0; s < kScopes; ++s) {
        const std::size_t number = (s + p * 7) % kScopes;
        answers->note(number, store.scope("scope " + std::to_string(number)).mark("the same id"));
      }
      return 0;
    }));
  }
  wait_for_all(children);
  for (std::size_t s = 0; s < kScopes; ++s) CHECK(answers->fresh[s].load() == 1);
}

TEST_CASE("what a killed process has marked reaches the disk by another one that has the store open and does nothing" *
          doctest::skip(kThreadSanitizer)) {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1ms});
  const Scope scope = store.scope("orders");
  for (int i = 0; i < 3; ++i) {
    Shared<std::atomic<std::uint64_t>> lsn;
    const std::string id = "id " + std::to_string(i);
    const pid_t child = spawn([&] {
      // It would flush in an hour.
      lsn->store(Store::open(dir / "store", {.flush_interval = 1h}).scope("orders").mark(id).lsn.value);
      wait_until([] { return false; });
      return 0;
    });
    wait_until([&] { return lsn->load() != 0; });
    REQUIRE(::kill(child, SIGKILL) == 0);
    CHECK(wait_for(child) == -SIGKILL);
    wait_until([&] { return store.durable() > Lsn{lsn->load()}; });
    CHECK(scope.contains(id));
  }
}
