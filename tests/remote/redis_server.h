#pragma once

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "process.h"
#include "remote/redis/connection.h"
#include "support.h"

namespace oncelog::testing {

/// A Redis server of the test's own, in a directory of its own. It ends with the object, or when the test dies. It is
/// what ONCELOG_REDIS_SERVER names, such as a Valkey that was built somewhere, or else redis-server or valkey-server.
class RedisServer {
 public:
  enum class On { socket, loopback };

  static bool available() { return !program().empty(); }

  /// With `settings` as on its command line, after appendonly yes and save "". It has a socket in either case; on
  /// loopback it takes free ports as well, and its address is there. Its files are under $TMPDIR, or under `parent`.
  explicit RedisServer(std::vector<std::string> settings = {}, On on = On::socket,
                       const std::filesystem::path& parent = {});

  /// With more settings, for this once.
  void start(const std::vector<std::string>& more = {});
  void kill() { server_.end(SIGKILL); }
  void stop() { server_.end(SIGTERM); }

  std::filesystem::path directory() const { return directory_.path(); }
  std::filesystem::path socket() const { return directory_ / "socket"; }
  std::uint16_t port() const { return port_; }
  internal::remote::Endpoint endpoint() const;
  std::string address(std::string_view prefix, std::string_view more = {}) const;

  /// Its answer to a command; throws for an error.
  internal::remote::Reply ask(std::initializer_list<std::string_view> words) const;
  /// The answer's text, or its integer.
  std::string text(std::initializer_list<std::string_view> words) const;
  std::string info(std::string_view field) const;
  bool knows_waitaof() const;

 private:
  static std::filesystem::path program();
  void wait_until_ready();

  TempDir directory_;
  std::vector<std::string> settings_;
  std::uint16_t port_ = 0;  // 0: on a socket.
  std::uint16_t bus_port_ = 0;
  bench::Server server_;
};

/// Why this program's tests cannot run here; null when they can.
inline const char* missing_server() {
  return RedisServer::available() ? nullptr : "redis-server is not installed";
}

/// A Redis Cluster of three masters on loopback.
class RedisCluster {
 public:
  /// With `settings` for each of them.
  explicit RedisCluster(std::vector<std::string> settings = {});

  RedisServer& at(std::size_t i) { return *servers_.at(i); }
  std::size_t size() const { return servers_.size(); }
  std::string address(std::string_view prefix) const;
  /// The server that has a slot, by its place.
  std::size_t owner_of(std::uint16_t slot) const;
  std::string id_of(std::size_t i) const;
  /// Adds a replica of a master, which has all that it has. It is the last one then.
  void add_replica_of(std::size_t i);

 private:
  void start_one();
  /// Has all get to know the last one.
  void introduce_last();

  std::vector<std::string> settings_;
  std::vector<std::unique_ptr<RedisServer>> servers_;
};

internal::remote::Deadline soon();

}  // namespace oncelog::testing
