#include "remote/redis/redis_backend.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "engine/compare.h"
#include "remote/redis/codec.h"
#include "shared/argument_checks.h"

namespace oncelog::internal::remote {
namespace {

using oncelog::remote::Options;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kMostShards = 1024;
constexpr milliseconds kMaxRetention = kMaxLease;

/// How long an operator's call is known again. More than the time in which it may be sent again.
std::uint64_t patience_ms(milliseconds timeout) {
  return static_cast<std::uint64_t>((2 * timeout + std::chrono::minutes{1}).count());
}

std::uint64_t number_in(const std::map<std::string, std::string>& fields, const char* name, std::uint64_t most) {
  const auto field = fields.find(name);
  std::uint64_t value = 0;
  if (field != fields.end()) {
    const std::string& text = field->second;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && stop == text.data() + text.size() && value >= 1 && value <= most) return value;
  }
  throw Error(ErrorCode::corrupt,
              fmt::format("the store's settings on the server have no {} from 1 to {}", name, most));
}

/// What all verdicts but fresh mean.
Answer answer_of(const Ask& ask, std::string_view packed) {
  Answer answer;
  const char kind = packed.empty() ? '\0' : packed.front();
  const std::string_view rest = packed.substr(packed.empty() ? 0 : 1);
  if (kind == kClaimed) {
    const StoredClaim claim = unpacked_claim(rest);
    answer.marked.verdict = compare_claimed(claim.fingerprint, ask.given);
    answer.owner = claim.owner;
  } else if (kind == kOwn) {
    answer.marked.verdict = Verdict::duplicate;
  } else if (kind == kTooOld) {
    answer.marked.verdict = Verdict::too_old;
  } else if (kind == kDuplicate) {
    Record record = unpacked_record(rest);
    answer.marked = compare(record, ask.given);
    answer.record = std::move(record);
  } else {
    Unpacker(packed, "verdict").expect(false);
  }
  return answer;
}

bool is_fresh(std::string_view packed) {
  return packed.starts_with(kFresh);
}

void put_attempt(std::string& out, const Attempt& attempt) {
  for (const std::uint8_t byte : attempt) out += static_cast<char>(byte);
}

/// For each of a batch, how often its id has come before with the same attempt. A caller that asks again does so in the
/// same order.
std::vector<std::uint32_t> occurrences_in(std::span<const Ask> asked, const Attempt& batch) {
  std::vector<std::uint32_t> occurrences(asked.size());
  if (asked.size() < 2) return occurrences;
  std::unordered_map<std::string_view, std::vector<std::size_t>> seen(asked.size());
  for (std::size_t i = 0; i < asked.size(); ++i) {
    std::vector<std::size_t>& places = seen[asked[i].id];
    const auto is_of_caller = [&](std::size_t n) { return attempt_of(asked[n], batch) == attempt_of(asked[i], batch); };
    occurrences[i] = static_cast<std::uint32_t>(std::ranges::count_if(places, is_of_caller));
    places.push_back(i);
  }
  return occurrences;
}

/// What a mark and a claim are asked with: who asks, and when the message was sent.
void put_ask(std::string& out, const Attempt& attempt, std::uint32_t occurrence, const Attributes* given) {
  put_attempt(out, attempt);
  put(out, occurrence, 4);
  const bool is_sent = given != nullptr && given->sent_at.has_value();
  put(out, is_sent ? 1 : 0, 1);
  put(out, is_sent ? static_cast<std::uint64_t>(given->sent_at->time_since_epoch().count()) : 0, 8);
}

std::string packed_token(std::uint64_t token) {
  std::string out;
  put(out, epoch_of(token), 4);
  put(out, counter_of(token), 8);
  return out;
}

std::uint64_t in_us(milliseconds duration) {
  return static_cast<std::uint64_t>(microseconds{duration}.count());
}

}  // namespace

