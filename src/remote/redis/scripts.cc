#include "remote/redis/scripts.h"

#include <string_view>

namespace oncelog::internal::remote {
namespace {

/// The server's clock in microseconds, plus what tests put the clock ahead, or what they fix it at.
constexpr std::string_view kClock = R"(
local function now_by(fixed, clock)
  if fixed == 1 then return clock end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2] + clock
end
)";

/// See codec.h for the values. Scripts read all they need before they write, so that one that the server refuses to go
/// on with, for want of memory or of a disk, has done nothing.
constexpr std::string_view kBegin = R"(
local run, known, terms = ARGV[1], ARGV[2], ARGV[3]
local packed = redis.call('GET', KEYS[1])
if not packed or packed:sub(45) ~= run or known ~= run then return 'RUN' end
local last_time, last_lsn, epoch, counter, since, last_forgotten = struct.unpack('>I8I8I4I8I8I8', packed)
local fixed, clock, retention, next_term = struct.unpack('>I1i8I8', terms)
local now = now_by(fixed, clock)
local known_since = math.max(now - retention + 1, since)

local function is_known(record)
  return record and record:sub(1, 1) == 'P' and struct.unpack('>I8', record, 2) > now - retention
end

-- Orphan policy 2 keeps a claim until it is released.
local function is_held(claim)
  return claim and (claim:byte(45) == 2 or struct.unpack('>I8', claim) > now)
end

local function id_of(key)
  return key:sub(#KEYS[2] + 1)
end

-- LSNs follow the clock, so that they grow over shards as well, and after a failover that has lost some.
local function next_lsn()
  last_lsn = math.max(last_lsn + 1, now)
  last_time = math.max(last_time, now)
  return last_lsn
end

local function write_state()
  local numbers = struct.pack('>I8I8I4I8I8I8', last_time, last_lsn, epoch, counter, since, last_forgotten)
  redis.call('SET', KEYS[1], numbers .. run)
end

-- The key is there for as long as the record counts, and until the next millisecond: the record's own time decides.
local function write_record(key, record)
  local time = struct.unpack('>I8', record, 2)
  redis.call('SET', key, record, 'PX', math.ceil((time + retention - now) / 1000) + 1)
end

-- A correlation's set ends with its newest record. Those that are past the retention leave it here.
local function write_correlation(key, lsn, id)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - retention)
  redis.call('ZADD', key, lsn, id)
  redis.call('PEXPIRE', key, math.ceil((last_time + retention - now) / 1000) + 1)
end
)";

constexpr std::string_view kFind = R"(
local whole = struct.unpack('>I1', terms, next_term)
local answers = {}
for i = 2, #KEYS do
  local record = redis.call('GET', KEYS[i])
  if not is_known(record) then
    answers[i - 1] = ''
  elseif whole == 1 then
    answers[i - 1] = record
  else
    answers[i - 1] = record:sub(1, 17)
  end
end
return answers
)";

