/// Redis over a Unix socket: SET id "" NX EX, one connection for each caller, batches as pipelines of 256. Two peers,
/// by what the append-only file waits for: appendfsync everysec, the default, which its documentation advises; and
/// always, where each mark waits for the disk.
///
/// - appendonly yes and save "": snapshots beside the file would only cost time.
/// - A Unix socket, which the page on latency advises where client and server share a machine.
/// - All else is Redis' default, the rewriting of the append-only file included.
/// - Expiry is by name here (UNLINK), the cheapest that a caller can do; EX would do it by itself, later.
///
/// redis.io/docs: management/persistence, manual/pipelining, optimization/latency, commands/set

#include <fmt/format.h>
#include <hiredis.h>
#include <signal.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "peer.h"
#include "process.h"

namespace oncelog::bench {
namespace {

constexpr const char* kRetentionSeconds = "6912000";

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;

Context connect_to(const std::filesystem::path& socket) {
  Context context(redisConnectUnix(socket.c_str()));
  if (!context) throw std::bad_alloc();
  return context;
}

class RedisSession final : public Session {
 public:
  explicit RedisSession(const std::filesystem::path& socket) : context_(connect_to(socket)) {
    if (context_->err != 0) throw std::runtime_error(fmt::format("redis: {}", context_->errstr));
  }

  bool check(std::string_view id) override { return check({&id, 1}) == 1; }
  std::size_t check(std::span<const std::string_view> ids) override {
    for (const std::string_view id : ids) send({"EXISTS", id});
    std::size_t known = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) known += receive()->integer == 1;
    return known;
  }
  bool mark(std::string_view id) override { return mark({&id, 1}) == 1; }
  std::size_t mark(std::span<const std::string_view> ids) override {
    for (const std::string_view id : ids) send({"SET", id, "", "NX", "EX", kRetentionSeconds});
    std::size_t fresh = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) fresh += receive()->type == REDIS_REPLY_STATUS;
    return fresh;
  }
  void remove(std::span<const std::string_view> ids) override {
    for (const std::string_view id : ids) send({"UNLINK", id});
    for (std::size_t i = 0; i < ids.size(); ++i) receive();
  }

 private:
  void send(std::initializer_list<std::string_view> words) {
    arguments_.clear();
    lengths_.clear();
    for (const std::string_view word : words) {
      arguments_.push_back(word.data());
      lengths_.push_back(word.size());
    }
    if (redisAppendCommandArgv(context_.get(), static_cast<int>(arguments_.size()), arguments_.data(),
                               lengths_.data()) != REDIS_OK) {
      fail();
    }
  }
  Reply receive() {
    void* reply = nullptr;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) fail();
    Reply got(static_cast<redisReply*>(reply));
    if (got->type == REDIS_REPLY_ERROR) throw std::runtime_error(fmt::format("redis: {}", got->str));
    return got;
  }
  [[noreturn]] void fail() { throw std::runtime_error(fmt::format("redis: {}", context_->errstr)); }

  Context context_;
  std::vector<const char*> arguments_;
  std::vector<std::size_t> lengths_;
};

std::filesystem::path server_program() {
  return find_program("redis-server");
}

class Redis final : public Peer {
 public:
  explicit Redis(Sync sync) : sync_(sync) {}

  std::string version() const override {
    // Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 ...
    const std::string line = first_line_of(server_program().string() + " --version");
    const std::size_t begin = line.find("v=");
    return begin == std::string::npos ? line : line.substr(begin + 2, line.find(' ', begin) - begin - 2);
  }
  bool can_sync_each() const override { return sync_ == Sync::each; }
  bool served() const override { return true; }

  void open(const std::filesystem::path& directory, std::size_t ids) override {
    std::filesystem::create_directories(directory);
    attach(directory, ids);
    server_.start({server_program(), "--port", "0", "--unixsocket", socket_, "--dir", directory, "--save", "",
                   "--appendonly", "yes", "--appendfsync", sync_ == Sync::each ? "always" : "everysec"},
                  "", directory / "log");
    wait_until_ready();
  }
  void attach(const std::filesystem::path& directory, std::size_t) override { socket_ = directory / "socket"; }
  std::unique_ptr<Session> session(Sync) override { return std::make_unique<RedisSession>(socket_); }
  void close() override { server_.end(SIGTERM); }
  void kill() override { server_.end(SIGKILL); }
  std::uint64_t memory_bytes() const override { return server_.memory_bytes(); }

 private:
  /// Until it answers, and not with LOADING.
  void wait_until_ready() {
    while (true) {
      server_.expect_alive();
      const Context context = connect_to(socket_);
      if (context->err == 0) {
        const Reply reply(static_cast<redisReply*>(redisCommand(context.get(), "PING")));
        if (reply && reply->type == REDIS_REPLY_STATUS) return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  }

  Sync sync_;
  std::filesystem::path socket_;
  Server server_;
};

}  // namespace

bool have_redis_server() {
  return !server_program().empty();
}

std::unique_ptr<Peer> make_redis(Sync sync) {
  return std::make_unique<Redis>(sync);
}

}  // namespace oncelog::bench