RedisBackend::RedisBackend(const Address& address, const Options& options, std::shared_ptr<const ServerClock> clock)
    : router_(address, options),
      clock_(std::move(clock)),
      timeout_(options.timeout),
      settings_(settle(options, Keys(address.prefix, 1).settings())),
      keys_(address.prefix, settings_.shards),
      history_(router_, clock_, settings_.retention.count(), options.on_event),
      calls_(router_, history_, clock_, settings_.retention.count()) {}

RedisBackend::Settings RedisBackend::settle(const Options& options, const std::string& key) {
  const bool creates = options.create && !options.read_only;
  Command command(creates ? 10 : 4);
  command.add("EVALSHA").add_digest(static_cast<std::size_t>(Script::settle)).add("1").add(key).belongs_to(key);
  if (creates) {
    const auto retention = options.retention.value_or(kDefaultRetention);
    command.add("version").add(std::to_string(kVersion));
    command.add("retention_us").add(std::to_string(microseconds{retention}.count()));
    command.add("shards").add(std::to_string(router_.is_cluster() ? kClusterShards : 1));
  }
  const Reply reply = router_.run(command);
  std::map<std::string, std::string> fields;
  const auto values = elements_of(*reply);
  for (std::size_t i = 0; i + 1 < values.size(); i += 2) fields.emplace(text_of(*values[i]), text_of(*values[i + 1]));
  if (fields.empty()) throw Error(ErrorCode::not_found, fmt::format("{}: there is no store yet", router_.name()));
  if (number_in(fields, "version", ~std::uint64_t{0}) > kVersion) {
    throw Error(ErrorCode::newer_format, fmt::format("{}: a later version has made the store", router_.name()));
  }
  Settings settings;
  settings.retention = microseconds{number_in(fields, "retention_us", in_us(kMaxRetention))};
  settings.shards = static_cast<unsigned>(number_in(fields, "shards", kMostShards));
  if (options.retention && microseconds{*options.retention} != settings.retention) {
    throw Error(ErrorCode::options_mismatch,
                fmt::format("{}: the store has a retention of {}, not {}", router_.name(),
                            in_words(std::chrono::duration_cast<milliseconds>(settings.retention)),
                            in_words(*options.retention)));
  }
  if (router_.is_cluster() && settings.shards == 1) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the store was made on a single server, and all of it would be in one slot; export it "
                            "and import it under another prefix",
                            router_.name()));
  }
  return settings;
}

ShardKeys RedisBackend::keys_of(std::string_view scope, std::string_view id) const {
  return keys_.shard(scope, keys_.shard_of(id));
}

std::vector<std::vector<RedisBackend::Part>> RedisBackend::parts_of(std::string_view scope, std::size_t count,
                                                                    const Batch& batch) const {
  std::vector<std::vector<Part>> rounds;
  struct Last {
    std::size_t round = 0;
    std::size_t place = 0;
    bool any = false;
  };
  std::map<unsigned, Last> last_of;
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned shard = keys_.shard_of(batch.id(i));
    const Attributes* given = batch.given ? batch.given(i) : nullptr;
    const std::size_t bytes = batch.id(i).size() + (given == nullptr ? 0 : given->result.size());
    Last& last = last_of[shard];
    Part* part = last.any ? &rounds[last.round][last.place] : nullptr;
    if (part == nullptr || part->ids.size() == kMostIds || part->bytes + bytes > kMostBytes) {
      last.round = part == nullptr ? 0 : last.round + 1;
      if (last.round == rounds.size()) rounds.emplace_back();
      last.place = rounds[last.round].size();
      last.any = true;
      rounds[last.round].push_back({keys_.shard(scope, shard), {}, 0});
      part = &rounds[last.round].back();
    }
    part->ids.push_back(i);
    part->bytes += bytes;
  }
  return rounds;
}

