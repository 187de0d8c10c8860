#pragma once

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/remote.h>

#include "peers/process.h"
#include "remote/backend.h"
#include "support.h"

namespace oncelog::testing {

/// A PostgreSQL server of the test's own, on a Unix socket in a directory of its own. It ends with the object, or when
/// the test dies.
class PostgresqlServer {
 public:
  static constexpr const char* kUser = "postgres";

  /// Whether there are the programs, and a user to run them as.
  static bool available();

  explicit PostgresqlServer(std::vector<std::string> settings = {});
  /// One that follows another one, and may be read from.
  struct StandbyOf {
    const PostgresqlServer& primary;
  };
  explicit PostgresqlServer(StandbyOf primary);

  void start();
  void kill() { server_.end(SIGKILL); }
  void stop() { server_.end(SIGINT); }
  /// To the server and all of its processes.
  void signal(int number) const { server_.signal(number); }

  std::filesystem::path socket_directory() const { return directory_.path(); }
  std::filesystem::path data_directory() const { return directory_ / "data"; }
  /// Of a store in that schema.
  std::string address(std::string_view schema) const;
  /// Runs statements as the server's superuser.
  void run(const std::string& sql) const;
  /// The first cell of their answer; empty when there is none.
  std::string ask(const std::string& sql) const;

 private:
  static std::filesystem::path program(const std::string& name);
  void give_directory_to_user() const;

  TempDir directory_;
  std::vector<std::string> settings_;
  bench::Server server_;
};

/// Why this program's tests cannot run here; null when they can.
inline const char* missing_server() {
  return PostgresqlServer::available() ? nullptr : "PostgreSQL's server is not installed";
}

/// The store at an address of a server's, without the engine before it, which flushes and asks again.
std::unique_ptr<internal::remote::Backend> open_backend(const std::string& address,
                                                        const oncelog::remote::Options& options = {});

/// Makes a store whose clock stands still until it is told to move, in the place of oncelog.clock().
void make_with_test_clock(const PostgresqlServer& server, const std::string& schema,
                          std::chrono::milliseconds retention);
void advance_test_clock(const PostgresqlServer& server, const std::string& schema, std::chrono::microseconds by);
Time test_clock(const PostgresqlServer& server, const std::string& schema);

}  // namespace oncelog::testing
