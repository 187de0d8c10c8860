#include <signal.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "asking.h"
#include "memory_backend.h"
#include "remote/gathering.h"
#include "remote/near.h"
#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Backend;
using internal::remote::ConnectionLost;
using internal::remote::Gathering;
using internal::remote::Near;
using internal::remote::NearEvent;
using std::chrono::microseconds;

namespace {

constexpr std::string_view kScope = "orders";

std::string id_of(std::uint64_t number) {
  return "message-" + std::to_string(number);
}

/// A server whose every change is a numbered step, so that another process can bring one of its own to the same state.
class Script {
 public:
  explicit Script(std::shared_ptr<MemoryBackend> server, FakeHost& host) : server_(std::move(server)), host_(host) {}

  /// Takes the next step by way of `backend`: an id is marked, or another host forgets one.
  void step(Backend& backend) {
    const std::uint64_t number = steps_++;
    if (forgets_next(number)) {
      server_->forget(kScope, id_of(number - 3), Ack::host, new_attempt());
      server_->advance(10min);
      host_.advance(10min);
    } else {
      const std::string result = "result " + std::to_string(number);
      mark_one(backend, kScope, id_of(number), {.correlation = "c", .fingerprint = number + 1, .result = result});
    }
  }
  void take_steps(std::uint64_t until) {
    while (steps_ < until) step(*server_);
  }
  std::uint64_t steps() const { return steps_; }
  bool forgets_next() const { return forgets_next(steps_); }

 private:
  static bool forgets_next(std::uint64_t number) { return number % 50 == 49; }

  const std::shared_ptr<MemoryBackend> server_;
  FakeHost& host_;
  std::uint64_t steps_ = 0;
};

/// Counts what has changed on the server before anybody else learns of it.
class Noting final : public internal::remote::Forwarding {
 public:
  Noting(std::shared_ptr<Backend> next, std::atomic<std::uint64_t>& marked)
      : Forwarding(std::move(next)), marked_(marked) {}

  void mark(std::string_view scope, std::span<const internal::remote::Ask> asked, Ack ack,
            const internal::remote::Attempt& attempt, std::span<internal::remote::Answer> out) override {
    Forwarding::mark(scope, asked, ack, attempt, out);
    for (const auto& answer : out) marked_ += answer.marked == Verdict::fresh;
  }

 private:
  std::atomic<std::uint64_t>& marked_;
};

struct Progress {
  std::atomic<std::uint64_t> steps{0};
};

/// Runs until it is killed: takes steps, and asks for earlier ids again.
int work_until_killed(const std::filesystem::path& directory, std::uint64_t begin, std::uint64_t seed,
                      Progress& progress) {
  FakeHost host;
  const auto server = std::make_shared<MemoryBackend>(MemoryBackend::Settings{.retention = 1h});
  Script script(server, host);
  script.take_steps(begin);
  progress.steps = begin;
  Near near(std::make_shared<Noting>(server, progress.steps), {directory, 1min, 5s, {}}, host);
  std::mt19937_64 random(seed);
  for (;;) {
    const bool forgets = script.forgets_next();
    script.step(near);
    if (forgets) ++progress.steps;
    for (int i = 0; i < 3; ++i) find_one(near, kScope, id_of(random() % script.steps()));
  }
}

}  // namespace

TEST_CASE("what a process that was killed at any moment has left in the directory is right") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir directory(memory_directory());
  Shared<Progress> progress;
  std::uint64_t steps = 0;
  std::uint64_t known_here = 0;
  for (std::uint64_t round = 0; round < scaled(12, 3); ++round) {
    CAPTURE(round);
    const pid_t child = spawn([&] { return work_until_killed(directory / "near", steps, seed + round, *progress); });
    const std::uint64_t target = steps + 1 + random() % 400;
    CHECK(holds_soon([&] { return progress->steps.load() >= target; }));
    ::kill(child, SIGKILL);
    CHECK(wait_for(child) == -SIGKILL);
    steps = progress->steps.load();

    FakeHost host;
    const auto server = std::make_shared<MemoryBackend>(MemoryBackend::Settings{.retention = 1h});
    Script script(server, host);
    script.take_steps(steps);
    std::vector<NearEvent> events;
    Near near(server, {directory / "near", 1min, 5s, [&](const NearEvent& event) { events.push_back(event); }}, host);
    for (std::uint64_t i = 0; i < steps + 5; ++i) {
      CAPTURE(i);
      const std::uint64_t before = server->ids_asked();
      const auto here = find_one(near, kScope, id_of(i));
      known_here += server->ids_asked() == before;
      CHECK(shown(here) == shown(find_one(*server, kScope, id_of(i))));
    }
    CHECK(events.empty());
  }
  CHECK(known_here > 0);
}