ShardCall RedisBackend::call_of(const Part& part, const Batch& batch) const {
  ShardCall call{batch.script, part.keys.state(), {}, batch.terms, {}};
  if (batch.script != Script::find) call.keys.push_back(part.keys.claims());
  for (const std::size_t i : part.ids) call.keys.push_back(part.keys.record(batch.id(i)));
  if (!batch.argument) return call;
  for (const std::size_t i : part.ids) {
    std::string argument;
    batch.argument(i, argument);
    if (batch.given) {
      const Attributes* given = batch.given(i);
      const bool correlated = given != nullptr && !given->correlation.empty();
      if (correlated) call.keys.push_back(part.keys.correlation(given->correlation));
      put(argument, correlated ? call.keys.size() + 1 : 0, 4);  // Lua counts from 1, and the state comes first.
      argument += packed_attributes(given);
    }
    call.arguments.push_back(std::move(argument));
  }
  return call;
}

void RedisBackend::run_batch(std::string_view scope, std::size_t count, const Batch& batch) {
  for (const std::vector<Part>& parts : parts_of(scope, count, batch)) {
    std::vector<ShardCall> calls;
    for (const Part& part : parts) calls.push_back(call_of(part, batch));
    const std::vector<Reply> replies = calls_.run(calls, batch.ack);
    for (std::size_t place = 0; place < parts.size(); ++place) {
      const Part& part = parts[place];
      const auto answers = elements_of(*replies[place], part.ids.size());
      for (std::size_t n = 0; n < answers.size(); ++n) {
        batch.answered(part.ids[n], part.keys, text_of(*answers[n]));
      }
    }
  }
  await_seconds(batch.ack);
}

void RedisBackend::enroll(std::string_view scope) {
  if (scope == kLockScope) return;
  {
    const std::lock_guard guard(mutex_);
    if (std::exchange(enrolled_at_, history_.looks()) != history_.looks()) enrolled_.clear();
    if (enrolled_.contains(scope)) return;
  }
  const std::string key = keys_.scopes();
  Command command(5);
  command.add("EVALSHA").add_digest(static_cast<std::size_t>(Script::enroll)).add("1").add(key).add(scope);
  router_.run(command.belongs_to(key));
  const std::lock_guard guard(mutex_);
  enrolled_.emplace(scope);
}

Stamp RedisBackend::stamp_of(const ShardKeys& keys, std::string_view id, std::string_view packed) {
  Unpacker in(packed, "verdict");
  const std::int64_t time_us = in.small_number();
  const Stamp stamp{Lsn{static_cast<std::uint64_t>(in.small_number()) * 8}, Time{microseconds{time_us}}};
  in.expect(in.at_end() && stamp.lsn.value != 0);
  history_.note_record(keys.state(), keys.record(id), time_us, stamp.lsn);
  return stamp;
}

void RedisBackend::find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
                        std::span<std::optional<Record>> out) {
  Batch batch{.script = Script::find,
              .terms = std::string(1, whole ? '\1' : '\0'),
              .id = [&](std::size_t i) { return ids[i]; },
              .answered =
                  [&](std::size_t i, const ShardKeys&, std::string_view packed) {
                    out[i].reset();
                    if (!packed.empty()) out[i] = unpacked_record(packed);
                  }};
  run_batch(scope, ids.size(), batch);
}

void RedisBackend::mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
                        std::span<Answer> out) {
  enroll(scope);
  const std::vector<std::uint32_t> occurrences = occurrences_in(asked, attempt);
  Batch batch{
      .script = Script::mark,
      .terms = std::string(1, static_cast<char>(always(ack))),
      .ack = ack,
      .id = [&](std::size_t i) { return asked[i].id; },
      .argument = [&](std::size_t i,
                      std::string& to) { put_ask(to, attempt_of(asked[i], attempt), occurrences[i], asked[i].given); },
      .given = [&](std::size_t i) { return asked[i].given; },
      .answered =
          [&](std::size_t i, const ShardKeys& keys, std::string_view packed) {
            out[i] = is_fresh(packed) ? Answer{} : answer_of(asked[i], packed);
            if (!is_fresh(packed)) return;
            const Stamp stamp = stamp_of(keys, asked[i].id, packed.substr(1));
            out[i].marked.lsn = stamp.lsn;
            out[i].processed_at = stamp.processed_at;
          }};
  run_batch(scope, asked.size(), batch);
  enroll(scope);
}

