// What stands before an engine that hosts share, with one in memory behind a wire on which each round trip takes 50 us.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <time.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/oncelog.h>

#include "memory_backend.h"
#include "messages.h"
#include "remote/gathering.h"
#include "remote/near.h"
#include "report.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::Attempt;
using internal::remote::Backend;
using internal::remote::Forwarding;
using internal::remote::Gathering;
using internal::remote::Near;
using internal::remote::NearSettings;
using testing::MemoryBackend;

constexpr int kRepetitions = 5;
constexpr std::chrono::microseconds kRoundTrip{50};
constexpr unsigned kConnections = 8;  // As remote::Options has by default.
constexpr std::string_view kScope = "bench";

/// Each mark and look-up takes one of a few connections for a round trip's time, in which its thread sleeps.
class Wire final : public Forwarding {
 public:
  using Forwarding::Forwarding;

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override {
    const Trip trip(*this);
    Forwarding::find(scope, ids, whole, out);
  }
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
            std::span<Answer> out) override {
    const Trip trip(*this);
    Forwarding::mark(scope, asked, ack, attempt, out);
  }

 private:
  struct Trip {
    explicit Trip(Wire& on) : wire(on) {
      {
        std::unique_lock lock(wire.mutex_);
        wire.freed_.wait(lock, [&] { return wire.free_ != 0; });
        --wire.free_;
      }
      const timespec time{0, std::chrono::nanoseconds(kRoundTrip).count()};
      ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
    }
    ~Trip() {
      const std::lock_guard lock(wire.mutex_);
      ++wire.free_;
      wire.freed_.notify_one();
    }
    Wire& wire;
  };

  std::mutex mutex_;
  std::condition_variable freed_;
  unsigned free_ = kConnections;
};

enum class Front : std::uint8_t { none, gathering, near };

std::shared_ptr<Backend> engine(Front front, const std::filesystem::path& directory) {
  std::shared_ptr<Backend> engine = std::make_shared<Wire>(std::make_shared<MemoryBackend>());
  if (front != Front::none) engine = std::make_shared<Gathering>(engine, 5s);
  if (front == Front::near) engine = std::make_shared<Near>(engine, NearSettings{.directory = directory});
  return engine;
}

Verdict mark(Backend& backend, std::string_view id, const Attempt& attempt) {
  const Ask ask{id};
  Answer answer;
  backend.mark(kScope, {&ask, 1}, Ack::host, attempt, {&answer, 1});
  return answer.marked.verdict;
}

/// One consumer. Returns how many messages it was given.
std::size_t consume(Backend& backend, Messages& messages, std::uint64_t number, std::atomic<std::size_t>& wrong) {
  ::prctl(PR_SET_TIMERSLACK, 1000UL);  // Or each sleep takes twice as long.
  Attempt attempt{};
  attempt[15] = static_cast<std::uint8_t>(number);
  for (std::uint64_t message = 0;; ++message) {
    std::size_t fresh = 0;
    const auto ids = messages.next(1, fresh);
    if (ids.empty()) return message;
    std::memcpy(attempt.data(), &message, sizeof message);
    wrong += mark(backend, ids[0], attempt) != (fresh == 1 ? Verdict::fresh : Verdict::duplicate);
  }
}

void run_consumers(benchmark::State& state, Front front, unsigned threads, std::size_t messages) {
  for (auto _ : state) {
    const ScratchDir directory(std::filesystem::temp_directory_path());
    const auto backend = engine(front, directory.path() / "near");
    std::vector<Messages> streams;
    for (unsigned i = 0; i < threads; ++i) streams.emplace_back(Ids(i * messages, messages / threads), i);
    std::atomic<std::size_t> given{0};
    std::atomic<std::size_t> wrong{0};
    const auto begin = Clock::now();
    std::vector<std::thread> consumers;
    for (unsigned i = 0; i < threads; ++i) {
      consumers.emplace_back([&, i] { given += consume(*backend, streams[i], i, wrong); });
    }
    for (std::thread& consumer : consumers) consumer.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (wrong != 0) state.SkipWithError("a wrong answer");
    state.SetIterationTime(seconds);
    state.counters["marks_per_s"] = static_cast<double>(given) / seconds;
  }
}

/// What this thread has used of a processor.
double used_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// Duplicates that are known here, one by one, beside those of the local store itself, in turns.
void run_known(benchmark::State& state, bool marks) {
  constexpr std::size_t kIds = 100'000;
  constexpr std::size_t kTurns = 20;
  const ScratchDir directory(std::filesystem::temp_directory_path());
  const auto near = engine(Front::near, directory.path() / "near");
  const Ids ids(0, kIds);
  for (std::size_t i = 0; i < kIds; i += 1000) {
    std::vector<Ask> asked;
    for (std::size_t j = i; j < i + 1000; ++j) asked.push_back({ids[j]});
    std::vector<Answer> answers(asked.size());
    near->mark(kScope, asked, Ack::host, internal::random_uuid(), answers);
  }
  const Store store = Store::open(directory.path() / "near", {.retention = 24h});
  const Scope scope = store.scope(kScope);
  store.sync();
  const Ids any = ids.sample(kIds, 17);
  const Attempt attempt = internal::random_uuid();
  for (auto _ : state) {
    double here = 0;
    double local = 0;
    std::size_t known = 0;
    const auto timed = [&](std::size_t turn, double& seconds, auto ask) {
      const double begin = used_seconds();
      for (std::size_t i = kIds * turn / kTurns; i < kIds * (turn + 1) / kTurns; ++i) known += ask(any[i]);
      seconds += used_seconds() - begin;
    };
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      timed(turn, here, [&](std::string_view id) {
        if (marks) return mark(*near, id, attempt) == Verdict::duplicate;
        std::optional<Record> found;
        near->find(kScope, {&id, 1}, true, {&found, 1});
        return found.has_value();
      });
      timed(turn, local, [&](std::string_view id) {
        return marks ? scope.mark(id) == Verdict::duplicate : scope.find(id).has_value();
      });
    }
    if (known != 2 * kIds) state.SkipWithError("a wrong answer");
    state.SetIterationTime(here);
    state.counters["ns"] = here * 1e9 / kIds;
    state.counters["local_ns"] = local * 1e9 / kIds;
    state.counters["of_local"] = here / local;
  }
}

void add_rows() {
  for (const bool marks : {true, false}) {
    add_row(fmt::format("near/known/{}/one_by_one/of_ids:100000x36B/beside:Scope", marks ? "mark" : "find"),
            kRepetitions, [marks](benchmark::State& state) { run_known(state, marks); });
  }
  for (const unsigned threads : {1U, 16U, 64U}) {
    for (const Front front : {Front::none, Front::gathering, Front::near}) {
      constexpr std::array<std::string_view, 3> kNames{"plain", "gathering", "near"};
      const std::size_t messages = threads == 1 ? 6'400 : 128'000;
      add_row(fmt::format("near/consume/{}/duplicates:20%/threads:{}/round_trip:{}us/connections:{}/fresh:{}x36B",
                          kNames[static_cast<std::size_t>(front)], threads, kRoundTrip.count(), kConnections, messages),
              kRepetitions, [=](benchmark::State& state) { run_consumers(state, front, threads, messages); });
    }
  }
}

}  // namespace
}  // namespace oncelog::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  oncelog::bench::add_rows();
  oncelog::bench::MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return 0;
}
