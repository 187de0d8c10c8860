#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace oncelog::bench {

/// Anonymous and shared memory of this process, without pages of files.
std::uint64_t memory_of_self();

/// Where a program is in the path, or in one of the other folders; empty where it is in none.
std::filesystem::path find_program(const std::string& name, const std::vector<std::filesystem::path>& others = {});

/// Runs a program to its end, as `user` where this is root and one is named. Its output goes to `log`. Throws when it
/// fails.
void run_program(const std::vector<std::string>& command, const std::string& user, const std::filesystem::path& log);

/// The first line that a program prints.
std::string first_line_of(const std::string& command);

/// A server of the harness's: it ends with this object, or when this process dies.
class Server {
 public:
  Server() = default;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  /// Starts it, as `user` where this is root and one is named. Its output is appended to `log`.
  void start(const std::vector<std::string>& command, const std::string& user, const std::filesystem::path& log);
  bool started() const { return pid_ > 0; }
  /// Throws, with the end of its log, when it has ended by itself.
  void expect_alive();
  /// Ends it with a signal, and waits until it and all that it has started are gone.
  void end(int signal);
  /// Sends it and all that it has started a signal.
  void signal(int number) const;

  /// Memory of it and its children, what they share counted once, without pages of files.
  std::uint64_t memory_bytes() const;

 private:
  std::vector<pid_t> family() const;

  pid_t pid_ = -1;
  std::filesystem::path log_;
};

}  // namespace oncelog::bench
