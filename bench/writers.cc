#include "writers.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/oncelog.h>

#include "asking.h"
#include "report.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;  // One for all processes.

constexpr int kRepetitions = 3;
constexpr std::size_t kIds = 2'000'000;
constexpr std::chrono::hours kRetention{24};

std::size_t ids_of(const Settings& settings) {
  return std::min(kIds, settings.ids);
}

/// Where writers, which may be processes, wait for each other.
struct Race {  // All sequentially consistent: nothing of it is measured.
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::atomic<std::int64_t> last_end{0};
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

class SharedRace {
 public:
  SharedRace() {
    void* memory = ::mmap(nullptr, sizeof(Race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap failed");
    race_ = new (memory) Race;
  }
  SharedRace(const SharedRace&) = delete;
  SharedRace& operator=(const SharedRace&) = delete;
  ~SharedRace() { ::munmap(race_, sizeof(Race)); }

  Race* operator->() const { return race_; }

 private:
  Race* race_;
};

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

/// One of `writers`: says that it is ready, waits, and marks its share.
void take_part(const SharedRace& race, const Scope& scope, const Ids& ids, unsigned writer, unsigned writers,
               bool batches) {
  race->ready.fetch_add(1);
  while (!race->go.load()) std::this_thread::yield();
  ask(scope, {.mark = true, .batches = batches}, ids, ids.size() * writer / writers,
      ids.size() * (writer + 1) / writers);
  std::int64_t last = race->last_end.load();
  const std::int64_t end = now_ns();
  while (last < end && !race->last_end.compare_exchange_weak(last, end)) {
  }
}

/// Lets them go once all are ready; returns when that was.
std::int64_t start(const SharedRace& race, unsigned writers) {
  while (race->ready.load() != writers) {
    if (::waitpid(-1, nullptr, WNOHANG) > 0) throw std::runtime_error("a writer died");
    std::this_thread::yield();
  }
  const std::int64_t began = now_ns();
  race->go.store(true);
  return began;
}

/// The shared memory is in a tmpfs where there is one: on disk every process pays the file system for the first touch
/// of each page, and again after it was written back.
class Directories {
 public:
  explicit Directories(const Settings& settings) : data_(settings.store_dir) {
    if (settings.has_tmpfs()) live_.emplace(settings.tmpfs_dir);
  }

  Store open() const {
    Options options{.retention = kRetention, .expected_ids = 4 * kIds};
    if (live_) options.live_dir = live_->path();
    return Store::open(data_.path() / "store", options);
  }

 private:
  ScratchDir data_;
  std::optional<ScratchDir> live_;
};

double seconds_of_threads(const Settings& settings, const Ids& ids, unsigned writers, bool batches) {
  const Directories directories(settings);
  const Store store = directories.open();
  const Scope scope = store.scope("bench");
  const SharedRace race;
  std::vector<std::thread> threads;
  for (unsigned writer = 0; writer < writers; ++writer) {
    threads.emplace_back([&, writer] { take_part(race, scope, ids, writer, writers, batches); });
  }
  const std::int64_t began = start(race, writers);
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(race->last_end.load() - began) / 1e9;
}

/// Its exit code. Nothing of it goes on in the parent's code, which owns the directories.
int work_of_child(const Directories& directories, const SharedRace& race, const Ids& ids, unsigned writer,
                  unsigned writers, bool batches) {
  try {
    const Store store = directories.open();
    take_part(race, store.scope("bench"), ids, writer, writers, batches);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "a writer has failed: {}\n", error.what());
    return 1;
  }
}

double seconds_of_processes(const Settings& settings, const Ids& ids, unsigned writers, bool batches) {
  const Directories directories(settings);
  const SharedRace race;
  std::vector<pid_t> children;
  for (unsigned writer = 0; writer < writers; ++writer) {
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
      ::_exit(work_of_child(directories, race, ids, writer, writers, batches));
    }
    children.push_back(child);
  }
  const std::int64_t began = start(race, writers);
  for (const pid_t child : children) {
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) throw std::runtime_error("a writer died");
  }
  return static_cast<double>(race->last_end.load() - began) / 1e9;
}

void run(benchmark::State& state, const Settings& settings, unsigned writers, bool processes, bool batches) {
  const Ids ids(std::uint64_t{3} << 40, ids_of(settings));
  const auto seconds_of = [&](unsigned count) {
    return processes ? seconds_of_processes(settings, ids, count, batches)
                     : seconds_of_threads(settings, ids, count, batches);
  };
  for (auto _ : state) {
    const double one = seconds_of(1);
    const double all = seconds_of(writers);
    state.SetIterationTime(all);
    state.counters["marks_per_s"] = static_cast<double>(ids.size()) / all;
    state.counters["of_one"] = one / all;
  }
}

std::string writers_name(const Settings& settings, unsigned writers, bool processes, bool batches) {
  return fmt::format("writers/mark/{}/{}:{}/ids:{}x36B/ack:host/{}",
                     batches ? fmt::format("batches:{}", kBatch) : "one_by_one", processes ? "processes" : "threads",
                     writers, ids_of(settings), name_of(settings.has_tmpfs() ? Live::tmpfs : Live::disk));
}

}  // namespace

void register_writers(const Settings& settings) {
  for (const bool processes : {false, true}) {
    for (const bool batches : {false, true}) {
      for (const unsigned writers : {2U, 4U, 8U}) {
        add_row(writers_name(settings, writers, processes, batches), kRepetitions,
                [=](benchmark::State& state) { run(state, settings, writers, processes, batches); });
      }
    }
  }
}

}  // namespace oncelog::bench