/// Each id comes with: attempt and occurrence, whether there is a sent_at, sent_at, the place of its correlation's key
/// in KEYS or 0, attributes. A call that comes again knows by the first two what it has done before: the attempt is the
/// call's, the occurrence counts how often the id stands in it.
constexpr std::string_view kMark = R"(
local always = struct.unpack('>I1', terms, next_term)
local claimed = redis.call('HLEN', KEYS[2]) > 0
local answers, made, marked, ended = {}, {}, {}, {}
for i = 4, #ARGV do
  local key = KEYS[i - 1]
  local own, is_sent, sent_at, correlation, rest = struct.unpack('>c20I1i8I4', ARGV[i])
  local record = made[key] or redis.call('GET', key)
  local claim = claimed and redis.call('HGET', KEYS[2], id_of(key))
  local answer
  if record and record:sub(30, 49) == own then
    answer = 'f' .. record:sub(2, 17)
  elseif is_known(record) then
    answer = 'd' .. record
  elseif is_held(claim) then
    answer = 'c' .. claim
  elseif is_sent == 1 and sent_at < known_since then
    answer = 't'
  else
    local lsn = next_lsn()
    made[key] = struct.pack('>c1I8I8I4I8', 'P', last_time, lsn, 0, 0) .. own .. ARGV[i]:sub(rest)
    marked[#marked + 1] = {key, lsn, correlation}
    if claim then ended[#ended + 1] = id_of(key) end
    answer = 'f' .. made[key]:sub(2, 17)
  end
  answers[i - 3] = answer
end
if #marked > 0 or always == 1 then write_state() end
for _, id in ipairs(ended) do redis.call('HDEL', KEYS[2], id) end
for _, one in ipairs(marked) do
  write_record(one[1], made[one[1]])
  if one[3] > 0 then write_correlation(KEYS[one[3]], one[2], id_of(one[1])) end
end
return answers
)";

/// Each id comes with: when it was processed, the place of its correlation's key in KEYS or 0, attributes. The answer
/// to one that is imported is its record's time and LSN, as to a mark.
constexpr std::string_view kImport = R"(
local claimed = redis.call('HLEN', KEYS[2]) > 0
local answers, made, imported, ended = {}, {}, {}, {}
local nobody = string.rep('\0', 32)
for i = 4, #ARGV do
  local key = KEYS[i - 1]
  local at, correlation, rest = struct.unpack('>I8I4', ARGV[i])
  local record = made[key] or redis.call('GET', key)
  local claim = claimed and redis.call('HGET', KEYS[2], id_of(key))
  if is_known(record) then
    answers[i - 3] = 'd'
  elseif is_held(claim) then
    answers[i - 3] = 'c'
  elseif at <= now - retention then
    answers[i - 3] = 't'
  else
    local lsn = next_lsn()
    made[key] = struct.pack('>c1I8I8', 'P', math.min(at, now), lsn) .. nobody .. ARGV[i]:sub(rest)
    imported[#imported + 1] = {key, lsn, correlation}
    if claim then ended[#ended + 1] = id_of(key) end
    answers[i - 3] = 'f' .. made[key]:sub(2, 17)
  end
end
if #imported > 0 then write_state() end
for _, id in ipairs(ended) do redis.call('HDEL', KEYS[2], id) end
for _, one in ipairs(imported) do
  write_record(one[1], made[one[1]])
  if one[3] > 0 then write_correlation(KEYS[one[3]], one[2], id_of(one[1])) end
end
return answers
)";

/// As a mark, with the payload's fingerprint instead of attributes; and the lease in microseconds, the process and the
/// orphan policy. A claim that this call has taken
/// before, and whose answer was lost, is given a whole lease again.
constexpr std::string_view kClaim = R"(
local lease, process, orphans = struct.unpack('>I8c4c1', terms, next_term)
local answers, taken, order = {}, {}, {}
local function take(id, token, own, fingerprint)
  if not taken[id] then order[#order + 1] = id end
  taken[id] = struct.pack('>I8', now + lease) .. token .. own .. process .. orphans .. fingerprint
  return 'f' .. token
end
for i = 4, #ARGV do
  local key = KEYS[i - 1]
  local id = id_of(key)
  local own, is_sent, sent_at, fingerprint = struct.unpack('>c20I1i8c8', ARGV[i])
  local record = redis.call('GET', key)
  local claim = taken[id] or redis.call('HGET', KEYS[2], id)
  local answer
  if is_known(record) then
    answer = 'd' .. record
  elseif claim and claim:sub(21, 40) == own then
    answer = take(id, claim:sub(9, 20), own, fingerprint)
  elseif claim and claim:sub(21, 36) == own:sub(1, 16) then
    answer = 'o'
  elseif is_held(claim) then
    answer = 'c' .. claim
  elseif is_sent == 1 and sent_at < known_since then
    answer = 't'
  else
    counter = counter + 1
    if counter == 1099511627776 then epoch, counter = epoch + 1, 0 end
    answer = take(id, struct.pack('>I4I8', epoch, counter), own, fingerprint)
  end
  answers[i - 3] = answer
end
if #order > 0 then write_state() end
for _, id in ipairs(order) do redis.call('HSET', KEYS[2], id, taken[id]) end
return answers
)";

/// Each id comes with: token, the place of its correlation's key in KEYS or 0, attributes. What was completed before
/// under the same token is answered as it was then, also when it was forgotten since.
constexpr std::string_view kComplete = R"(
local always = struct.unpack('>I1', terms, next_term)
local answers, made, completed = {}, {}, {}
local no_attempt = string.rep('\0', 20)
for i = 4, #ARGV do
  local key = KEYS[i - 1]
  local token, correlation, rest = struct.unpack('>c12I4', ARGV[i])
  local claim = redis.call('HGET', KEYS[2], id_of(key))
  local record = made[key] or redis.call('GET', key)
  if record and record:sub(18, 29) == token then
    answers[i - 3] = record:sub(2, 17)
  elseif claim and claim:sub(9, 20) == token and not made[key] then
    local lsn = next_lsn()
    made[key] = struct.pack('>c1I8I8', 'P', last_time, lsn) .. token .. no_attempt .. ARGV[i]:sub(rest)
    completed[#completed + 1] = {key, lsn, correlation}
    answers[i - 3] = made[key]:sub(2, 17)
  else
    answers[i - 3] = ''
  end
end
if #completed > 0 or always == 1 then write_state() end
for _, one in ipairs(completed) do
  write_record(one[1], made[one[1]])
  redis.call('HDEL', KEYS[2], id_of(one[1]))
  if one[3] > 0 then write_correlation(KEYS[one[3]], one[2], id_of(one[1])) end
end
return answers
)";

constexpr std::string_view kRenew = R"(
local lease = struct.unpack('>I8', terms, next_term)
local claim = redis.call('HGET', KEYS[2], ARGV[4])
if not claim or claim:sub(9, 20) ~= ARGV[5] then return 0 end
redis.call('HSET', KEYS[2], ARGV[4], struct.pack('>I8', now + lease) .. claim:sub(9))
return 1
)";

constexpr std::string_view kAbandon = R"(
local freed = 0
for i = 4, #ARGV, 2 do
  local claim = redis.call('HGET', KEYS[2], ARGV[i])
  if claim and claim:sub(9, 20) == ARGV[i + 1] then freed = freed + redis.call('HDEL', KEYS[2], ARGV[i]) end
end
return freed
)";

