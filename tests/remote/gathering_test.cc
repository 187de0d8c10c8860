#include "remote/gathering.h"

#include <array>
#include <atomic>
#include <latch>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <oncelog/error.h>

#include "asking.h"
#include "memory_backend.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::ConnectionLost;
using internal::remote::Gathering;

namespace {

/// A server whose first call stays under way until the test lets it go.
struct Held {
  explicit Held(std::chrono::milliseconds timeout = 1h) : gathering(server, timeout) {
    server->on_call = [this](std::string_view, std::size_t ids) {
      if (calls.fetch_add(1) == 0) {
        under_way.count_down();
        released.wait();
      } else if (on_later_call) {
        on_later_call();
      }
      const std::lock_guard guard(mutex);
      sizes.push_back(ids);
    };
  }

  /// Begins `call` while the first is under way, and returns when it waits for its turn.
  template <typename Call>
  std::thread waiting(Call call) {
    const std::size_t before = gathering.waiting();
    std::thread thread(call);
    wait_until([&] { return gathering.waiting() == before + 1; });
    return thread;
  }
  std::thread first(std::string_view id) {
    std::thread thread([this, id] { CHECK(mark_one(gathering, "orders", id).marked == Verdict::fresh); });
    under_way.wait();
    return thread;
  }

  std::shared_ptr<MemoryBackend> server = std::make_shared<MemoryBackend>();
  Gathering gathering;
  std::atomic<int> calls{0};
  std::latch under_way{1};
  std::latch released{1};
  std::function<void()> on_later_call;
  std::mutex mutex;
  std::vector<std::size_t> sizes;  // Ids of each call.
};

}  // namespace

TEST_CASE("a lone call is passed on as it is, on its own thread") {
  const auto server = std::make_shared<MemoryBackend>();
  Gathering gathering(server, 1h);
  std::vector<std::thread::id> threads;
  server->on_call = [&](std::string_view, std::size_t) { threads.push_back(std::this_thread::get_id()); };
  CHECK(mark_one(gathering, "orders", "a").marked == Verdict::fresh);
  CHECK(mark_one(gathering, "orders", "a").marked == Verdict::duplicate);
  CHECK(find_one(gathering, "orders", "a"));
  CHECK(claim_one(gathering, "orders", "b").token == 1);
  CHECK(threads == std::vector(4, std::this_thread::get_id()));
}

TEST_CASE("calls that come while a batch is under way share the next one, each with its own answers") {
  Held held;
  std::vector<std::thread> threads;
  threads.push_back(held.first("first"));
  std::array<Answer, 3> answers;
  const std::array<std::string_view, 3> ids{"first", "b", "b"};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    threads.push_back(held.waiting([&, i] { answers[i] = mark_one(held.gathering, "orders", ids[i]); }));
  }
  held.released.count_down();
  for (std::thread& thread : threads) thread.join();
  CHECK(held.sizes == std::vector<std::size_t>{1, 3});
  CHECK(answers[0].marked == Verdict::duplicate);
  CHECK(answers[1].marked == Verdict::fresh);
  CHECK(answers[2].marked == Verdict::duplicate);
  CHECK(answers[2].marked.lsn == answers[1].marked.lsn);
}

TEST_CASE("claims and look-ups are gathered as well") {
  for (const bool claims : {false, true}) {
    CAPTURE(claims);
    Held held;
    const auto ask = [&](std::string_view id) {
      if (claims) {
        CHECK(claim_one(held.gathering, "orders", id).marked == Verdict::fresh);
      } else {
        CHECK_FALSE(find_one(held.gathering, "orders", id));
      }
    };
    std::vector<std::thread> threads;
    threads.emplace_back([&] { ask("a"); });
    held.under_way.wait();
    threads.push_back(held.waiting([&] { ask("b"); }));
    threads.push_back(held.waiting([&] { ask("c"); }));
    held.released.count_down();
    for (std::thread& thread : threads) thread.join();
    CHECK(held.sizes == std::vector<std::size_t>{1, 2});
  }
}

TEST_CASE("another scope, another kind and a large call do not wait for a batch") {
  Held held;
  std::thread thread = held.first("first");
  CHECK(mark_one(held.gathering, "payments", "a").marked == Verdict::fresh);
  CHECK(mark_one(held.gathering, "orders", "a", {}, new_attempt(), Ack::disk).marked == Verdict::fresh);
  CHECK(claim_one(held.gathering, "orders", "b").token != 0);
  const Ids ids(Gathering::kFewIds + 1, [](std::size_t i) { return "id-" + std::to_string(i); });
  std::vector<Ask> asked;
  for (const std::string_view id : ids) asked.push_back({id});
  std::vector<Answer> answers(asked.size());
  held.gathering.mark("orders", asked, Ack::host, new_attempt(), answers);
  CHECK(answers.back().marked == Verdict::fresh);
  held.released.count_down();
  thread.join();
}

