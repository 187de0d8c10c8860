// Stores that hosts share, on servers of this program's own, beside a SET NX EX a message: throughput of consumers,
// with and without the near tier, and how long single calls take. Redis and PostgreSQL are configured as in
// bench/peers.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/oncelog.h>
#include <oncelog/remote.h>

#include "days.h"
#include "latencies.h"
#include "messages.h"
#include "peers/peer.h"
#include "report.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kRepetitions = 3;
constexpr unsigned kConnections = 64;

/// An engine's server, with a directory of its own.
class Engine {
 public:
  Engine(std::unique_ptr<Peer> peer, std::function<std::string(const std::filesystem::path&)> address)
      : peer_(std::move(peer)), address_(std::move(address)), directory_(std::filesystem::temp_directory_path()) {
    // Its user, who is not root, must get there.
    std::filesystem::permissions(directory_.path(), std::filesystem::perms(0755));
    peer_->open(server(), 0);
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() { peer_->close(); }

  /// A store that nobody has used.
  Store open(bool near) {
    const std::string name = fmt::format("store{}", ++stores_);
    remote::Options options{.connections = kConnections};
    if (near) options.near = directory_.path() / ("near-" + name);
    return remote::open(address_(server()) + name, options);
  }
  std::string new_address() { return address_(server()) + fmt::format("store{}", ++stores_); }
  std::unique_ptr<Session> session() { return peer_->session(Sync::background); }

 private:
  std::filesystem::path server() const { return directory_.path() / "server"; }

  std::unique_ptr<Peer> peer_;
  std::function<std::string(const std::filesystem::path&)> address_;
  ScratchDir directory_;
  unsigned stores_ = 0;
};

std::unique_ptr<Engine> redis() {
  return std::make_unique<Engine>(make_redis(Sync::background), [](const std::filesystem::path& directory) {
    return fmt::format("redis+unix://{}?prefix=", (directory / "socket").string());
  });
}
std::unique_ptr<Engine> postgresql() {
  return std::make_unique<Engine>(make_postgresql(), [](const std::filesystem::path& directory) {
    return fmt::format("postgresql://postgres@/postgres?host={}&schema=", directory.string());
  });
}

/// Returns how many of a batch's ids were fresh.
using Mark = std::function<std::size_t(std::span<const std::string_view>)>;

/// Consumers side by side, each with a way of its own to mark.
void run_consumers(benchmark::State& state, unsigned threads, std::size_t batch, std::size_t messages,
                   const std::function<Mark()>& connect) {
  for (auto _ : state) {
    std::atomic<std::size_t> given{0};
    std::atomic<bool> wrong{false};
    std::vector<Mark> marks;
    std::vector<Messages> streams;
    for (unsigned i = 0; i < threads; ++i) {
      marks.push_back(connect());
      streams.emplace_back(Ids(std::uint64_t{i + 1} << 32, messages / threads), i + 1);
    }
    const auto begin = Clock::now();
    std::vector<std::thread> consumers;
    for (unsigned i = 0; i < threads; ++i) {
      consumers.emplace_back([&, i] {
        for (;;) {
          std::size_t fresh = 0;
          const auto ids = streams[i].next(batch, fresh);
          if (ids.empty()) return;
          if (marks[i](ids) != fresh) wrong = true;
          given += ids.size();
        }
      });
    }
    for (std::thread& consumer : consumers) consumer.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (wrong) state.SkipWithError("a wrong answer");
    state.SetIterationTime(seconds);
    state.counters["marks_per_s"] = static_cast<double>(given) / seconds;
  }
}

std::size_t mark_in(const Scope& scope, std::span<const std::string_view> ids) {
  if (ids.size() == 1) return scope.mark(ids[0]) == Verdict::fresh;
  std::vector<Marked> marked(ids.size());
  scope.mark(ids, marked);
  return static_cast<std::size_t>(
      std::ranges::count_if(marked, [](const Marked& one) { return one == Verdict::fresh; }));
}

/// One caller's calls, one after the other.
void run_calls(benchmark::State& state, Engine& engine, bool near,
               const std::function<void(const Scope&, std::string_view)>& call) {
  constexpr std::size_t kCalls = 5'000;
  const Ids ids(0, kCalls);
  for (auto _ : state) {
    const Store store = engine.open(near);
    const Scope scope = store.scope("bench");
    Latencies latencies;
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < kCalls; ++i) {
      const auto before = Clock::now();
      call(scope, ids[i]);
      latencies.record(static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - before).count()));
    }
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - begin).count());
    state.counters["p50_us"] = latencies.quantile_ns(0.5) / 1000;
    state.counters["p99_us"] = latencies.quantile_ns(0.99) / 1000;
  }
}

