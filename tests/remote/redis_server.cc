#include "redis_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <utility>

#include "remote/backend.h"
#include "remote/redis/keys.h"

namespace oncelog::testing {

using namespace std::chrono_literals;
using internal::remote::Command;
using internal::remote::Connection;
using internal::remote::ConnectionLost;
using internal::remote::elements_of;
using internal::remote::Endpoint;
using internal::remote::integer_of;
using internal::remote::is_error;
using internal::remote::is_nil;
using internal::remote::Reply;
using internal::remote::text_of;

namespace {

/// Holds a port until a server is about to take it.
class FreePort {
 public:
  FreePort() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const plain = reinterpret_cast<sockaddr*>(&address);
    if (fd_ < 0 || ::bind(fd_, plain, size) != 0 || ::getsockname(fd_, plain, &size) != 0) {
      throw std::runtime_error("no free port");
    }
    port_ = ntohs(address.sin_port);
  }
  FreePort(const FreePort&) = delete;
  FreePort& operator=(const FreePort&) = delete;
  ~FreePort() { ::close(fd_); }

  std::uint16_t port() const { return port_; }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

}  // namespace

internal::remote::Deadline soon() {
  return std::chrono::steady_clock::now() + 10s;
}

std::filesystem::path RedisServer::program() {
  if (const char* const named = std::getenv("ONCELOG_REDIS_SERVER")) return named;
  const std::filesystem::path redis = bench::find_program("redis-server");
  return redis.empty() ? bench::find_program("valkey-server") : redis;
}

RedisServer::RedisServer(std::vector<std::string> settings, On on, const std::filesystem::path& parent)
    : directory_(parent), settings_(std::move(settings)) {
  if (on == On::loopback) {
    const FreePort port;
    const FreePort bus;
    port_ = port.port();
    bus_port_ = bus.port();
  }
  start();
}

void RedisServer::start(const std::vector<std::string>& more) {
  std::vector<std::string> command{program(), "--dir", directory_.path(), "--save", "", "--appendonly", "yes",
                                   // Started by root in a directory that only root may enter.
                                   "--protected-mode", "no"};
  command.insert(command.end(), {"--unixsocket", socket(), "--bind", "127.0.0.1", "--port", std::to_string(port_)});
  if (port_ != 0) command.insert(command.end(), {"--cluster-port", std::to_string(bus_port_)});
  command.insert(command.end(), settings_.begin(), settings_.end());
  command.insert(command.end(), more.begin(), more.end());
  server_.start(command, "", directory_ / "log");
  wait_until_ready();
}

/// Until it answers, and not with LOADING.
void RedisServer::wait_until_ready() {
  while (true) {
    server_.expect_alive();
    try {
      Connection connection(endpoint(), soon());
      const Command ping{"PING"};
      const Command* const one = &ping;
      connection.send({&one, 1}, soon());
      const Reply reply = connection.receive(soon());
      // One that wants a password, or a replica without its master, is ready as well.
      if (!is_error(*reply, "LOADING")) return;
    } catch (const ConnectionLost&) {
      // It does not listen yet, and says to nobody when it does.
    }
    std::this_thread::sleep_for(1ms);
  }
}

Endpoint RedisServer::endpoint() const {
  Endpoint endpoint;
  if (port_ == 0) {
    endpoint.socket = socket();
  } else {
    endpoint.host = {"127.0.0.1", port_};
  }
  return endpoint;
}

std::string RedisServer::address(std::string_view prefix, std::string_view more) const {
  if (port_ == 0) return fmt::format("redis+unix://{}?prefix={}{}", socket().string(), prefix, more);
  return fmt::format("redis://127.0.0.1:{}?prefix={}{}", port_, prefix, more);
}

Reply RedisServer::ask(std::initializer_list<std::string_view> words) const {
  Connection connection(endpoint(), soon());
  return connection.ask(words, soon());
}

std::string RedisServer::text(std::initializer_list<std::string_view> words) const {
  const Reply reply = ask(words);
  if (reply->type == REDIS_REPLY_INTEGER) return std::to_string(reply->integer);
  return is_nil(*reply) ? std::string("(nil)") : std::string(text_of(*reply));
}

std::string RedisServer::info(std::string_view field) const {
  return std::string(internal::remote::info_field(text({"INFO"}), field));
}

bool RedisServer::knows_waitaof() const {
  const Reply reply = ask({"COMMAND", "INFO", "WAITAOF"});
  return !is_nil(*elements_of(*reply, 1)[0]);
}

void RedisCluster::start_one() {
  std::vector<std::string> settings{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
                                    "--repl-diskless-sync-delay", "0",
                                    // A server that has gone keeps the others' slots as they are.
                                    "--cluster-require-full-coverage", "no"};
  settings.insert(settings.end(), settings_.begin(), settings_.end());
  servers_.push_back(std::make_unique<RedisServer>(std::move(settings), RedisServer::On::loopback));
}

void RedisCluster::introduce_last() {
  // The bus's port is not the usual one, so that MEET must say it.
  const std::string nodes = servers_.back()->text({"CLUSTER", "NODES"});
  const std::size_t at_sign = nodes.find('@');
  const std::string bus = nodes.substr(at_sign + 1, nodes.find_first_of(", ", at_sign) - at_sign - 1);
  at(0).ask({"CLUSTER", "MEET", "127.0.0.1", std::to_string(servers_.back()->port()), bus});
}

RedisCluster::RedisCluster(std::vector<std::string> settings) : settings_(std::move(settings)) {
  const std::array<std::pair<const char*, const char*>, 3> ranges{
      {{"0", "5460"}, {"5461", "10922"}, {"10923", "16383"}}};
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    start_one();
    at(i).ask({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
    at(i).ask({"CLUSTER", "ADDSLOTSRANGE", ranges[i].first, ranges[i].second});
    if (i > 0) introduce_last();
  }
  for (std::size_t i = 0; i < size(); ++i) {
    const auto knows_all = [&] {
      const std::string info = at(i).text({"CLUSTER", "INFO"});
      return info.find("cluster_state:ok") != std::string::npos &&
             info.find("cluster_slots_ok:16384") != std::string::npos &&
             info.find("cluster_known_nodes:3") != std::string::npos;
    };
    while (!knows_all()) std::this_thread::sleep_for(10ms);
  }
}

void RedisCluster::add_replica_of(std::size_t i) {
  start_one();
  introduce_last();
  const RedisServer& replica = *servers_.back();
  const std::string id = id_of(i);
  while (replica.text({"CLUSTER", "NODES"}).find(id) == std::string::npos) std::this_thread::sleep_for(10ms);
  replica.ask({"CLUSTER", "REPLICATE", id});
  while (replica.info("master_link_status") != "up" ||
         replica.text({"CLUSTER", "INFO"}).find("cluster_slots_ok:16384") == std::string::npos) {
    std::this_thread::sleep_for(10ms);
  }
}

std::string RedisCluster::address(std::string_view prefix) const {
  return fmt::format("redis+cluster://127.0.0.1:{},127.0.0.1:{}?prefix={}", servers_[0]->port(), servers_[1]->port(),
                     prefix);
}

std::size_t RedisCluster::owner_of(std::uint16_t slot) const {
  const Reply reply = servers_[0]->ask({"CLUSTER", "SLOTS"});
  for (const redisReply* range : elements_of(*reply)) {
    const auto parts = elements_of(*range);
    if (integer_of(*parts[0]) > slot || integer_of(*parts[1]) < slot) continue;
    const std::int64_t port = integer_of(*elements_of(*parts[2])[1]);
    for (std::size_t i = 0; i < size(); ++i) {
      if (servers_[i]->port() == port) return i;
    }
  }
  throw std::runtime_error("nobody has the slot");
}

std::string RedisCluster::id_of(std::size_t i) const {
  return servers_[i]->text({"CLUSTER", "MYID"});
}

}  // namespace oncelog::testing
