#include "output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <oncelog/error.h>

namespace oncelog::tool {
namespace {

constexpr std::size_t kRunsPerCall = 1024;  // What Linux takes (IOV_MAX).

void wait_until_writable(int descriptor) {
  pollfd event = {descriptor, POLLOUT, 0};
  ::poll(&event, 1, -1);
}

}  // namespace

Output::Output(int descriptor, std::string name) : descriptor_(descriptor), owned_(false), name_(std::move(name)) {}

Output::Output(const std::filesystem::path& file)
    : descriptor_(::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)),
      owned_(true),
      name_(file.string()) {
  if (descriptor_ < 0) {
    throw Error(ErrorCode::io, "cannot open '" + name_ + "' for appending: " + std::strerror(errno), file);
  }
}

Output::~Output() {
  if (owned_) ::close(descriptor_);
}

void Output::add(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!runs_.empty() && runs_.back().data() + runs_.back().size() == bytes.data()) {
    runs_.back() = {runs_.back().data(), runs_.back().size() + bytes.size()};
  } else {
    runs_.push_back(bytes);
  }
}

void Output::flush() {
  std::span<std::string_view> left = runs_;
  while (!left.empty()) {
    std::size_t written = write_some(left);
    while (!left.empty() && written >= left.front().size()) {
      written -= left.front().size();
      left = left.subspan(1);
    }
    if (written != 0) left.front().remove_prefix(written);
  }
  runs_.clear();
}

void Output::sync() {
  if (::fdatasync(descriptor_) == 0 || errno == EINVAL || errno == EROFS) return;
  throw Error(ErrorCode::io, "cannot write " + name_ + " to disk: " + std::strerror(errno));
}

std::size_t Output::write_some(std::span<const std::string_view> runs) {
  std::array<iovec, kRunsPerCall> vectors;
  const std::size_t count = std::min(runs.size(), vectors.size());
  for (std::size_t i = 0; i != count; ++i) {
    vectors[i] = {const_cast<char*>(runs[i].data()), runs[i].size()};
  }
  const ssize_t written = ::writev(descriptor_, vectors.data(), static_cast<int>(count));
  if (written >= 0) return static_cast<std::size_t>(written);
  const int error = errno;
  if (error == EPIPE) throw ClosedOutput{};
  if (error == EAGAIN) {
    wait_until_writable(descriptor_);
  } else if (error != EINTR) {
    throw Error(error == ENOSPC || error == EDQUOT ? ErrorCode::full : ErrorCode::io,
                "cannot write to " + name_ + ": " + std::strerror(error));
  }
  return 0;
}

Output standard_output() {
  return Output(STDOUT_FILENO, "standard output");
}

}  // namespace oncelog::tool