/// The note that an id was forgotten takes the place of its record. It keeps the record's attempt and token, so that a
/// mark or a completion that is asked again still answers as it did.
constexpr std::string_view kForget = R"(
local patience, always = struct.unpack('>I8I1', terms, next_term)
local record = redis.call('GET', KEYS[2])
local answer = redis.call('EXISTS', KEYS[3])
local forgets = answer == 0 and is_known(record)
local lsn = forgets and next_lsn()
if forgets then last_forgotten = lsn end
if forgets or always == 1 then write_state() end
if not forgets then return answer end
redis.call('SET', KEYS[3], '', 'PX', patience)
write_record(KEYS[2], struct.pack('>c1I8I8', 'F', last_time, lsn) .. record:sub(18, 49))
return 1
)";

constexpr std::string_view kRelease = R"(
local patience = struct.unpack('>I8', terms, next_term)
if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
if redis.call('HEXISTS', KEYS[2], ARGV[4]) == 0 then return 0 end
redis.call('SET', KEYS[3], '', 'PX', patience)
return redis.call('HDEL', KEYS[2], ARGV[4])
)";

constexpr std::string_view kClaims = R"(
local answers = redis.call('HGETALL', KEYS[2])
table.insert(answers, 1, struct.pack('>I8', now))
return answers
)";

constexpr std::string_view kHolder = R"(
local claim = redis.call('HGET', KEYS[2], ARGV[4])
return is_held(claim) and claim or ''
)";

