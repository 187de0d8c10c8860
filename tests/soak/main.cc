// A soak: processes mark, check, claim, transact and forget on one store of its own, are killed and started again,
// while what they were told is compared with what they were told before. Run by tools/soak, which says how it is
// called.

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "../shared.h"
#include "board.h"
#include "chart.h"
#include "worker.h"

namespace {

using namespace oncelog::soak;
using namespace std::chrono_literals;

// No process of this soak is without a step for so long, unless it hangs.
constexpr std::int64_t kHangUs = 60'000'000;
// What must never be passed, with room for what is measured: nothing may grow without end.
constexpr std::uint64_t kMostMemory = std::uint64_t{256} << 20;
constexpr std::uint64_t kMostDescriptors = 100;
constexpr std::uint64_t kMostSharedMemory = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostData = 3 * kCapBytes;

volatile sig_atomic_t interrupted = 0;

/// One moment of the soak.
struct Sample {
  double seconds = 0;
  double marks = 0;   // A second.
  double checks = 0;  // A second.
  std::array<double, 3> mark_us{};
  std::array<double, 3> check_us{};
  std::uint64_t data_bytes = 0;
  std::uint64_t shared_bytes = 0;
  std::uint64_t memory_bytes = 0;  // Of the largest worker, what it shares left out.
  std::uint64_t descriptors = 0;   // Of the worker that has most.
  std::uint64_t kills = 0;
};

/// A directory that goes with the object.
class Directory {
 public:
  explicit Directory(const std::filesystem::path& parent) {
    std::string pattern = (parent / "oncelog-soak-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a directory " + pattern);
    path_ = pattern;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code failed;
    std::filesystem::remove_all(path_, failed);
    if (failed) fmt::print(stderr, "cannot remove {}: {}\n", path_.string(), failed.message());
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::uint64_t memory_of(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::strtoull(line.c_str() + 8, nullptr, 10) << 10;
  }
  return 0;
}

std::uint64_t descriptors_of(pid_t process) {
  std::error_code gone;
  std::uint64_t count = 0;
  for (std::filesystem::directory_iterator at(fmt::format("/proc/{}/fd", process), gone), end; !gone && at != end;
       at.increment(gone)) {
    ++count;
  }
  return count;
}

/// Bytes on disk of data.mdb, and of all that is shared memory.
void measure_files(const std::filesystem::path& store, Sample& sample) {
  std::error_code gone;
  for (std::filesystem::directory_iterator at(store, gone), end; !gone && at != end; at.increment(gone)) {
    struct stat status {};
    if (::stat(at->path().c_str(), &status) != 0) continue;
    const std::string name = at->path().filename().string();
    if (name == "data.mdb") sample.data_bytes = static_cast<std::uint64_t>(status.st_size);
    const bool shared = name.starts_with("live") || name.starts_with("filter-") || name.starts_with("index-");
    if (shared) sample.shared_bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
}

std::array<double, 3> percentiles(const Durations::Counts& now, const Durations::Counts& before) {
  std::uint64_t all = 0;
  for (unsigned i = 0; i < Durations::kClasses; ++i) all += now[i] - before[i];
  std::array<double, 3> out{};
  if (all == 0) return out;
  constexpr std::array<double, 3> kShares{0.5, 0.99, 0.999};
  std::uint64_t seen = 0;
  std::size_t next = 0;
  for (unsigned i = 0; i < Durations::kClasses && next < kShares.size(); ++i) {
    seen += now[i] - before[i];
    while (next < kShares.size() && static_cast<double>(seen) >= kShares[next] * static_cast<double>(all)) {
      out[next++] = Durations::end_of(i) / 1000;
    }
  }
  return out;
}

struct Totals {
  std::uint64_t marks = 0;
  std::uint64_t fresh = 0;
  std::uint64_t checks = 0;
  std::uint64_t claims = 0;
  std::uint64_t transactions = 0;
  std::uint64_t forgotten = 0;
  Durations::Counts mark_ns{};
  Durations::Counts check_ns{};

  explicit Totals(const Board& board) {
    for (const Tally& tally : board.tallies) {
      marks += tally.marks.load(std::memory_order_relaxed);
      fresh += tally.fresh.load(std::memory_order_relaxed);
      checks += tally.checks.load(std::memory_order_relaxed);
      claims += tally.claims.load(std::memory_order_relaxed);
      transactions += tally.transactions.load(std::memory_order_relaxed);
      forgotten += tally.forgotten.load(std::memory_order_relaxed);
      tally.mark_ns.add_to(mark_ns);
      tally.check_ns.add_to(check_ns);
    }
  }
};

/// Starts the workers, kills them, takes samples, until the time has passed or a promise was broken.
class Soak {
 public:
  Soak(const Plan& plan, Board& board, std::uint64_t seed) : plan_(plan), board_(board), random_(seed), last_(board) {}

  void run(std::chrono::microseconds length) {
    const std::int64_t end_us = plan_.began_us + length.count();
    for (unsigned worker = 0; worker < Board::kWorkers; ++worker) start(worker);
    std::int64_t next_kill_us = boot_us() + 2'000'000;
    std::int64_t next_sample_us = boot_us() + kSampleUs;
    while (boot_us() < end_us && !board_.stop.load() && interrupted == 0) {
      ::usleep(20'000);  // The rate at which this process looks up; nothing is waited for.
      const std::int64_t now_us = boot_us();
      // Twenty quiet seconds, in which the retention ends a record's life, then ten in which the cap does.
      const bool full_speed = (now_us - plan_.began_us) / 10'000'000 % 3 == 2;
      if (full_speed != board_.full_speed.load()) {
        board_.quiet_since_us.store(now_us);
        board_.full_speed.store(full_speed);
      }
      look_after_workers(now_us);
      if (now_us >= next_kill_us) {
        // Now and then all at once: then the next one finds nobody alive.
        const bool all = random_() % 10 == 0;
        const auto victim = static_cast<unsigned>(random_() % Board::kWorkers);
        for (unsigned worker = 0; worker < Board::kWorkers; ++worker) {
          if (all || worker == victim) kill_and_start(worker);
        }
        next_kill_us = now_us + 200'000 + static_cast<std::int64_t>(random_() % 2'000'000);
      }
      if (now_us >= next_sample_us) {
        sample(now_us);
        next_sample_us = now_us + kSampleUs;
      }
    }
    board_.stop.store(true);
    for (unsigned worker = 0; worker < Board::kWorkers; ++worker) end(worker);
  }

  const std::vector<Sample>& samples() const { return samples_; }
  std::uint64_t kills() const { return kills_; }

  /// Runs `body` in a child, which dies with this process; returns its id.
  template <typename Body>
  static pid_t spawn(Body body) {
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("cannot fork");
    if (child != 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    const int code = body();
    std::fflush(nullptr);
    ::_exit(code);
  }

  /// Waits for a child for as long as a process may stand still, then kills it; whether it has ended with 0.
  static bool wait(pid_t child, Board& board, const std::string& what) {
    const std::int64_t deadline_us = boot_us() + kHangUs;
    int status = 0;
    for (;;) {
      const pid_t ended = ::waitpid(child, &status, WNOHANG);
      if (ended == child) break;
      if (ended < 0 && errno != EINTR) return false;
      if (boot_us() > deadline_us) {
        board.fail(what + " does not end");
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        return false;
      }
      ::usleep(2'000);
    }
    if (WIFSIGNALED(status)) board.fail(fmt::format("{} died of signal {}", what, WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  static constexpr std::int64_t kSampleUs = 1'000'000;

  struct Running {
    pid_t process = 0;
    std::uint32_t life = 0;
    std::uint64_t steps = 0;
    std::int64_t moved_us = 0;
  };

  std::uint64_t steps_of(unsigned worker) const {
    std::uint64_t steps = 0;
    for (unsigned t = 0; t < Board::kThreads; ++t) {
      steps += board_.tallies[worker * Board::kThreads + t].steps.load(std::memory_order_relaxed);
    }
    return steps;
  }

  void start(unsigned worker) {
    Running& running = running_[worker];
    running.life = next_life_++;
    running.moved_us = boot_us();
    const std::uint64_t seed = random_();
    running.process = spawn([&, life = running.life] { return work(plan_, board_, worker, life, seed); });
  }

  void kill_and_start(unsigned worker) {
    Running& running = running_[worker];
    ::kill(running.process, SIGKILL);
    int status = 0;
    while (::waitpid(running.process, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFSIGNALED(status) && !board_.stop.load()) board_.fail("a worker ended by itself");
    for (unsigned t = 0; t < Board::kThreads; ++t) {
      board_.dead[(running.life * Board::kThreads + t) % board_.dead.size()].store(1);
    }
    ++kills_;
    start(worker);
  }

  void end(unsigned worker) { wait(running_[worker].process, board_, fmt::format("worker {}", worker)); }

  void look_after_workers(std::int64_t now_us) {
    for (unsigned worker = 0; worker < Board::kWorkers; ++worker) {
      Running& running = running_[worker];
      if (const std::uint64_t steps = steps_of(worker); steps != running.steps) {
        running.steps = steps;
        running.moved_us = now_us;
      } else if (now_us - running.moved_us > kHangUs) {
        board_.fail(fmt::format("worker {} has not moved for {} s", worker, kHangUs / 1'000'000));
      }
    }
  }

  void sample(std::int64_t now_us) {
    const Totals totals(board_);
    Sample sample;
    sample.seconds = static_cast<double>(now_us - plan_.began_us) / 1e6;
    const double passed = sample.seconds - (samples_.empty() ? 0 : samples_.back().seconds);
    sample.marks = static_cast<double>(totals.marks - last_.marks) / passed;
    sample.checks = static_cast<double>(totals.checks - last_.checks) / passed;
    sample.mark_us = percentiles(totals.mark_ns, last_.mark_ns);
    sample.check_us = percentiles(totals.check_ns, last_.check_ns);
    measure_files(plan_.store, sample);
    for (const Running& running : running_) {
      sample.memory_bytes = std::max(sample.memory_bytes, memory_of(running.process));
      sample.descriptors = std::max(sample.descriptors, descriptors_of(running.process));
    }
    sample.kills = kills_;
    last_ = totals;
    samples_.push_back(sample);
    const auto bounded = [&](std::uint64_t value, std::uint64_t most, const char* what) {
      if (value > most) board_.fail(fmt::format("{}: {}, more than {}", what, value, most));
    };
    bounded(sample.memory_bytes, kMostMemory, "resident memory of a worker");
    bounded(sample.descriptors, kMostDescriptors, "descriptors of a worker");
    bounded(sample.shared_bytes, kMostSharedMemory, "shared memory");
    bounded(sample.data_bytes, kMostData, "data.mdb");
  }

  const Plan& plan_;
  Board& board_;
  std::mt19937_64 random_;
  std::array<Running, Board::kWorkers> running_;
  std::uint32_t next_life_ = 1;
  std::uint64_t kills_ = 0;
  std::vector<Sample> samples_;
  Totals last_;
};

std::string draw(const std::string& title, const std::vector<Sample>& samples) {
  std::vector<double> seconds;
  for (const Sample& sample : samples) seconds.push_back(sample.seconds);
  const auto line = [&](const std::string& name, auto value) {
    Line out{name, {}};
    for (const Sample& sample : samples) out.values.push_back(static_cast<double>(value(sample)));
    return out;
  };
  constexpr std::array<const char*, 3> kNames{"p50", "p99", "p99.9"};
  std::vector<Line> mark_lines;
  std::vector<Line> check_lines;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    mark_lines.push_back(line(kNames[i], [&](const Sample& sample) { return sample.mark_us[i]; }));
    check_lines.push_back(line(kNames[i], [&](const Sample& sample) { return sample.check_us[i]; }));
  }
  const std::vector<Chart> charts{
      {"operations a second",
       "",
       false,
       {line("marks", [](const Sample& s) { return s.marks; }),
        line("checks", [](const Sample& s) { return s.checks; })}},
      {"latency of a mark", " us", true, mark_lines},
      {"latency of a check", " us", true, check_lines},
      {"files",
       "B",
       false,
       {line("data.mdb", [](const Sample& s) { return s.data_bytes; }),
        line("shared memory", [](const Sample& s) { return s.shared_bytes; })},
       {{"max_bytes", static_cast<double>(kCapBytes)}}},
      {"the largest process's own memory",
       "B",
       false,
       {line("resident", [](const Sample& s) { return s.memory_bytes; })}},
      {"descriptors, and kills so far",
       "",
       true,
       {line("descriptors", [](const Sample& s) { return s.descriptors; }),
        line("SIGKILLs", [](const Sample& s) { return s.kills; })}},
  };
  return to_svg(title, seconds, charts);
}

std::optional<std::uint64_t> read_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty() ? std::optional(number)
                                                                                   : std::nullopt;
}

constexpr const char* kUsage =
    "usage: soak MINUTES [--seed N] [--svg FILE] [--directory PARENT] [--live-directory PARENT]\n";

struct Arguments {
  std::uint64_t minutes = 0;
  std::uint64_t seed = std::random_device{}();
  std::string svg;
  std::filesystem::path parent = std::filesystem::temp_directory_path();
  std::filesystem::path live_parent;
};

/// Nothing for wrong usage.
std::optional<Arguments> read_arguments(int count, char** arguments) {
  Arguments read;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    const char* const value = i + 1 < count ? arguments[i + 1] : nullptr;
    const auto number = value == nullptr ? std::nullopt : read_number(value);
    if (argument.starts_with("--") && value != nullptr) ++i;
    if (argument == "--seed" && number) {
      read.seed = *number;
    } else if (argument == "--svg" && value != nullptr) {
      read.svg = value;
    } else if (argument == "--directory" && value != nullptr) {
      read.parent = value;
    } else if (argument == "--live-directory" && value != nullptr) {
      read.live_parent = value;
    } else if (const auto minutes = read_number(argument);
               minutes && read.minutes == 0 && *minutes >= 1 && *minutes <= 7 * 24 * 60) {
      read.minutes = *minutes;
    } else {
      return std::nullopt;
    }
  }
  if (read.minutes == 0) return std::nullopt;
  return read;
}

double seconds_of(const Soak& soak) {
  return soak.samples().empty() ? 0 : soak.samples().back().seconds;
}

std::string summary_of(const Soak& soak, const Totals& totals, std::uint64_t seed) {
  std::uint64_t data_bytes = 0;
  std::uint64_t memory_bytes = 0;
  for (const Sample& sample : soak.samples()) {
    data_bytes = std::max(data_bytes, sample.data_bytes);
    memory_bytes = std::max(memory_bytes, sample.memory_bytes);
  }
  const Durations::Counts none{};
  const auto mark_us = percentiles(totals.mark_ns, none);
  const auto check_us = percentiles(totals.check_ns, none);
  return fmt::format(
      "{:.1f} minutes, seed {}: {:.1f} M marks ({:.1f} M fresh), {:.1f} M checks, {} claims, {} transactions, {} "
      "forgotten, {} kills; mark p50 {:.2f} p99 {:.1f} p99.9 {:.1f} us, check p50 {:.2f} p99 {:.1f} p99.9 {:.1f} us; "
      "data.mdb at most {} MiB with a cap of {}; a process at most {} MiB",
      seconds_of(soak) / 60, seed, static_cast<double>(totals.marks) / 1e6, static_cast<double>(totals.fresh) / 1e6,
      static_cast<double>(totals.checks) / 1e6, totals.claims, totals.transactions, totals.forgotten, soak.kills(),
      mark_us[0], mark_us[1], mark_us[2], check_us[0], check_us[1], check_us[2], data_bytes >> 20, kCapBytes >> 20,
      memory_bytes >> 20);
}

bool write_chart(const std::string& svg, const Soak& soak, const Totals& totals) {
  std::ofstream file(svg, std::ios::binary);
  file << draw(fmt::format("oncelog soak: {:.1f} minutes, {:.0f} M marks, {} kills", seconds_of(soak) / 60,
                           static_cast<double>(totals.marks) / 1e6, soak.kills()),
               soak.samples());
  if (!file.flush()) fmt::print(stderr, "cannot write {}\n", svg);
  return file.good();
}

int run(const Arguments& arguments) {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);

  const Directory directory(arguments.parent);
  const std::optional<Directory> live =
      arguments.live_parent.empty() ? std::nullopt : std::optional<Directory>(std::in_place, arguments.live_parent);
  Plan plan;
  plan.store = directory.path() / "store";
  plan.live_dir = live ? live->path() : plan.store;
  plan.began_us = boot_us();
  plan.began_wall_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  const oncelog::testing::Shared<Board> board;
  Soak soak(plan, *board, arguments.seed);
  soak.run(std::chrono::minutes(arguments.minutes));
  if (board->failures.load() == 0) {
    Soak::wait(Soak::spawn([&] { return check_at_the_end(plan, *board); }), *board, "the check at the end");
  }

  const Totals totals(*board);
  const std::string summary = summary_of(soak, totals, arguments.seed);
  if (!arguments.svg.empty() && !write_chart(arguments.svg, soak, totals)) return 1;
  if (board->failures.load() != 0) {
    fmt::print("soak: BROKEN: {}\nsoak: {}\n", board->failure.data(), summary);
    return 1;
  }
  fmt::print("soak: {}\n", summary);
  return interrupted == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const auto read = read_arguments(count, arguments);
    if (read) return run(*read);
    fmt::print(stderr, "{}", kUsage);
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "soak: {}\n", error.what());
    return 1;
  }
}
