#include <atomic>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "answered.h"
#include "cutting_proxy.h"
#include "redis_asking.h"
#include "redis_engines.h"
#include "redis_server.h"
#include "remote/redis/redis_backend.h"
#include "small_disk.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::random_uuid;
using internal::remote::Answer;
using internal::remote::Attempt;
using internal::remote::Backend;
using internal::remote::ConnectionLost;
using internal::remote::open_redis;
using internal::remote::parse_redis_address;
using internal::remote::Terms;

namespace {

using Direction = CuttingProxy::Direction;
const Terms kMinute{1min, OrphanPolicy::free_after_lease};

std::unique_ptr<Backend> open_at(const std::string& address, const remote::Options& options = {}) {
  return open_redis(parse_redis_address(address), options);
}

/// What the sentence of a lost connection says.
std::string loss_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConnectionLost& lost) {
    return lost.what();
  }
  return "nothing was lost";
}

/// A store behind a proxy, with one connection, and the same store without.
struct Proxied {
  RedisServer server;
  TempDir directory;
  CuttingProxy proxy{directory / "socket", server.socket()};
  std::unique_ptr<Backend> direct = open_at(server.address("p"));
  std::unique_ptr<Backend> store =
      open_at("redis+unix://" + (directory / "socket").string() + "?prefix=p", {.connections = 1});

  /// Cuts the exchange of `call` after each of its bytes in turn. `call` gets an id of its own each time.
  void cut_everywhere(const std::function<void(const std::string& id)>& call) {
    call("warm-up");
    for (const Direction direction : {Direction::to_server, Direction::to_client}) {
      std::uint64_t bytes = 0;
      bool cut = true;
      for (; cut; ++bytes) {
        CAPTURE(bytes);
        find(*store, "orders", "x");  // There is a connection, and nothing on its way.
        proxy.cut_after(direction, bytes);
        call((direction == Direction::to_server ? "s" : "c") + std::to_string(bytes));
        cut = proxy.take_cut();
      }
      CHECK(bytes > 3);
    }
  }
};

/// What a store reports, whatever thread it comes from.
struct Events {
  std::mutex mutex;
  std::vector<std::string> sentences;

  StoreEventHook hook() {
    return [this](const StoreEvent& event) {
      const std::lock_guard guard(mutex);
      sentences.push_back(event.sentence);
    };
  }
  std::size_t count() {
    const std::lock_guard guard(mutex);
    return sentences.size();
  }
};

/// A master and its replica, and an address that leads to one of them.
struct Replicated {
  RedisServer master{{"--repl-diskless-sync-delay", "0"}, RedisServer::On::loopback};
  RedisServer replica{{"--replicaof", "127.0.0.1 " + std::to_string(master.port())}, RedisServer::On::loopback};
  TempDir directory;
  CuttingProxy proxy{directory / "socket", master.socket()};
  Events events;

  Replicated() {
    wait_until([&] { return replica.info("master_link_status") == "up"; });
    wait_until_equal();
  }
  void wait_until_equal() {
    wait_until([&] { return replica.info("master_repl_offset") == master.info("master_repl_offset"); });
  }
  std::unique_ptr<Backend> open() {
    return open_at("redis+unix://" + (directory / "socket").string() + "?prefix=p", {.on_event = events.hook()});
  }
  void fail_over() {
    master.kill();
    replica.ask({"REPLICAOF", "NO", "ONE"});
    proxy.lead_to(replica.socket());
  }
};

}  // namespace

TEST_CASE("a mark is fresh whatever byte its connection was cut after, and stands once") {
  Proxied proxied;
  proxied.cut_everywhere([&](const std::string& id) {
    const Attempt attempt = random_uuid();
    const Answer answer = answered([&] { return mark(*proxied.store, "orders", id, {.correlation = "c"}, attempt); });
    REQUIRE(answer.marked == Verdict::fresh);
    REQUIRE(mark(*proxied.direct, "orders", id).marked == Marked{Verdict::duplicate, answer.marked.lsn});
  });
}

