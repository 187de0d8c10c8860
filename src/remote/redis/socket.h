#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "remote/address.h"

namespace oncelog::internal::remote {

using Deadline = std::chrono::steady_clock::time_point;

/// Rounded up; 0 when it has passed, and at most an hour.
int milliseconds_until(Deadline deadline);

/// A connected stream socket that never waits past a deadline, and never raises SIGPIPE. One thread. All functions
/// throw ConnectionLost.
class Socket {
 public:
  static Socket to(const Address::Host& host, Deadline deadline);
  static Socket to(const std::string& path, Deadline deadline);

  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&&) = delete;
  ~Socket();

  /// Sends all of it, and appends what comes in meanwhile to `received`.
  void send(std::string_view bytes, std::string& received, Deadline deadline);
  /// Waits for something to come in, and appends it.
  void receive(std::string& received, Deadline deadline);
  /// Whether the other side has closed it, or sent what nobody has asked for. Waits for nothing.
  bool is_stale() const;

 private:
  explicit Socket(int fd) : fd_(fd) {}
  void connect(const void* address, std::size_t size, Deadline deadline);
  /// Waits for one of the events, and returns those that are there.
  short wait(short events, Deadline deadline) const;
  /// Returns false when nothing has come in.
  bool take(std::string& received);

  int fd_;
};

}  // namespace oncelog::internal::remote
