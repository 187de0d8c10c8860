#include "once.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <exception>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <oncelog/error.h>
#include <oncelog/once.h>

#include "output.h"
#include "printable.h"
#include "stop_signal.h"

namespace oncelog::tool {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// How long a signal may go unnoticed while another call's end is waited for.
constexpr milliseconds kPatience{100};

/// What is kept of a run.
struct Kept {
  int code = 0;
  std::string output;

  std::string pack() const { return fmt::format("{}\n{}", code, output); }
  static Kept unpack(std::string_view result) {
    Kept kept;
    const std::size_t line = result.find('\n');
    const char* const end = result.data() + std::min(line, result.size());
    const auto [at, error] = std::from_chars(result.data(), end, kept.code);
    if (line == std::string_view::npos || error != std::errc{} || at != end || kept.code < 0 || kept.code > 255) {
      throw Error(ErrorCode::invalid_argument,
                  "the id was marked by something else than once: its result is not of its form");
    }
    kept.output = result.substr(line + 1);
    return kept;
  }
};
/// So much of the output is kept: with the code and its newline it is a result's most.
constexpr std::size_t kMostOutput = kMaxResultBytes - 4;

/// A run whose result is not kept, so that the next call runs again.
class NotKept : public std::exception {
 public:
  explicit NotKept(int code) : code_(code) {}
  int code() const { return code_; }
  const char* what() const noexcept override { return "the command has failed"; }

 private:
  int code_;
};

/// A pipe for the command's standard output, whose other end a thread reads: it passes everything on as it comes, and
/// keeps the beginning.
class Tee {
 public:
  Tee() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw Error(ErrorCode::io, std::string("cannot make a pipe: ") + std::strerror(errno));
    }
    from_ = ends[0];
    into_ = ends[1];
    reader_ = std::thread([this] { read(); });
  }
  Tee(const Tee&) = delete;
  Tee& operator=(const Tee&) = delete;
  ~Tee() { finish(); }

  int descriptor() const { return into_; }
  /// Returns what was kept, once all who write have ended.
  std::string finish() {
    if (into_ >= 0) ::close(std::exchange(into_, -1));
    if (reader_.joinable()) reader_.join();
    if (from_ >= 0) ::close(std::exchange(from_, -1));
    if (left_out_ != 0) {
      fmt::print(stderr, "oncelog: of the command's output the last {} bytes are not kept\n", left_out_);
    }
    left_out_ = 0;
    return std::move(kept_);
  }

 private:
  void read() {
    char bytes[1 << 16];
    for (;;) {
      const ssize_t count = ::read(from_, bytes, sizeof bytes);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;
      const std::string_view got(bytes, static_cast<std::size_t>(count));
      const std::size_t fits = std::min(got.size(), kMostOutput - kept_.size());
      kept_.append(got.substr(0, fits));
      left_out_ += got.size() - fits;
      pass(got);
    }
  }
  /// Where nobody reads this one's output any more, the command's is kept all the same.
  void pass(std::string_view rest) {
    while (!rest.empty() && !closed_) {
      const ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      closed_ = written < 0;
      if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  int from_ = -1;
  int into_ = -1;
  std::thread reader_;
  // The thread's, until it is joined.
  std::string kept_;
  std::size_t left_out_ = 0;
  bool closed_ = false;
};

std::string run(const OnceArguments& arguments, const Signals& signals) {
  Tee tee;
  const pid_t child = start_child(arguments.command, signals, tee.descriptor());
  std::optional<int> code;
  while (!code) {
    const siginfo_t info = signals.next(kForEver);
    if (info.si_signo == SIGCHLD) {
      code = exit_code_of(child);
    } else {
      pass_on(info, child);
    }
  }
  const Kept kept{*code, tee.finish()};
  if (kept.code != 0 && !arguments.keep_failure) throw NotKept(kept.code);
  return kept.pack();
}

int answer(const OnceResult& result, const OnceArguments& arguments) {
  if (result.verdict == Verdict::in_progress || (result.ran && result.verdict != Verdict::fresh)) {
    const std::string id = printable(arguments.id);
    fmt::print(stderr, "oncelog: {}\n",
               result.ran ? fmt::format("the run of '{}' took longer than it may; another one has taken the id", id)
                          : fmt::format("another process runs '{}'", id));
    return kNotGot;
  }
  Kept kept = Kept::unpack(result.result);
  if (!result.ran) standard_output().write(kept.output);
  return kept.code;
}

}  // namespace

int run_once(const OnceArguments& arguments) {
  const Store store = open_as_this_user(arguments.store);
  const Scope scope = store.scope(arguments.store.scope);
  const Signals signals;
  const Clock::time_point limit = Clock::now() + std::min<milliseconds>(arguments.wait, kForEver);
  OnceOptions options{.lease = arguments.lease, .max_runtime = arguments.max_runtime};
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(limit - Clock::now());
    options.patience = std::clamp(left, milliseconds{0}, kPatience);
    try {
      const OnceResult result = scope.once(arguments.id, options, [&] { return run(arguments, signals); });
      const bool waits = result.verdict == Verdict::in_progress && !result.ran && Clock::now() < limit;
      if (!waits) return answer(result, arguments);
    } catch (const NotKept& failed) {
      return failed.code();
    }
    if (const siginfo_t info = signals.next(milliseconds{0}); info.si_signo != 0 && info.si_signo != SIGCHLD) {
      return end_by_signal(info.si_signo);
    }
  }
}

}  // namespace oncelog::tool