TEST_CASE("a claim is the caller's whatever byte its connection was cut after") {
  Proxied proxied;
  proxied.cut_everywhere([&](const std::string& id) {
    const Attempt attempt = random_uuid();
    const Answer answer = answered([&] { return claim(*proxied.store, "orders", id, kMinute, {}, attempt); });
    REQUIRE(answer.marked == Verdict::fresh);
    REQUIRE(mark(*proxied.direct, "orders", id).marked == Verdict::in_progress);
    REQUIRE(complete(*proxied.direct, "orders", id, answer.token).value != 0);
  });
}

TEST_CASE("a claim is completed once whatever byte its connection was cut after") {
  Proxied proxied;
  proxied.cut_everywhere([&](const std::string& id) {
    const std::uint64_t token = claim(*proxied.direct, "orders", id, kMinute).token;
    const Attempt attempt = random_uuid();
    const Lsn lsn = answered([&] { return complete(*proxied.store, "orders", id, token, {}, attempt); });
    REQUIRE(lsn.value != 0);
    REQUIRE(find(*proxied.direct, "orders", id)->lsn == lsn);
  });
}

TEST_CASE("forgetting and releasing say that they did whatever byte their connection was cut after") {
  Proxied proxied;
  proxied.cut_everywhere([&](const std::string& id) {
    mark(*proxied.direct, "orders", id);
    const Attempt attempt = random_uuid();
    REQUIRE(answered([&] { return forget(*proxied.store, "orders", id, attempt); }));
    REQUIRE_FALSE(find(*proxied.direct, "orders", id));
  });
  proxied.cut_everywhere([&](const std::string& id) {
    claim(*proxied.direct, "claims", id, kMinute);
    const Attempt attempt = random_uuid();
    REQUIRE(answered([&] { return release(*proxied.store, "claims", id, attempt); }));
    REQUIRE_FALSE(proxied.direct->holder("claims", id));
  });
}

TEST_CASE("a server that was killed and started again knows all that it had written, and its tokens go on") {
  // With everysec it writes later what comes while a sync is under way.
  RedisServer server({"--appendfsync", "always"});
  Events events;
  const auto store = open_at(server.address("p"), {.on_event = events.hook()});
  const Lsn lsn = mark(*store, "orders", "a").marked.lsn;
  const std::uint64_t token = claim(*store, "orders", "b", kMinute).token;
  for (int i = 0; i < 2; ++i) {
    server.kill();
    CHECK_THROWS_AS(mark(*store, "orders", "c"), ConnectionLost);
    server.start();
    CHECK(answered([&] { return mark(*store, "orders", "a"); }).marked == Marked{Verdict::duplicate, lsn});
  }
  CHECK(mark(*store, "orders", "b").marked == Verdict::in_progress);
  CHECK(claim(*store, "orders", "c", kMinute).token > token);
  CHECK(complete(*store, "orders", "b", token).value != 0);
  CHECK(store->known_since() <
        Time{std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())} - 23h);
  CHECK(events.count() == 0);
}

TEST_CASE("a client that was killed with its connections is nothing to the others") {
  RedisServer server;
  const auto store = open_at(server.address("p"));
  mark(*store, "orders", "a");
  server.ask({"CLIENT", "KILL", "TYPE", "normal"});
  CHECK(answered([&] { return mark(*store, "orders", "a"); }).marked == Verdict::duplicate);
}

TEST_CASE("a server that has forgotten is noticed: known_since rises, an event says so, tokens never go back") {
  RedisServer server({"--appendfsync", "always"});
  TempDir old;
  Events events;
  const auto store = open_at(server.address("p"), {.on_event = events.hook()});
  const auto other = open_at(server.address("p"), {.on_event = events.hook()});
  mark(*other, "orders", "kept");
  claim(*store, "orders", "x", kMinute);
  server.stop();
  std::filesystem::copy(server.directory() / "appendonlydir", old / "aof", std::filesystem::copy_options::recursive);
  server.start();
  answered([&] { return mark(*store, "orders", "lost"); });
  const std::uint64_t token = claim(*store, "orders", "y", kMinute).token;
  const Time before = find(*store, "orders", "lost")->processed_at;

  server.kill();
  std::filesystem::remove_all(server.directory() / "appendonlydir");
  std::filesystem::copy(old / "aof", server.directory() / "appendonlydir", std::filesystem::copy_options::recursive);
  server.start();
  // A client that has lost nothing goes on, and does not hide from the other one that it has.
  CHECK(answered([&] { return mark(*other, "orders", "kept"); }).marked == Verdict::duplicate);
  CHECK(events.count() == 0);
  CHECK(mark(*other, "orders", "more").marked == Verdict::fresh);
  const std::uint64_t others = claim(*other, "orders", "z", kMinute).token;
  CHECK(others > token);

  const Answer late = answered([&] { return mark(*store, "orders", "late", {.sent_at = before}); });
  CHECK(late.marked == Verdict::too_old);
  REQUIRE(events.count() == 1);
  CHECK(events.sentences[0].find("has forgotten") != std::string::npos);
  CHECK(store->known_since() > before);
  CHECK(other->known_since() == store->known_since());
  CHECK(claim(*store, "orders", "w", kMinute).token > others);
  CHECK(mark(*store, "orders", "kept").marked == Verdict::duplicate);
  CHECK(mark(*store, "orders", "lost").marked == Verdict::fresh);
  CHECK(events.count() == 1);
}