TEST_CASE("two processes that share the directory answer from what the other has learned, and rightly") {
  constexpr std::uint64_t kSteps = 700;
  const TempDir directory(memory_directory());
  const auto ask_all = [&](std::uint64_t seed, std::uint64_t& known_here) {
    FakeHost host;
    const auto server = std::make_shared<MemoryBackend>(MemoryBackend::Settings{.retention = 24h});
    Script script(server, host);
    script.take_steps(kSteps);
    int events = 0;
    std::mt19937_64 random(seed);
    for (int opening = 0; opening < 5; ++opening) {
      Near near(server, {directory / "near", 1min, 5s, [&](const NearEvent&) { ++events; }}, host);
      for (std::uint64_t i = 0; i < kSteps; ++i) {
        const std::string id = id_of(random() % kSteps);
        const std::uint64_t before = server->ids_asked();
        const auto here = find_one(near, kScope, id);
        known_here += server->ids_asked() == before;
        expect(shown(here) == shown(find_one(*server, kScope, id)), "the server's answer");
      }
    }
    expect(events == 0, "no trouble");
  };
  const auto child = [&](std::uint64_t seed) {
    return spawn([&, seed] {
      std::uint64_t known_here = 0;
      ask_all(seed, known_here);
      return 0;
    });
  };
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const std::array children{child(seed), child(seed + 1)};
  for (const pid_t one : children) CHECK(wait_for(one) == 0);
  std::uint64_t known_here = 0;
  CHECK_NOTHROW(ask_all(seed + 2, known_here));
  CHECK(known_here > kSteps * 3);  // The children have asked for nearly all.
}

namespace {

/// Threads that mark ids by way of one near tier, and forget some; counts what they are answered.
struct Crowd {
  static constexpr std::size_t kThreads = 4;
  static constexpr std::size_t kIds = 200;

  void work(std::uint64_t seed, bool lose, bool forget) {
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < scaled(20'000, 3'000); ++i) {
      const std::size_t at = random() % kIds;
      const std::string id = id_of(at);
      const auto attempt = new_attempt();
      if (lose && random() % 32 == 0) {
        server->lose(random() % 2 == 0 ? MemoryBackend::Lost::before : MemoryBackend::Lost::after, random() % 3);
      }
      if (forget && random() % 64 == 0) {
        forgotten[at] += near.forget(kScope, id, Ack::host, attempt);
      } else {
        fresh[at] += marks(id, attempt);
      }
    }
  }

  bool marks(const std::string& id, const internal::remote::Attempt& attempt) {
    for (;;) {
      try {
        return mark_one(near, kScope, id, {}, attempt).marked == Verdict::fresh;
      } catch (const ConnectionLost&) {
        ++losses;
      }
    }
  }

  void run(bool lose, bool forget) {
    const std::uint64_t seed = test_seed();
    CAPTURE(seed);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back([=, this] { work(seed + i, lose, forget); });
    for (std::thread& thread : threads) thread.join();
    server->lose_nothing();
    CHECK(events.load() == 0);
    for (std::size_t i = 0; i < kIds; ++i) {
      CAPTURE(i);
      const bool processed = find_one(*server, kScope, id_of(i)).has_value();
      CHECK(find_one(near, kScope, id_of(i)).has_value() == processed);
      CHECK(fresh[i].load() - forgotten[i].load() == (processed ? 1 : 0));
    }
  }

  const TempDir directory{memory_directory()};
  FakeHost host;
  const std::shared_ptr<MemoryBackend> server = std::make_shared<MemoryBackend>();
  std::atomic<int> events{0};
  Near near{std::make_shared<Gathering>(server, 1h),
            {directory / "near", 1min, 1h, [this](const NearEvent&) { ++events; }},
            host};
  std::array<std::atomic<int>, kIds> fresh{};
  std::array<std::atomic<int>, kIds> forgotten{};
  std::atomic<std::uint64_t> losses{0};
};

}  // namespace

TEST_CASE("threads get each id fresh once, whatever gets lost") {
  Crowd crowd;
  crowd.run(true, false);
  CHECK(crowd.losses.load() > 0);
}

TEST_CASE("threads get each id fresh once, and once more each time that it was forgotten") {
  Crowd crowd;
  crowd.run(false, true);
  int forgotten = 0;
  for (const auto& count : crowd.forgotten) forgotten += count.load();
  CHECK(forgotten > 0);
}