void RedisBackend::import(std::string_view scope, std::span<const Record> records, std::span<ImportOutcome> out) {
  enroll(scope);
  std::vector<Attributes> attributes;
  for (const Record& record : records) attributes.push_back(attributes_of(record));
  Batch batch{.script = Script::import,
              .terms = {},
              .id = [&](std::size_t i) -> std::string_view { return records[i].id; },
              .argument =
                  [&](std::size_t i, std::string& to) {
                    put(to, static_cast<std::uint64_t>(records[i].processed_at.time_since_epoch().count()), 8);
                  },
              .given = [&](std::size_t i) { return &attributes[i]; },
              .answered =
                  [&](std::size_t i, const ShardKeys& keys, std::string_view packed) {
                    if (is_fresh(packed)) {
                      const Stamp stamp = stamp_of(keys, records[i].id, packed.substr(1));
                      out[i] = stamp.processed_at == records[i].processed_at ? ImportOutcome::imported
                                                                             : ImportOutcome::redated;
                      return;
                    }
                    Unpacker(packed, "verdict").expect(packed.size() == 1);
                    const char kind = packed.front();
                    Unpacker(packed, "verdict").expect(kind == kDuplicate || kind == kClaimed || kind == kTooOld);
                    out[i] = kind == kDuplicate ? ImportOutcome::known
                             : kind == kClaimed ? ImportOutcome::claimed
                                                : ImportOutcome::expired;
                  }};
  run_batch(scope, records.size(), batch);
  enroll(scope);
}

void RedisBackend::claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
                         std::span<Answer> out) {
  enroll(scope);
  const std::vector<std::uint32_t> occurrences = occurrences_in(asked, attempt);
  Batch batch{.script = Script::claim,
              .terms = {},
              .id = [&](std::size_t i) { return asked[i].id; },
              .argument =
                  [&](std::size_t i, std::string& to) {
                    put_ask(to, attempt_of(asked[i], attempt), occurrences[i], asked[i].given);
                    put(to, fingerprint_of(asked[i].given), 8);
                  },
              .answered =
                  [&](std::size_t i, const ShardKeys& keys, std::string_view packed) {
                    out[i] = is_fresh(packed) ? Answer{} : answer_of(asked[i], packed);
                    if (!is_fresh(packed)) return;
                    Unpacker in(packed.substr(1), "verdict");
                    const std::uint64_t epoch = in.number(4);
                    out[i].token = token_of(epoch, in.number(8));
                    in.expect(in.at_end() && out[i].token != 0);
                    history_.note_token(keys.state(), out[i].token);
                  }};
  put(batch.terms, in_us(terms.lease), 8);
  put(batch.terms, static_cast<std::uint64_t>(::getpid()), 4);
  put(batch.terms, static_cast<std::uint64_t>(terms.orphans), 1);
  run_batch(scope, asked.size(), batch);
  enroll(scope);
}

void RedisBackend::complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& /*attempt*/,
                            std::span<Stamp> out) {
  // The token knows the call again.

  // A token of 0 is that of records which no claim has made.
  std::vector<std::size_t> real;
  for (std::size_t i = 0; i < held.size(); ++i) {
    out[i] = Stamp{};
    if (held[i].token != 0) real.push_back(i);
  }
  Batch batch{.script = Script::complete,
              .terms = std::string(1, static_cast<char>(always(ack))),
              .ack = ack,
              .id = [&](std::size_t n) { return held[real[n]].id; },
              .argument = [&](std::size_t n, std::string& to) { to += packed_token(held[real[n]].token); },
              .given = [&](std::size_t n) { return held[real[n]].given; },
              .answered =
                  [&](std::size_t n, const ShardKeys& keys, std::string_view packed) {
                    if (!packed.empty()) out[real[n]] = stamp_of(keys, held[real[n]].id, packed);
                  }};
  run_batch(scope, real.size(), batch);
}