TEST_CASE("FLUSHALL is noticed, and what was enrolled is enrolled again") {
  RedisServer server;
  Events events;
  const auto store = open_at(server.address("p"), {.on_event = events.hook()});
  mark(*store, "orders", "a");
  const std::uint64_t token = claim(*store, "orders", "b", kMinute).token;
  const std::uint64_t generation = store->pulse("orders").generation;
  server.ask({"FLUSHALL"});
  CHECK(store->pulse("orders").generation > generation);
  CHECK(mark(*store, "orders", "a").marked == Verdict::fresh);
  CHECK(events.count() == 1);
  CHECK(claim(*store, "orders", "b", kMinute).token > token);
  CHECK(store->scopes() == std::vector<std::string>{"orders"});
}

TEST_CASE("a replica is refused, and a master that becomes one is asked again until there is a master") {
  Replicated servers;
  const std::string address = "redis+unix://" + servers.replica.socket().string() + "?prefix=p";
  CHECK(error_code_naming("replica", [&] { open_at(address); }) == ErrorCode::unsupported);
  servers.replica.ask({"REPLICAOF", "NO", "ONE"});
  const auto store = open_at(address);
  const std::uint64_t token = claim(*store, "orders", "b", kMinute).token;
  servers.replica.ask({"REPLICAOF", "127.0.0.1", std::to_string(servers.master.port())});
  CHECK(loss_of([&] { mark(*store, "orders", "c"); }) != "nothing was lost");
  wait_until([&] { return loss_of([&] { mark(*store, "orders", "c"); }).find("replica now") != std::string::npos; });
  servers.replica.ask({"REPLICAOF", "NO", "ONE"});
  CHECK(answered([&] { return mark(*store, "orders", "c"); }).marked == Verdict::fresh);
  CHECK(claim(*store, "orders", "d", kMinute).token > token);
}

TEST_CASE("a failover to a replica that was up to date loses nothing, and tokens grow") {
  Replicated servers;
  const auto store = servers.open();
  const Lsn lsn = mark(*store, "orders", "a").marked.lsn;
  const std::uint64_t token = claim(*store, "orders", "b", kMinute).token;
  servers.wait_until_equal();
  servers.fail_over();
  CHECK(answered([&] { return mark(*store, "orders", "a"); }).marked == Marked{Verdict::duplicate, lsn});
  CHECK(mark(*store, "orders", "b").marked == Verdict::in_progress);
  CHECK(claim(*store, "orders", "c", kMinute).token > token);
  CHECK(servers.events.count() == 0);
}

TEST_CASE("a failover to a replica that was behind is noticed, and tokens grow") {
  Replicated servers;
  const auto store = servers.open();
  mark(*store, "orders", "a");
  servers.wait_until_equal();
  servers.replica.ask({"REPLICAOF", "NO", "ONE"});
  mark(*store, "orders", "b");
  const Time last = find(*store, "orders", "b")->processed_at;
  const std::uint64_t token = claim(*store, "orders", "c", kMinute).token;
  servers.fail_over();
  CHECK(answered([&] { return mark(*store, "orders", "c", {.sent_at = last}); }).marked == Verdict::too_old);
  CHECK(servers.events.count() == 1);
  CHECK(store->known_since() > last);
  CHECK(claim(*store, "orders", "c", kMinute).token > token);
  CHECK(mark(*store, "orders", "a").marked == Verdict::duplicate);
}

