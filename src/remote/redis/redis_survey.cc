#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "remote/redis/codec.h"
#include "remote/redis/redis_backend.h"

/// What RedisBackend says of the whole store. Records are found by SCAN, which visits every key of the server's
/// database: that takes about a second for a million keys, and does not hold others up.

namespace oncelog::internal::remote {
namespace {

using std::chrono::microseconds;

/// Keys for each step of SCAN.
constexpr const char* kStep = "1000";
/// Records that are fetched at once: with their results they may take a mebibyte each.
constexpr std::size_t kFetched = 64;
/// Keys that are looked at to say how many records there are.
constexpr std::uint64_t kSample = 5000;

struct Place {
  Lsn lsn;
  std::string key;

  friend auto operator<=>(const Place&, const Place&) = default;
};

}  // namespace

std::int64_t RedisBackend::now_us() {
  const std::int64_t shift = clock_->us.load(std::memory_order_relaxed);
  if (clock_->fixed.load(std::memory_order_relaxed)) return shift;
  const Reply reply = router_.run({"TIME"});
  std::int64_t us = 0;
  for (const redisReply* part : elements_of(*reply, 2)) {
    us = us * 1'000'000 + std::stoll(std::string(text_of(*part)));  // Seconds, then microseconds.
  }
  return us + shift;
}

std::vector<std::string> RedisBackend::scopes() {
  const std::string key = keys_.scopes();
  const Reply reply = router_.run(Command{"ZRANGE", key, "0", "-1"}.belongs_to(key));
  std::vector<std::string> names;
  for (const redisReply* name : elements_of(*reply)) names.emplace_back(text_of(*name));
  return names;
}

std::vector<RedisBackend::Shard> RedisBackend::all_shards(bool of_locks) {
  std::vector<std::string> names = scopes();
  if (of_locks) names.emplace_back(kLockScope);
  std::vector<Shard> all;
  for (const std::string& scope : names) {
    for (unsigned shard = 0; shard < keys_.shards(); ++shard) all.push_back({scope, keys_.shard(scope, shard)});
  }
  return all;
}

std::vector<ClaimInfo> RedisBackend::claims() {
  const std::vector<Shard> shards = all_shards(true);
  std::vector<ShardCall> calls;
  for (const Shard& one : shards) calls.push_back({Script::claims, one.keys.state(), {one.keys.claims()}, {}, {}});
  const std::vector<Reply> replies = calls_.run(calls);
  std::vector<ClaimInfo> all;
  for (std::size_t n = 0; n < shards.size(); ++n) {
    const auto answers = elements_of(*replies[n]);
    Unpacker time(answers.empty() ? std::string_view{} : text_of(*answers.front()), "time");
    const std::int64_t now = time.small_number();
    for (std::size_t i = 1; i + 1 < answers.size(); i += 2) {
      const StoredClaim claim = unpacked_claim(text_of(*answers[i + 1]));
      ClaimInfo info;
      info.scope = shards[n].scope;
      info.id = text_of(*answers[i]).substr(0, 64);
      info.owner = claim.owner;
      // Of a process on another host nothing else is known.
      info.owner_alive = claim.owner.deadline > Time{microseconds{now}};
      info.orphans = claim.orphans;
      info.token = claim.token;
      all.push_back(std::move(info));
    }
  }
  std::ranges::sort(all, {}, &ClaimInfo::token);
  return all;
}

Time RedisBackend::known_since() {
  std::vector<ShardCall> calls;
  for (const Shard& one : all_shards(true)) {
    // On a single server all have the same state.
    if (calls.empty() || calls.back().state != one.keys.state()) {
      calls.push_back({Script::pulse, one.keys.state(), {one.keys.claims()}, {}, {}});
    }
  }
  Time since = Time::min();
  for (const Reply& reply : calls_.run(calls)) {
    Unpacker in(text_of(*reply), "time");
    since = std::max(since, Time{microseconds{static_cast<std::int64_t>(in.number(8))}});
  }
  return since;
}

Pulse RedisBackend::pulse(std::string_view scope) {
  std::vector<ShardCall> calls;
  for (unsigned shard = 0; shard < keys_.shards(); ++shard) {
    const ShardKeys keys = keys_.shard(scope, shard);
    calls.push_back({Script::pulse, keys.state(), {keys.claims()}, {}, {}});
  }
  Pulse pulse;
  for (const Reply& reply : calls_.run(calls)) {
    Unpacker in(text_of(*reply), "time");
    in.number(8);
    pulse.now = Time{microseconds{in.small_number()}};
    // Each grows, so their sum is another one once any has grown.
    pulse.generation += static_cast<std::uint64_t>(in.small_number());
  }
  return pulse;
}

std::vector<Record> RedisBackend::correlated(std::string_view correlation) {
  const std::vector<Shard> shards = all_shards(false);
  std::vector<Command> commands;
  for (const Shard& one : shards) {
    const std::string key = one.keys.correlation(correlation);
    commands.push_back(std::move(Command{"ZRANGE", key, "0", "-1"}.belongs_to(key)));
  }
  const std::vector<Reply> replies = router_.run(commands);
  std::vector<Record> all;
  for (std::size_t n = 0; n < shards.size(); ++n) {
    std::vector<std::string_view> ids;
    for (const redisReply* id : elements_of(*replies[n])) ids.push_back(text_of(*id));
    std::vector<std::optional<Record>> found(ids.size());
    find(shards[n].scope, ids, true, found);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      // An id may have been forgotten, or marked again without.
      if (!found[i] || found[i]->correlation != correlation) continue;
      found[i]->scope = shards[n].scope;
      found[i]->id = ids[i];
      all.push_back(std::move(*found[i]));
    }
  }
  std::ranges::sort(all, {}, &Record::lsn);
  return all;
}

