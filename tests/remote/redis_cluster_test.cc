#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "answered.h"
#include "redis_asking.h"
#include "redis_engines.h"
#include "redis_server.h"
#include "remote/redis/keys.h"
#include "remote/redis/redis_backend.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::random_uuid;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::Attempt;
using internal::remote::Backend;
using internal::remote::ConnectionLost;
using internal::remote::elements_of;
using internal::remote::Keys;
using internal::remote::open_redis;
using internal::remote::parse_redis_address;
using internal::remote::RedisBackend;
using internal::remote::Reply;
using internal::remote::slot_of;
using internal::remote::Terms;
using internal::remote::text_of;

namespace {

const Terms kMinute{1min, OrphanPolicy::free_after_lease};

std::string slot_text(const std::string& key) {
  return std::to_string(slot_of(key));
}

/// A store with a key whose slot a test moves about: by default that of a shard of the scope "orders".
struct Moving {
  RedisCluster cluster;
  std::unique_ptr<Backend> store = open_redis(parse_redis_address(cluster.address("p")), {});
  Keys keys{"p", RedisBackend::kClusterShards};
  std::string state;
  std::vector<std::string> ids;  // Of that shard.
  std::size_t from;
  std::size_t to;

  explicit Moving(std::string key = {})
      : state(key.empty() ? keys.shard("orders", 3).state() : std::move(key)),
        from(cluster.owner_of(slot_of(state))),
        to((from + 1) % 3) {
    for (int i = 0; ids.size() < 20; ++i) {
      if (keys.shard_of(std::to_string(i)) == 3) ids.push_back(std::to_string(i));
    }
  }
  void begin() {
    const std::string slot = slot_text(state);
    cluster.at(to).ask({"CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(from)});
    cluster.at(from).ask({"CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(to)});
  }
  void move_keys() {
    const Reply found = cluster.at(from).ask({"CLUSTER", "GETKEYSINSLOT", slot_text(state), "1000"});
    for (const redisReply* key : elements_of(*found)) {
      cluster.at(from).ask({"MIGRATE", "127.0.0.1", std::to_string(cluster.at(to).port()), text_of(*key), "0", "5000"});
    }
  }
  void end() {
    const std::string id = cluster.id_of(to);
    cluster.at(to).ask({"CLUSTER", "SETSLOT", slot_text(state), "NODE", id});
    cluster.at(from).ask({"CLUSTER", "SETSLOT", slot_text(state), "NODE", id});
  }
};

}  // namespace

TEST_CASE("keys of one shard are in one slot, whatever the scope's name") {
  const Keys keys("p", 16);
  for (const std::string scope : {"orders", "}", "a}b", "{", ":", "", "%"}) {
    const auto shard = keys.shard(scope, 7);
    const std::uint16_t slot = slot_of(shard.state());
    CHECK(slot_of(shard.record("}{x")) == slot);
    CHECK(slot_of(shard.claims()) == slot);
    CHECK(slot_of(shard.correlation("{c}")) == slot);
    CHECK(slot_of(shard.attempt(std::string(16, '{'))) == slot);
    const std::string key = shard.record("}:{x");
    const auto named = keys.named(key);
    REQUIRE(named);
    CHECK(named->scope == scope);
    CHECK(named->id == "}:{x");
  }
  CHECK(slot_of("123456789") == 0x31c3);  // The check value of Redis Cluster's specification.
  CHECK(slot_of("{user1000}.following") == slot_of("user1000"));
  CHECK_FALSE(keys.named("p:{store}scopes"));
  CHECK_FALSE(keys.named("p:{orders:1}#"));
  CHECK_FALSE(keys.named("q:{orders:1}:a"));
  CHECK_FALSE(keys.named("p:{orders%4:1}:a"));
}

TEST_CASE("a shard that has moved is followed, and its tokens and LSNs go on") {
  Moving moving;
  Backend& store = *moving.store;
  const Lsn lsn = mark(store, "orders", moving.ids[0]).marked.lsn;
  const std::uint64_t token = claim(store, "orders", moving.ids[1], kMinute).token;
  moving.begin();
  moving.move_keys();
  moving.end();
  CHECK(mark(store, "orders", moving.ids[0]).marked == Marked{Verdict::duplicate, lsn});
  CHECK(mark(store, "orders", moving.ids[1]).marked == Verdict::in_progress);
  CHECK(claim(store, "orders", moving.ids[2], kMinute).token > token);
  CHECK(mark(store, "orders", moving.ids[3]).marked.lsn > lsn);
  CHECK(complete(store, "orders", moving.ids[1], token).value != 0);
}

TEST_CASE("a shard that is on its way is asked again until it has arrived, and no id is fresh twice") {
  Moving moving;
  Backend& store = *moving.store;
  const Lsn lsn = mark(store, "orders", moving.ids[0]).marked.lsn;
  const Attempt attempt = random_uuid();
  moving.begin();
  // Some keys that the script needs are here, others may have moved: the servers let nobody decide on that.
  CHECK_THROWS_AS(mark(store, "orders", moving.ids[0]), ConnectionLost);
  moving.move_keys();
  CHECK_THROWS_AS(mark(store, "orders", moving.ids[1], {}, attempt), ConnectionLost);
  moving.end();
  CHECK(mark(store, "orders", moving.ids[1], {}, attempt).marked == Verdict::fresh);
  CHECK(mark(store, "orders", moving.ids[0]).marked == Marked{Verdict::duplicate, lsn});
  CHECK(mark(store, "orders", moving.ids[1]).marked == Verdict::duplicate);
}

TEST_CASE("a single key that is on its way is asked for where it is going") {
  Moving moving("p:{store}scopes");
  mark(*moving.store, "orders", "a");
  moving.begin();
  CHECK(moving.store->scopes().size() == 1);
  moving.move_keys();
  CHECK(moving.store->scopes().size() == 1);  // ASK.
  CHECK(moving.store->scopes().size() == 1);  // Which moves nothing for good.
  moving.end();
  CHECK(moving.store->scopes().size() == 1);  // MOVED.
}

TEST_CASE("while one server is down the others' shards go on, and it is found again") {
  RedisCluster cluster({"--appendfsync", "always"});
  const auto store = open_redis(parse_redis_address(cluster.address("p")), {.timeout = 1s});
  std::vector<Lsn> lsns;
  for (int i = 0; i < 60; ++i) lsns.push_back(mark(*store, "orders", std::to_string(i)).marked.lsn);
  store->flush();
  cluster.at(2).kill();
  int lost = 0;
  for (int i = 0; i < 60; ++i) {
    try {
      const Marked marked = mark(*store, "orders", std::to_string(i)).marked;
      REQUIRE(marked == Marked{Verdict::duplicate, lsns[static_cast<std::size_t>(i)]});
    } catch (const ConnectionLost&) {
      ++lost;
    }
  }
  CHECK(lost > 0);
  CHECK(lost < 60);
  cluster.at(2).start();
  for (int i = 0; i < 60; ++i) {
    // Until it has joined the others.
    const Answer answer = answered([&] { return mark(*store, "orders", std::to_string(i)); });
    CHECK(answer.marked == Marked{Verdict::duplicate, lsns[static_cast<std::size_t>(i)]});
  }
}

TEST_CASE("a replica that takes a dead server's shards over is found, and knows what that had answered") {
  RedisCluster cluster;
  cluster.add_replica_of(2);
  std::atomic<int> events{0};
  const auto store = open_redis(parse_redis_address(cluster.address("p")),
                                {.timeout = 1s, .on_event = [&](const StoreEvent&) { ++events; }});
  std::vector<Lsn> lsns;
  std::vector<std::uint64_t> tokens;
  for (int i = 0; i < 60; ++i) {
    lsns.push_back(mark(*store, "orders", std::to_string(i)).marked.lsn);
    tokens.push_back(claim(*store, "claims", std::to_string(i), kMinute).token);
  }
  wait_until([&] { return cluster.at(3).info("master_repl_offset") == cluster.at(2).info("master_repl_offset"); });
  cluster.at(2).kill();
  cluster.at(3).ask({"CLUSTER", "FAILOVER", "TAKEOVER"});
  for (int i = 0; i < 60; ++i) {
    Answer answer;
    std::uint64_t token = 0;
    // Until the others know of it.
    wait_until([&] {
      try {
        answer = mark(*store, "orders", std::to_string(i));
        release(*store, "claims", std::to_string(i));
        token = claim(*store, "claims", std::to_string(i), kMinute).token;
        return true;
      } catch (const ConnectionLost&) {
        return false;
      }
    });
    CHECK(answer.marked == Marked{Verdict::duplicate, lsns[static_cast<std::size_t>(i)]});
    CHECK(token > tokens[static_cast<std::size_t>(i)]);
  }
  CHECK(events == 0);
}

TEST_CASE("a cluster is no single server, and a store that was made on one is not used in it") {
  RedisCluster& cluster = Clustered::shared();
  const std::string single = "redis://127.0.0.1:" + std::to_string(cluster.at(0).port());
  CHECK(error_code_naming("redis+cluster://", [&] { open_redis(parse_redis_address(single), {}); }) ==
        ErrorCode::unsupported);
  const std::string prefix = next_prefix();
  const std::string settings = prefix + ":{store}settings";
  RedisServer& owner = cluster.at(cluster.owner_of(slot_of(settings)));
  owner.ask({"HSET", settings, "version", "1", "retention_us", "3600000000", "shards", "1"});
  CHECK(error_code_naming("single server", [&] { open_redis(parse_redis_address(cluster.address(prefix)), {}); }) ==
        ErrorCode::unsupported);
}

TEST_CASE("many clients of a cluster mark each id once") {
  Clustered engine;
  std::atomic<int> fresh{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const auto store = engine.open();
      std::vector<std::string> texts;
      for (int i = 0; i < 300; ++i) texts.push_back(std::to_string(i));
      const Ids ids(texts);
      std::vector<Ask> asked;
      for (const std::string_view id : ids) asked.push_back({id, nullptr});
      std::vector<Answer> answers(asked.size());
      store->mark("orders", asked, Ack::host, random_uuid(), answers);
      for (const Answer& answer : answers) fresh += answer.marked == Verdict::fresh ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(fresh == 300);
}