/// A holder that is late by the whole retention finds its claim gone.
constexpr std::string_view kTrim = R"(
local all = redis.call('HGETALL', KEYS[2])
local trimmed = 0
for i = 1, #all, 2 do
  local claim = all[i + 1]
  if not is_held(claim) and struct.unpack('>I8', claim) + retention <= now then
    trimmed = trimmed + redis.call('HDEL', KEYS[2], all[i])
  end
end
return trimmed
)";

constexpr std::string_view kPulse = R"(
return struct.pack('>i8I8I8', known_since, now, last_forgotten)
)";

/// A server that takes a state over goes on with tokens that are no less than its clock: the epoch counts the minutes
/// since 2026, and the counter begins with the milliseconds in that minute, in its upper 16 bits. So they are above all
/// that another server has given out before, also when that was lost: it cannot have given out 2^24 in each
/// millisecond.
constexpr std::string_view kAdopt = R"(
local fixed, clock, retention, seen_epoch, seen_counter, seen_time, seen_lsn =
  struct.unpack('>I1i8I8I8I8I8I8', ARGV[2])
local now = now_by(fixed, clock)
local time, lsn, epoch, counter, since, forgotten = 0, 0, 0, 0, 0, 0
local packed = redis.call('GET', KEYS[1])
if packed then time, lsn, epoch, counter, since, forgotten = struct.unpack('>I8I8I4I8I8I8', packed) end

-- What this client was answered last must be there, unless the id was forgotten since, or its retention has passed.
local function is_gone()
  if #KEYS < 2 or seen_time + retention <= now then return false end
  local record = redis.call('GET', KEYS[2])
  if not record then return true end
  local lsn_there = struct.unpack('>I8', record, 10)
  return lsn_there ~= seen_lsn and not (record:sub(1, 1) == 'F' and lsn_there > seen_lsn)
end

local lost = is_gone() or seen_epoch > epoch or (seen_epoch == epoch and seen_counter > counter)
if lost or not packed or packed:sub(45) ~= ARGV[1] then
  local function go_on_from(other_epoch, other_counter)
    if other_epoch > epoch or (other_epoch == epoch and other_counter > counter) then
      epoch, counter = other_epoch, other_counter
    end
  end
  local since_2026 = math.max(now - 1767225600000000, 0)
  go_on_from(seen_epoch, seen_counter)
  go_on_from(math.floor(since_2026 / 60000000), math.floor(since_2026 % 60000000 / 1000) * 16777216)
  if lost then since = math.max(since, now) end
  lsn = math.max(lsn, seen_lsn, now)
  if lost or not packed then forgotten = lsn end
  packed = struct.pack('>I8I8I4I8I8I8', time, lsn, epoch, counter, since, forgotten) .. ARGV[1]
  redis.call('SET', KEYS[1], packed)
end
return {lost and 1 or 0, packed}
)";

constexpr std::string_view kEnroll = R"(
return redis.call('ZADD', KEYS[1], 'NX', redis.call('ZCARD', KEYS[1]), ARGV[1])
)";

constexpr std::string_view kSettle = R"(
if #ARGV > 0 and redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.call('HGETALL', KEYS[1])
)";

}  // namespace

const std::array<std::string, kScripts>& script_texts() {
  const auto guarded = [](std::string_view body) { return std::string(kClock).append(kBegin).append(body); };
  static const auto& texts =
      *new std::array<std::string, kScripts>{guarded(kFind),       guarded(kMark),
                                             guarded(kImport),     guarded(kClaim),
                                             guarded(kComplete),   guarded(kRenew),
                                             guarded(kAbandon),    guarded(kForget),
                                             guarded(kRelease),    guarded(kClaims),
                                             guarded(kHolder),     guarded(kTrim),
                                             guarded(kPulse),      std::string(kClock).append(kAdopt),
                                             std::string(kEnroll), std::string(kSettle)};
  return texts;
}

}  // namespace oncelog::internal::remote