std::uint64_t RedisBackend::visit_heads(Node& node, std::uint64_t most, bool& all, const HeadVisitor& visitor) {
  Node::Lease lease = router_.connect(node);
  Connection& connection = lease.connection();
  std::uint64_t seen = 0;
  std::string cursor = "0";
  do {
    const Reply step = connection.ask({"SCAN", cursor, "COUNT", kStep}, router_.deadline());
    const auto parts = elements_of(*step, 2);
    cursor = text_of(*parts[0]);
    std::vector<std::string_view> keys;
    std::vector<Command> commands;
    for (const redisReply* key : elements_of(*parts[1])) {
      ++seen;
      if (!keys_.named(text_of(*key))) continue;
      keys.push_back(text_of(*key));
      commands.push_back({"GETRANGE", keys.back(), "0", std::to_string(kHeadBytes - 1)});
    }
    std::vector<const Command*> sent;
    for (const Command& command : commands) sent.push_back(&command);
    const Deadline deadline = router_.deadline();
    connection.send(sent, deadline);
    for (const std::string_view key : keys) {
      const Reply reply = connection.receive(deadline);
      if (is_error(*reply)) throw_error(connection.name(), {reply->str, static_cast<std::size_t>(reply->len)});
      const std::string_view head = text_of(*reply);
      if (!head.empty()) visitor(key, unpacked_head(head));  // Empty: it has gone meanwhile.
    }
  } while (cursor != "0" && seen < most);
  lease.keep();
  all = cursor == "0";
  return seen;
}

void RedisBackend::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  const Time oldest = oldest_kept();
  std::vector<Place> places;
  for (Node* node : router_.masters()) {
    bool all = false;
    visit_heads(*node, ~std::uint64_t{0}, all, [&](std::string_view key, const Head& head) {
      const Time time{microseconds{head.time_us}};
      const bool wanted = time >= oldest && (!range.scope || keys_.named(key)->scope == *range.scope) &&
                          (!range.since || time >= *range.since) && (!range.until || time < *range.until);
      if (wanted) places.push_back({head.lsn, std::string(key)});
    });
  }
  std::ranges::sort(places);
  places.erase(std::unique(places.begin(), places.end()), places.end());
  for (std::size_t first = 0; first < places.size(); first += kFetched) {
    const auto some = std::span(places).subspan(first, std::min(kFetched, places.size() - first));
    std::vector<Command> commands;
    for (const Place& one : some) commands.push_back(std::move(Command{"GET", one.key}.belongs_to(one.key)));
    const std::vector<Reply> replies = router_.run(commands);
    for (std::size_t i = 0; i < some.size(); ++i) {
      if (is_nil(*replies[i])) continue;  // Its retention has passed.
      Record record = unpacked_record(text_of(*replies[i]));
      if (record.lsn != some[i].lsn) continue;  // Forgotten or marked since the scan began.
      const auto named = keys_.named(some[i].key);
      record.scope = named->scope;
      record.id = named->id;
      if (!visitor(record)) return;
    }
  }
}

std::uint64_t RedisBackend::records() {
  const Time oldest = oldest_kept();
  std::uint64_t records = 0;
  for (Node* node : router_.masters()) {
    bool all = false;
    std::uint64_t ours = 0;
    const std::uint64_t seen = visit_heads(*node, kSample, all, [&](std::string_view, const Head& head) {
      if (!head.forgotten && Time{microseconds{head.time_us}} >= oldest) ++ours;
    });
    if (!all && seen != 0) {
      Node::Lease lease = router_.connect(*node);
      const Reply size = lease.connection().ask({"DBSIZE"}, router_.deadline());
      ours = static_cast<std::uint64_t>(static_cast<double>(ours) / static_cast<double>(seen) *
                                        static_cast<double>(integer_of(*size)));
      lease.keep();
    }
    records += ours;
  }
  return records;
}

Expired RedisBackend::upkeep() {
  std::vector<ShardCall> calls;
  for (const Shard& one : all_shards(true)) {
    calls.push_back({Script::trim, one.keys.state(), {one.keys.claims()}, {}, {}});
  }
  Expired expired;
  for (const Reply& reply : calls_.run(calls)) expired.blocks += static_cast<std::uint64_t>(integer_of(*reply));
  return expired;
}

}  // namespace oncelog::internal::remote
