#include "base/process_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "base/descriptors.h"
#include "base/error.h"

namespace oncelog::internal {
namespace {

struct Status {
  char state;
  long threads;
  std::uint64_t start_ticks;
};

/// What /proc/PID/stat says (proc(5)); nothing where it cannot be read, which does not mean that there is no process.
std::optional<Status> read_status(std::int32_t pid) {
  const std::string path = fmt::format("/proc/{}/stat", pid);
  const Descriptor file = open_descriptor(path, O_RDONLY);
  if (!file) return std::nullopt;
  std::array<char, 1024> text;
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return std::nullopt;
  // The second field is the program's name in parentheses, which may hold anything, parentheses too.
  std::string_view rest(text.data(), static_cast<std::size_t>(size));
  const std::size_t name_end = rest.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(name_end + 1);
  constexpr int kStateField = 3;
  constexpr int kThreadsField = 20;
  constexpr int kStartField = 22;
  Status status{};
  // By hand: a stream would read numbers as the application's locale writes them.
  const auto number = [](std::string_view field, auto& value) {
    const char* const end = field.data() + field.size();
    const auto [at, error] = std::from_chars(field.data(), end, value);
    return error == std::errc{} && at == end;
  };
  for (int field = kStateField; field <= kStartField; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    const std::string_view word = rest.substr(0, rest.find_first_of(" \n"));
    if (word.empty()) return std::nullopt;
    if (field == kStateField) status.state = word.front();
    if (field == kThreadsField && !number(word, status.threads)) return std::nullopt;
    if (field == kStartField && !number(word, status.start_ticks)) return std::nullopt;
    rest.remove_prefix(word.size());
  }
  return status;
}

/// Whether there is no process of that number; works where /proc is hidden, too.
bool nobody(std::int32_t pid) {
  return ::kill(pid, 0) != 0 && errno == ESRCH;
}

}  // namespace

ProcessIdentity ProcessIdentity::self() {
  const std::int32_t pid = ::getpid();
  const auto status = read_status(pid);
  if (!status) throw error_at(ErrorCode::io, "/proc/self/stat", "this process's start time cannot be read from it");
  return {pid, status->start_ticks};
}

bool ProcessIdentity::alive() const {
  if (nobody(pid)) return false;
  const auto status = read_status(pid);
  if (!status) return !nobody(pid);  // It has ended since, or /proc does not show it to everyone.
  if (status->start_ticks != start_ticks) return false;
  // A zombie, which has ended and was not waited for yet. Its first thread alone may also have ended before the others.
  const bool ended = status->state == 'Z' || status->state == 'X';
  return !(ended && status->threads <= 1);
}

}  // namespace oncelog::internal
