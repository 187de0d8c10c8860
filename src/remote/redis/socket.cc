#include "remote/redis/socket.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "remote/backend.h"

namespace oncelog::internal::remote {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kReadBytes = std::size_t{64} << 10;

[[noreturn]] void lose(const char* what) {
  throw ConnectionLost(fmt::format("{}: {}", what, std::strerror(errno)));
}

int made_socket(int family) {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) lose("socket");
  return fd;
}

}  // namespace

int milliseconds_until(Deadline deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

short Socket::wait(short events, Deadline deadline) const {
  while (true) {
    pollfd waited{fd_, events, 0};
    const int ready = ::poll(&waited, 1, milliseconds_until(deadline));
    if (ready > 0) return waited.revents;
    if (ready == 0) throw ConnectionLost("no answer within the timeout");
    if (errno != EINTR) lose("poll");
  }
}

void Socket::connect(const void* address, std::size_t size, Deadline deadline) {
  if (::connect(fd_, static_cast<const sockaddr*>(address), static_cast<socklen_t>(size)) == 0) return;
  // EAGAIN: the queue of a Unix socket is full, and no event says when it is not.
  if (errno != EINPROGRESS) lose("cannot connect");
  wait(POLLOUT, deadline);
  socklen_t length = sizeof errno;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &errno, &length) != 0 || errno != 0) lose("cannot connect");
}

Socket Socket::to(const std::string& path, Deadline deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw ConnectionLost("a socket's path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Socket socket(made_socket(AF_UNIX));
  socket.connect(&address, sizeof address, deadline);
  return socket;
}

Socket Socket::to(const Address::Host& host, Deadline deadline) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.name.c_str(), std::to_string(host.port).c_str(), &wanted, &found);
  if (error != 0) throw ConnectionLost(fmt::format("no host {}: {}", host.name, ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, ::freeaddrinfo);
  std::optional<ConnectionLost> last;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    try {
      Socket socket(made_socket(one->ai_family));
      socket.connect(one->ai_addr, one->ai_addrlen, deadline);
      const int on = 1;
      // Without these a call is slower, or waits for its deadline: never wrong.
      ::setsockopt(socket.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ::setsockopt(socket.fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
      return socket;
    } catch (const ConnectionLost& lost) {
      last = lost;  // The next address may do.
    }
  }
  throw last ? *last : ConnectionLost(fmt::format("no address for {}", host.name));
}

bool Socket::take(std::string& received) {
  std::array<char, kReadBytes> buffer;
  const ssize_t count = ::recv(fd_, buffer.data(), buffer.size(), 0);
  if (count > 0) received.append(buffer.data(), static_cast<std::size_t>(count));
  if (count > 0) return true;
  if (count == 0) throw ConnectionLost("the server has closed the connection");
  if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) lose("recv");
  return false;
}

void Socket::send(std::string_view bytes, std::string& received, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) lose("send");
    // A server that waits for us to read its answers might read no more of ours.
    if ((wait(POLLOUT | POLLIN, deadline) & POLLIN) != 0) take(received);
  }
}

void Socket::receive(std::string& received, Deadline deadline) {
  while (!take(received)) wait(POLLIN, deadline);
}

bool Socket::is_stale() const {
  pollfd idle{fd_, POLLIN, 0};
  return ::poll(&idle, 1, 0) != 0;
}

}  // namespace oncelog::internal::remote