TEST_CASE("a batch has no more ids than it may, and what is left waits for the next") {
  Held held;
  std::vector<std::thread> threads;
  threads.push_back(held.first("first"));
  const std::size_t fit = Gathering::kMostIds / Gathering::kFewIds;
  for (std::size_t caller = 0; caller < fit + 1; ++caller) {
    threads.push_back(held.waiting([&, caller] {
      const Ids ids(Gathering::kFewIds, [&](std::size_t i) { return fmt::format("{}-{}", caller, i); });
      std::vector<Ask> asked;
      for (const std::string_view id : ids) asked.push_back({id});
      std::vector<Answer> answers(asked.size());
      held.gathering.mark("orders", asked, Ack::host, new_attempt(), answers);
      for (const Answer& answer : answers) CHECK(answer.marked == Verdict::fresh);
    }));
  }
  held.released.count_down();
  for (std::thread& thread : threads) thread.join();
  CHECK(held.sizes == std::vector<std::size_t>{1, Gathering::kMostIds, Gathering::kFewIds});
}

TEST_CASE("an error reaches all that were in the batch, and nobody else") {
  Held held;
  held.on_later_call = [&] {
    if (held.calls.load() == 2) throw Error(ErrorCode::full, "the server is full", "/path");
  };
  std::vector<std::thread> threads;
  threads.push_back(held.first("first"));
  for (int i = 0; i < 3; ++i) {
    threads.push_back(held.waiting([&] {
      try {
        mark_one(held.gathering, "orders", "b");
        FAIL_CHECK("no Error was thrown");
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::full);
        CHECK(error.what() == std::string("the server is full"));
        CHECK(error.path() == "/path");
      }
    }));
  }
  held.released.count_down();
  for (std::thread& thread : threads) thread.join();
  CHECK(held.calls.load() == 2);
  CHECK(mark_one(held.gathering, "orders", "b").marked == Verdict::fresh);
}

TEST_CASE("whoever was in a lost batch asks again with the same attempt, and gets its own mark as fresh") {
  Held held;
  held.server->lose(MemoryBackend::Lost::after, 1);
  std::vector<std::thread> threads;
  threads.push_back(held.first("first"));
  const std::array attempts{new_attempt(), new_attempt(), new_attempt()};
  const std::array<std::string_view, 3> ids{"a", "b", "a"};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    threads.push_back(held.waiting(
        [&, i] { CHECK_THROWS_AS(mark_one(held.gathering, "orders", ids[i], {}, attempts[i]), ConnectionLost); }));
  }
  held.released.count_down();
  for (std::thread& thread : threads) thread.join();
  // In another order, and one by one.
  CHECK(mark_one(held.gathering, "orders", "a", {}, attempts[2]).marked == Verdict::duplicate);
  CHECK(mark_one(held.gathering, "orders", "b", {}, attempts[1]).marked == Verdict::fresh);
  CHECK(mark_one(held.gathering, "orders", "a", {}, attempts[0]).marked == Verdict::fresh);
}

TEST_CASE("a call whose turn does not come in time was never sent") {
  Held held(20ms);
  std::thread thread = held.first("first");
  CHECK_THROWS_WITH_AS(mark_one(held.gathering, "orders", "late"),
                       "memory://: a batch that was sent before has no answer within 20 ms", ConnectionLost);
  CHECK(held.gathering.waiting() == 0);
  held.released.count_down();
  thread.join();
  CHECK(held.sizes == std::vector<std::size_t>{1});
  CHECK(mark_one(held.gathering, "orders", "late").marked == Verdict::fresh);
}

TEST_CASE("each id is fresh for one thread, whatever gets lost") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const auto server = std::make_shared<MemoryBackend>();
  Gathering gathering(server, 1h);
  constexpr std::size_t kThreads = 8;
  const std::size_t ids = scaled(20'000, 2'000);
  std::atomic<std::uint64_t> losses{0};
  std::vector<std::atomic<int>> fresh(ids);
  const auto work = [&](std::uint64_t number) {
    std::mt19937_64 random(seed + number);
    for (std::size_t i = 0; i < ids; ++i) {
      const std::string id = "id-" + std::to_string(i);
      const auto attempt = new_attempt();
      if (random() % 16 == 0) {
        server->lose(random() % 2 == 0 ? MemoryBackend::Lost::before : MemoryBackend::Lost::after, random() % 3);
      }
      for (bool answered = false; !answered;) {
        try {
          fresh[i] += mark_one(gathering, "orders", id, {}, attempt).marked == Verdict::fresh;
          answered = true;
        } catch (const ConnectionLost&) {
          ++losses;
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  CHECK(losses.load() > 0);
  std::size_t wrong = 0;
  for (const auto& count : fresh) wrong += count != 1;
  CHECK(wrong == 0);
  CHECK(server->calls() < server->ids_asked());  // Some were gathered.
}
