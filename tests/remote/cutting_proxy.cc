#include "cutting_proxy.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace oncelog::testing {
namespace {

sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path) throw std::runtime_error("a socket's path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.native().size() + 1);
  return address;
}

const sockaddr* plain(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

int made_socket() {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
  return fd;
}

/// Returns false when the other side is gone.
bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

CuttingProxy::CuttingProxy(const std::filesystem::path& listen, std::filesystem::path target)
    : listener_(made_socket()), wake_(::eventfd(0, EFD_CLOEXEC)), target_(std::move(target)) {
  const sockaddr_un address = address_of(listen);
  if (wake_ < 0 || ::bind(listener_, plain(address), sizeof address) != 0 || ::listen(listener_, 128) != 0) {
    throw std::system_error(errno, std::generic_category(), listen.string());
  }
  thread_ = std::thread([this] { run(); });
}

CuttingProxy::~CuttingProxy() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  ::eventfd_write(wake_, 1);
  thread_.join();
  end_all();
  ::close(listener_);
  ::close(wake_);
}

void CuttingProxy::cut_after(Direction direction, std::uint64_t bytes) {
  const std::lock_guard guard(mutex_);
  cuts_ = true;
  cut_ = false;
  direction_ = direction;
  left_ = bytes;
}

bool CuttingProxy::take_cut() {
  const std::lock_guard guard(mutex_);
  cuts_ = false;
  return std::exchange(cut_, false);
}

void CuttingProxy::lead_to(std::filesystem::path target) {
  const std::lock_guard guard(mutex_);
  target_ = std::move(target);
}

void CuttingProxy::hold(bool holds) {
  {
    const std::lock_guard guard(mutex_);
    holds_ = holds;
  }
  ::eventfd_write(wake_, 1);
}

void CuttingProxy::delay(std::chrono::milliseconds by) {
  const std::lock_guard guard(mutex_);
  delay_ = by;
}

void CuttingProxy::end_all() {
  for (const Pair& pair : pairs_) {
    ::close(pair.client);
    ::close(pair.server);
  }
  pairs_.clear();
}

void CuttingProxy::take_client() {
  const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = made_socket();
  std::filesystem::path target;
  {
    const std::lock_guard guard(mutex_);
    target = target_;
  }
  const sockaddr_un address = address_of(target);
  if (::connect(server, plain(address), sizeof address) != 0) {
    ::close(server);
    ::close(client);  // As a server that is not there.
    return;
  }
  pairs_.push_back({client, server});
}

bool CuttingProxy::pass(const Pair& pair, Direction direction) {
  const bool to_server = direction == Direction::to_server;
  std::array<char, 4096> buffer;
  const ssize_t got = ::recv(to_server ? pair.client : pair.server, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got <= 0) return false;
  std::size_t count = static_cast<std::size_t>(got);
  bool cut = false;
  std::chrono::milliseconds delay{0};
  {
    const std::lock_guard guard(mutex_);
    delay = delay_;
    if (cuts_ && direction_ == direction) {
      // One that is to be cut after 0 bytes is cut when there is a first.
      cut = count > left_;
      count = std::min(count, static_cast<std::size_t>(left_));
      left_ -= count;
    }
  }
  std::this_thread::sleep_for(delay);
  const bool alive = send_all(to_server ? pair.server : pair.client, {buffer.data(), count});
  if (!cut) return alive;
  end_all();
  const std::lock_guard guard(mutex_);
  cuts_ = false;
  cut_ = true;
  return true;  // There are no pairs any more.
}

void CuttingProxy::run() {
  bool holds = false;
  while (true) {
    std::vector<pollfd> waited{{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    const std::size_t polled = holds ? 0 : pairs_.size();
    for (const Pair& pair : std::span(pairs_).first(polled)) {
      waited.push_back({pair.client, POLLIN, 0});
      waited.push_back({pair.server, POLLIN, 0});
    }
    if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return;
    {
      const std::lock_guard guard(mutex_);
      if (ending_) return;
      holds = holds_;
    }
    eventfd_t woken = 0;
    if (waited[0].revents != 0) ::eventfd_read(wake_, &woken);
    for (std::size_t i = polled; i > 0 && i <= pairs_.size(); --i) {
      const Pair pair = pairs_[i - 1];
      bool alive = true;
      if (waited[2 * i].revents != 0) alive = pass(pair, Direction::to_server);
      if (alive && !pairs_.empty() && waited[2 * i + 1].revents != 0) alive = pass(pair, Direction::to_client);
      if (alive) continue;
      ::close(pair.client);
      ::close(pair.server);
      pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(i) - 1);
    }
    if (waited[1].revents != 0) take_client();
  }
}

}  // namespace oncelog::testing