TEST_CASE("a server whose policy drops keys is refused, whether or not maxmemory is set") {
  for (const char* policy : {"allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl", "volatile-random"}) {
    RedisServer server({"--maxmemory-policy", policy});
    CHECK(error_code_naming(policy, [&] { open_at(server.address("p")); }) == ErrorCode::unsupported);
    server.ask({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
    CHECK_NOTHROW(open_at(server.address("p")));
  }
}

TEST_CASE("a server whose persistence is too weak for what is asked is refused") {
  RedisServer server;
  const auto refused = [&](Ack ack, const char* naming) {
    return error_code_naming(naming, [&] { open_at(server.address("p"), {.ack = ack}); }) == ErrorCode::unsupported;
  };
  CHECK_NOTHROW(open_at(server.address("p")));
  if (!server.knows_waitaof()) {
    CHECK(refused(Ack::disk, "appendfsync always"));
    const auto store = open_at(server.address("p"));
    CHECK(mark(*store, "orders", "x", {}, random_uuid(), Ack::disk).marked == Verdict::fresh);
    server.kill();
    server.start();
    CHECK(answered([&] { return find(*store, "orders", "x"); }));
  }
  server.ask({"CONFIG", "SET", "appendfsync", "no"});
  CHECK(refused(Ack::host, "appendfsync is no"));
  server.ask({"CONFIG", "SET", "appendfsync", "always"});
  CHECK(mark(*open_at(server.address("p"), {.ack = Ack::disk}), "orders", "a", {}, random_uuid(), Ack::disk).marked ==
        Verdict::fresh);
  server.ask({"CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"});
  if (!server.knows_waitaof()) CHECK(refused(Ack::disk, "no-appendfsync-on-rewrite"));
  server.ask({"CONFIG", "SET", "appendonly", "no"});
  CHECK(refused(Ack::host, "appendonly is off"));
}

TEST_CASE("without CONFIG everysec is believed, and no more") {
  RedisServer server;
  server.ask({"ACL", "SETUSER", "app", "on", ">pass word", "~*", "+@all", "-config"});
  const std::string address = "redis+unix://app:pass%20word@" + server.socket().string() + "?prefix=p";
  CHECK_NOTHROW(open_at(address));
  if (server.knows_waitaof()) {
    CHECK_NOTHROW(open_at(address, {.ack = Ack::disk}));
  } else {
    CHECK(error_code_of([&] { open_at(address, {.ack = Ack::disk}); }) == ErrorCode::unsupported);
    const auto store = open_at(address);
    CHECK(error_code_of([&] { mark(*store, "orders", "a", {}, random_uuid(), Ack::disk); }) == ErrorCode::unsupported);
    CHECK_FALSE(find(*store, "orders", "a"));
    CHECK(error_code_naming("CONFIG", [&] { store->flush(); }) == ErrorCode::unsupported);
  }
}

TEST_CASE("a mark that waits for the disk survives the server's death, whatever its appendfsync") {
  RedisServer server;
  if (!server.knows_waitaof()) server.ask({"CONFIG", "SET", "appendfsync", "always"});
  const auto store = open_at(server.address("p"), {.ack = Ack::disk});
  for (int i = 0; i < 5; ++i) {
    const std::string id = std::to_string(i);
    const Lsn lsn = mark(*store, "orders", id, {}, random_uuid(), Ack::disk).marked.lsn;
    CHECK(mark(*store, "orders", id, {}, random_uuid(), Ack::disk).marked == Marked{Verdict::duplicate, lsn});
    server.kill();
    server.start();
    if (!server.knows_waitaof()) server.ask({"CONFIG", "SET", "appendfsync", "always"});
    CHECK(answered([&] { return find(*store, "orders", id); })->lsn == lsn);
  }
}

TEST_CASE("a mark that waits for a disk that does not answer is not known to stand, and is asked for again") {
  RedisServer server;
  if (!server.knows_waitaof()) {
    MESSAGE("skipped: the server does not know WAITAOF");
    return;
  }
  const auto store = open_at(server.address("p"), {.ack = Ack::disk, .timeout = 3s});
  mark(*store, "orders", "a", {}, random_uuid(), Ack::disk);
  // Nothing is synced.
  server.ask({"CONFIG", "SET", "appendfsync", "no"});
  const Attempt attempt = random_uuid();
  CHECK(loss_of([&] { mark(*store, "orders", "b", {}, attempt, Ack::disk); }) != "nothing was lost");
  server.ask({"CONFIG", "SET", "appendfsync", "everysec"});
  CHECK(answered([&] { return mark(*store, "orders", "b", {}, attempt, Ack::disk); }).marked == Verdict::fresh);
}

TEST_CASE("a wrong password is named, and in no sentence") {
  RedisServer server;
  server.ask({"CONFIG", "SET", "requirepass", "right"});
  CHECK(error_code_of([&] { open_at(server.address("p")); }) == ErrorCode::no_permission);
  const std::string wrong = "redis+unix://:wr0ng@" + server.socket().string() + "?prefix=p";
  CHECK(error_code_of([&] { open_at(wrong); }) == ErrorCode::no_permission);
  CHECK(error_text_of([&] { open_at(wrong); }).find("wr0ng") == std::string::npos);
  CHECK_NOTHROW(open_at("redis+unix://:right@" + server.socket().string() + "?prefix=p"));
}

TEST_CASE("the databases of a server are stores of their own") {
  RedisServer server;
  const auto first = open_at(server.address("p"));
  const auto second = open_at(server.address("p", "&database=3"));
  CHECK(mark(*first, "orders", "a").marked == Verdict::fresh);
  CHECK(mark(*second, "orders", "a").marked == Verdict::fresh);
  CHECK(error_code_of([&] { open_at(server.address("p", "&database=99")); }) == ErrorCode::io);
}

TEST_CASE("a server whose memory is full takes nothing, and says so; what it knows it still says") {
  RedisServer server;
  const auto store = open_at(server.address("p"));
  mark(*store, "orders", "a");
  server.ask({"CONFIG", "SET", "maxmemory", "1"});
  CHECK(error_code_of([&] { mark(*store, "orders", "b"); }) == ErrorCode::full);
  CHECK(error_code_of([&] { claim(*store, "orders", "b", kMinute); }) == ErrorCode::full);
  CHECK(mark(*store, "orders", "a").marked == Verdict::duplicate);
  server.ask({"CONFIG", "SET", "maxmemory", "0"});
  CHECK(mark(*store, "orders", "b").marked == Verdict::fresh);
}

TEST_CASE("a server that is busy with a script, its own or another's, is asked again") {
  RedisServer server({"--busy-reply-threshold", "1"});
  const auto store = open_at(server.address("p"));
  mark(*store, "orders", "a");
  std::thread busy([&] { CHECK_THROWS(server.ask({"EVAL", "while true do end", "0"})); });
  wait_until([&] { return loss_of([&] { find(*store, "orders", "a"); }).find("BUSY") != std::string::npos; });
  CHECK_THROWS_AS(mark(*store, "orders", "b"), ConnectionLost);
  server.ask({"SCRIPT", "KILL"});
  busy.join();
  CHECK(answered([&] { return mark(*store, "orders", "b"); }).marked == Verdict::fresh);
}

TEST_CASE("a server that is still loading its data is asked again") {
  RedisServer server;
  const auto store = open_at(server.address("p"));
  mark(*store, "orders", "a");
  server.ask({"EVAL", "for i = 1, 8000 do redis.call('SET', 'k' .. i, '') end", "0"});
  server.stop();
  bool loading = false;
  Answer answer;
  const auto ask = [&] {
    try {
      return mark(*store, "orders", "a");
    } catch (const ConnectionLost& lost) {
      loading = loading || std::string(lost.what()).find("the server is loading") != std::string::npos;
      throw;
    }
  };
  std::thread asking([&] { answer = answered(ask); });
  // It looks at its connections after each 1,024 commands that it has loaded.
  server.start({"--key-load-delay", "200"});
  asking.join();
  CHECK(loading);
  CHECK(answer.marked == Verdict::duplicate);
}

TEST_CASE("a server that is stopped answers within the timeout that there is no answer") {
  RedisServer server;
  const auto store = open_at(server.address("p"), {.timeout = 200ms});
  mark(*store, "orders", "a");
  const pid_t process = static_cast<pid_t>(std::stol(server.info("process_id")));
  ::kill(process, SIGSTOP);
  const Attempt attempt = random_uuid();
  CHECK(loss_of([&] { mark(*store, "orders", "b", {}, attempt); }).find("timeout") != std::string::npos);
  CHECK(loss_of([&] { mark(*store, "orders", "b", {}, attempt); }).find("timeout") != std::string::npos);
  ::kill(process, SIGCONT);
  CHECK(answered([&] { return mark(*store, "orders", "b", {}, attempt); }).marked == Verdict::fresh);
}

TEST_CASE("callers wait for a free connection, and not for longer than the timeout") {
  RedisServer server;
  const auto store = open_at(server.address("p"), {.timeout = 300ms, .connections = 1});
  mark(*store, "orders", "a");
  const pid_t process = static_cast<pid_t>(std::stol(server.info("process_id")));
  ::kill(process, SIGSTOP);
  std::vector<std::thread> threads;
  std::atomic<int> lost{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      if (!loss_of([&] { find(*store, "orders", "a"); }).starts_with("nothing")) ++lost;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(lost == 4);
  ::kill(process, SIGCONT);
  answered([&] { return find(*store, "orders", "a"); });
}

TEST_CASE("a server that cannot write its snapshots accepts nothing, and says why") {
  RedisServer server({"--dbfilename", "taken"});
  const auto store = open_at(server.address("p"));
  mark(*store, "orders", "a");
  std::filesystem::create_directory(server.directory() / "taken");  // No file can be renamed to that.
  server.ask({"CONFIG", "SET", "save", "3600 1"});
  server.ask({"BGSAVE"});
  wait_until([&] { return server.info("rdb_last_bgsave_status") == "err"; });
  CHECK(error_code_naming("disk", [&] { mark(*store, "orders", "b"); }) == ErrorCode::io);
  CHECK(find(*store, "orders", "a"));
  CHECK_FALSE(find(*store, "orders", "b"));
  server.ask({"CONFIG", "SET", "stop-writes-on-bgsave-error", "no"});
  CHECK(mark(*store, "orders", "b").marked == Verdict::fresh);
}

TEST_CASE("a server whose disk is full accepts nothing until there is room again") {
  const SmallDisk disk;
  if (!disk.mounted()) {
    MESSAGE("skipped: it takes the right to mount a file system");
    return;
  }
  {
    RedisServer server({"--dir", disk.path()});
    const auto store = open_at(server.address("p"));
    mark(*store, "orders", "a");
    { std::ofstream(disk / "ballast") << std::string(300'000, 'x'); }
    const std::string result(50'000, 'r');
    ErrorCode code{};
    for (int i = 0; i < 100 && code == ErrorCode{}; ++i) {
      try {
        mark(*store, "orders", std::to_string(i), {.result = result});
      } catch (const Error& error) {
        code = error.code();
      }
    }
    CHECK(code == ErrorCode::full);
    // A server that is to wait for its disk wants to write something for that.
    const ErrorCode flushed = error_code_of([&] { store->flush(); });
    CHECK(flushed == (server.knows_waitaof() ? ErrorCode::full : ErrorCode::io));
    CHECK(mark(*store, "orders", "a").marked == Verdict::duplicate);
    std::filesystem::remove(disk / "ballast");
    wait_until([&] { return server.info("aof_last_write_status") == "ok"; });
    CHECK(mark(*store, "orders", "fresh").marked == Verdict::fresh);
    store->flush();
  }
}

TEST_CASE("flush returns on a server that syncs each second, and on one that syncs each write") {
  for (const char* policy : {"everysec", "always"}) {
    RedisServer server({"--appendfsync", policy});
    const auto store = open_at(server.address("p"));
    mark(*store, "orders", "a");
    store->flush();
    CHECK(server.info("aof_pending_bio_fsync") == "0");
  }
}

TEST_CASE("a server that is no server, or none of that kind, is said to be so") {
  TempDir directory;
  CHECK(loss_of([&] { open_at("redis+unix://" + (directory / "none").string()); }).find("connect") !=
        std::string::npos);
  CHECK(loss_of([&] { open_at("redis://127.0.0.1:1"); }).find("127.0.0.1:1") != std::string::npos);
  RedisServer single({}, RedisServer::On::loopback);
  const std::string cluster = "redis+cluster://127.0.0.1:" + std::to_string(single.port());
  CHECK(error_code_naming("redis://", [&] { open_at(cluster); }) == ErrorCode::unsupported);
}