/// How long after the end of a claim a waiter has its answer.
void run_waiters(benchmark::State& state, Engine& engine) {
  constexpr std::size_t kRounds = 20;
  const Ids ids(0, kRounds);
  for (auto _ : state) {
    const Store store = engine.open(false);
    const Scope scope = store.scope("bench");
    Latencies latencies;
    double seconds = 0;
    for (std::size_t i = 0; i < kRounds; ++i) {
      Claim held = scope.begin(ids[i], 30s);
      Clock::time_point told;
      std::thread waiter([&] {
        if (scope.begin(ids[i], 30s, {}, 10s) != Verdict::duplicate) state.SkipWithError("a wrong answer");
        told = Clock::now();
      });
      std::this_thread::sleep_for(200ms);  // The work, as long as the waits between two questions grow.
      const auto ended = Clock::now();
      held.complete();
      waiter.join();
      const std::chrono::nanoseconds late = told - ended;
      latencies.record(static_cast<std::uint64_t>(late.count()));
      seconds += std::chrono::duration<double>(late).count();
    }
    state.SetIterationTime(seconds);
    state.counters["p50_ms"] = latencies.quantile_ns(0.5) / 1e6;
    state.counters["longest_ms"] = static_cast<double>(latencies.max_ns()) / 1e6;
  }
}

void add_consumers(const std::string& name, Engine& engine, bool sessions) {
  for (const std::size_t batch : {std::size_t{1}, std::size_t{256}}) {
    for (const unsigned threads : {1U, 16U, 64U}) {
      if (batch != 1 && threads == 64) continue;
      const std::size_t messages = (batch == 1 ? 8'000 : 64'000) * (threads == 1 ? 1 : 6);
      const auto add = [&](std::string_view front, std::function<std::function<Mark()>()> make) {
        add_row(fmt::format("shared/{}/consume/{}/duplicates:20%/threads:{}/in_batches_of:{}/fresh:{}x36B", name, front,
                            threads, batch, messages),
                kRepetitions, [=](benchmark::State& state) { run_consumers(state, threads, batch, messages, make()); });
      };
      for (const bool near : {false, true}) {
        add(near ? "near" : "plain", [&engine, near] {
          const Scope scope = engine.open(near).scope("bench");
          return [scope] { return [scope](std::span<const std::string_view> ids) { return mark_in(scope, ids); }; };
        });
      }
      if (!sessions) continue;
      // Ids of its own for each repetition, as there is one name space.
      add("set_nx_ex", [&engine] {
        static std::atomic<unsigned> runs{0};
        const unsigned run = ++runs;
        return [&engine, run] {
          std::shared_ptr<Session> session = engine.session();
          return [session, run](std::span<const std::string_view> ids) {
            std::vector<std::string> own;
            for (const std::string_view id : ids) own.push_back(fmt::format("{}:{}", run, id));
            const std::vector<std::string_view> views(own.begin(), own.end());
            return views.size() == 1 ? std::size_t{session->mark(views[0])} : session->mark(views);
          };
        };
      });
    }
  }
}

void add_calls(const std::string& name, Engine& engine) {
  const auto add = [&](std::string_view what, bool near, std::function<void(const Scope&, std::string_view)> call) {
    add_row(fmt::format("shared/{}/call/{}/callers:1", name, what), kRepetitions,
            [&engine, near, call](benchmark::State& state) { run_calls(state, engine, near, call); });
  };
  const auto mark = [](const Scope& scope, std::string_view id) { scope.mark(id); };
  add("mark", false, mark);
  add("mark/near", true, mark);
  add("contains/fresh", false, [](const Scope& scope, std::string_view id) { scope.contains(id); });
  add("begin_and_complete", false, [](const Scope& scope, std::string_view id) { scope.begin(id, 30s).complete(); });
  add("mark_twice/near", true, [](const Scope& scope, std::string_view id) {
    scope.mark(id);
    scope.mark(id);
  });
  add_row(fmt::format("shared/{}/wait_for_a_claim/held:200ms", name), 1,
          [&engine](benchmark::State& state) { run_waiters(state, engine); });
}

}  // namespace
}  // namespace oncelog::bench

int main(int argc, char** argv) {
  using namespace oncelog::bench;
  Days days;
  benchmark::Initialize(&argc, argv);
  if (argc == 2 && std::string_view(argv[1]).starts_with("--days=")) {
    days.count = static_cast<unsigned>(std::strtoul(argv[1] + 7, nullptr, 10));
    argc = 1;
  }
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  std::unique_ptr<Engine> on_redis;
  std::unique_ptr<Engine> on_postgresql;
  if (have_redis_server()) {
    on_redis = redis();
    add_consumers("redis", *on_redis, true);
    add_calls("redis", *on_redis);
  }
  if (have_postgresql_server()) {
    on_postgresql = postgresql();
    add_consumers("postgresql", *on_postgresql, false);
    add_calls("postgresql", *on_postgresql);
    add_row(fmt::format("shared/postgresql/expiry/marks_per_s:{}/retention:{}s/retentions:{}", days.marks_a_second,
                        days.day.count(), days.count),
            1, [&](benchmark::State& state) { run_days(state, on_postgresql->new_address(), days); });
  }
  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return 0;
}