bool RedisBackend::renew(std::string_view scope, const Held& held, milliseconds lease) {
  const ShardKeys keys = keys_of(scope, held.id);
  ShardCall call{Script::renew, keys.state(), {keys.claims()}, {}, {std::string(held.id), packed_token(held.token)}};
  put(call.terms, in_us(lease), 8);
  return integer_of(*calls_.run(call)) == 1;
}

std::size_t RedisBackend::abandon(std::string_view scope, std::span<const Held> held) {
  std::map<unsigned, ShardCall> by_shard;
  for (const Held& one : held) {
    const unsigned shard = keys_.shard_of(one.id);
    auto call = by_shard.find(shard);
    if (call == by_shard.end()) {
      const ShardKeys keys = keys_.shard(scope, shard);
      call = by_shard.emplace(shard, ShardCall{Script::abandon, keys.state(), {keys.claims()}, {}, {}}).first;
    }
    call->second.arguments.emplace_back(one.id);
    call->second.arguments.push_back(packed_token(one.token));
  }
  std::vector<ShardCall> calls;
  for (auto& [shard, call] : by_shard) calls.push_back(std::move(call));
  std::size_t freed = 0;
  for (const Reply& reply : calls_.run(calls)) freed += static_cast<std::size_t>(integer_of(*reply));
  return freed;
}

bool RedisBackend::forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) {
  const ShardKeys keys = keys_of(scope, id);
  std::string bytes;
  put_attempt(bytes, attempt);
  ShardCall call{Script::forget, keys.state(), {keys.record(id), keys.attempt(bytes)}, {}, {}};
  put(call.terms, patience_ms(timeout_), 8);
  put(call.terms, always(ack), 1);
  const bool forgotten = integer_of(*calls_.run(call, ack)) == 1;
  await_seconds(ack);
  return forgotten;
}

bool RedisBackend::release(std::string_view scope, std::string_view id, const Attempt& attempt) {
  const ShardKeys keys = keys_of(scope, id);
  std::string bytes;
  put_attempt(bytes, attempt);
  ShardCall call{Script::release, keys.state(), {keys.claims(), keys.attempt(bytes)}, {}, {std::string(id)}};
  put(call.terms, patience_ms(timeout_), 8);
  return integer_of(*calls_.run(call)) == 1;
}

std::optional<ClaimOwner> RedisBackend::holder(std::string_view scope, std::string_view id) {
  const ShardKeys keys = keys_of(scope, id);
  const Reply reply = calls_.run({Script::holder, keys.state(), {keys.claims()}, {}, {std::string(id)}});
  const std::string_view claim = text_of(*reply);
  if (claim.empty()) return std::nullopt;
  return unpacked_claim(claim).owner;
}

std::unique_ptr<Work> RedisBackend::begin_work() {
  throw Error(
      ErrorCode::unsupported,
      fmt::format("{}: Redis has no transactions that read, decide and write over several calls; mark and claim "
                  "decide on many ids at once, and PostgreSQL has transact()",
                  router_.name()));
}

std::optional<std::string> RedisBackend::get(std::string_view, std::string_view) {
  throw Error(ErrorCode::unsupported, fmt::format("{}: a store on Redis has no tables of users", router_.name()));
}

void RedisBackend::scan_table(std::string_view, std::string_view, const EntryVisitor&) {
  throw Error(ErrorCode::unsupported, fmt::format("{}: a store on Redis has no tables of users", router_.name()));
}

std::unique_ptr<Backend> open_redis(const Address& address, const Options& options) {
  return open_redis(address, options, std::make_shared<const ServerClock>());
}

std::unique_ptr<Backend> open_redis(const Address& address, const Options& options,
                                    std::shared_ptr<const ServerClock> clock) {
  return std::make_unique<RedisBackend>(address, options, std::move(clock));
}

}  // namespace oncelog::internal::remote
