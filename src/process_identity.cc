#include "process_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>

#include <oncelog/error.h>

namespace oncelog::internal {
namespace {

struct Status {
  char state;
  long threads;
  std::uint64_t start_ticks;
};

/// What /proc/PID/stat says (proc(5)); `gone` tells a process that is not there from a file that cannot be read.
std::optional<Status> read_status(std::int32_t pid, bool& gone) {
  gone = false;
  const std::string path = fmt::format("/proc/{}/stat", pid);
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    gone = errno == ENOENT || errno == ESRCH;
    return std::nullopt;
  }
  std::array<char, 1024> text;
  const ssize_t size = ::read(file, text.data(), text.size());
  const int error_number = errno;
  ::close(file);
  if (size < 0) {
    gone = error_number == ESRCH;
    return std::nullopt;
  }
  // The second field is the program's name in parentheses, which may hold anything, parentheses too.
  const std::string_view all(text.data(), static_cast<std::size_t>(size));
  const std::size_t name_end = all.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  std::istringstream fields(std::string(all.substr(name_end + 1)));
  Status status{};
  std::string skipped;
  constexpr int kThreadsField = 20;
  constexpr int kStartField = 22;
  fields >> status.state;
  for (int field = 4; field < kThreadsField; ++field) fields >> skipped;
  fields >> status.threads;
  for (int field = kThreadsField + 1; field < kStartField; ++field) fields >> skipped;
  fields >> status.start_ticks;
  if (!fields) return std::nullopt;
  return status;
}

}  // namespace

ProcessIdentity ProcessIdentity::self() {
  bool gone = false;
  const std::int32_t pid = ::getpid();
  const auto status = read_status(pid, gone);
  if (!status)
    throw Error(ErrorCode::io, "cannot read this process's start time from /proc/self/stat", "/proc/self/stat");
  return {pid, status->start_ticks};
}

bool ProcessIdentity::alive() const {
  if (::kill(pid, 0) != 0 && errno == ESRCH) return false;
  bool gone = false;
  const auto status = read_status(pid, gone);
  if (!status) return !gone;
  if (status->start_ticks != start_ticks) return false;
  // A process that nobody has waited for yet. Its first thread alone may also have ended before the others.
  const bool ended = status->state == 'Z' || status->state == 'X';
  return !(ended && status->threads <= 1);
}

}  // namespace oncelog::internal
