#include "engine/memory_engine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "engine/compare.h"
#include "engine/metrics.h"
#include "engine/report.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

constexpr std::uint32_t kLockScope = std::numeric_limits<std::uint32_t>::max();

std::optional<Found> found_of(const std::optional<Record>& record) {
  if (!record) return std::nullopt;
  return Found{record->lsn, record->processed_at.time_since_epoch().count(), 0, 0};
}

}  // namespace

MemoryEngine::MemoryEngine(const Options& options, std::shared_ptr<const testing::FakeClock> clock)
    : options_(options),
      clock_(clock ? std::move(clock) : std::make_shared<const testing::FakeClock>()),
      retention_(options.retention.value_or(kDefaultRetention)) {
  check_option_ranges(options_);
}

ScopeKey MemoryEngine::scope(std::string_view name) {
  check_scope_name(name);
  const std::lock_guard guard(mutex_);
  if (const auto known = scopes_.find(name); known != scopes_.end()) return {known->second, 0};
  check_not_in_transaction("the first use of a scope's name");
  const auto number = static_cast<std::uint32_t>(scopes_.size() + 1);
  return {scopes_.emplace(std::string(name), number).first->second, 0};
}

std::vector<std::string> MemoryEngine::scopes() {
  const std::lock_guard guard(mutex_);
  std::vector<std::string> names(scopes_.size());
  for (const auto& [name, number] : scopes_) names[number - 1] = name;
  return names;
}

Time MemoryEngine::known_since() const {
  return clock_->now() - retention_ + std::chrono::microseconds{1};
}

/// The id's record, if it is the newest word on it and within the retention.
const Record* MemoryEngine::processed(const Key& key) const {
  const auto newest = newest_.find(key);
  if (newest == newest_.end()) return nullptr;
  const auto record = log_.find(newest->second);
  if (record == log_.end() || record->second.forgotten) return nullptr;
  return record->second.processed_at >= known_since() ? &record->second : nullptr;
}

MemoryEngine::Claimed* MemoryEngine::held(const Key& key) {
  const auto claim = claims_.find(key);
  if (claim == claims_.end()) return nullptr;
  Claimed& held = claim->second;
  if (held.of_transaction || held.orphans == OrphanPolicy::keep || held.deadline > clock_->now()) return &held;
  return nullptr;
}

/// The claim that was taken under that token, expired or not, unless another has taken the id.
MemoryEngine::Claimed* MemoryEngine::held(const HeldLease& lease) {
  const auto claim = claims_.find(Key(lease.scope, lease.id));
  return claim != claims_.end() && claim->second.token == lease.token ? &claim->second : nullptr;
}

bool MemoryEngine::contains(ScopeKey scope, std::string_view id) {
  check_id(id);
  const std::lock_guard guard(mutex_);
  const bool known = processed(Key(scope.number, id)) != nullptr;
  counters_.count(scope.number, known ? IdEvent::known : IdEvent::unknown);
  return known;
}

void MemoryEngine::contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out) {
  for (const std::string_view id : ids) check_id(id);
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = contains(scope, ids[i]);
}

bool MemoryEngine::contains(ScopeKey scope, std::string_view id, std::string_view correlation) {
  check_correlation(correlation);
  const auto record = find({scope, {}}, id);
  return record && record->correlation == correlation;
}

std::optional<Record> MemoryEngine::find(const ScopeRef& scope, std::string_view id) {
  check_id(id);
  const std::lock_guard guard(mutex_);
  const Record* record = processed(Key(scope.key.number, id));
  counters_.count(scope.key.number, record != nullptr ? IdEvent::known : IdEvent::unknown);
  return record != nullptr ? std::optional(*record) : std::nullopt;
}

void MemoryEngine::find(const ScopeRef& scope, std::span<const std::string_view> ids,
                        std::span<std::optional<Record>> out) {
  for (const std::string_view id : ids) check_id(id);
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = find(scope, ids[i]);
}

std::vector<Record> MemoryEngine::correlated(std::string_view correlation) {
  check_correlation(correlation);
  const std::lock_guard guard(mutex_);
  std::vector<Record> records;
  for (const auto& [lsn, record] : log_) {
    if (record.correlation == correlation && processed(Key(scopes_.at(record.scope), record.id)) == &record) {
      records.push_back(record);
    }
  }
  std::ranges::stable_sort(records, {},
                           &Record::processed_at);  // Of what was imported it differs from the log's order.
  return records;
}

void MemoryEngine::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  std::vector<Record> records;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& [lsn, record] : log_) {
      const bool wanted = record.processed_at >= known_since() && (!range.scope || record.scope == *range.scope) &&
                          (!range.since || record.processed_at >= *range.since) &&
                          (!range.until || record.processed_at < *range.until);
      if (wanted) records.push_back(record);
    }
  }
  for (const Record& record : records) {
    if (!visitor(record)) return;
  }
}

/// What is known of an id on which something is decided; fresh where nothing is.
MemoryEngine::Decided MemoryEngine::look(const Key& key, const Attributes* given) {
  Decided decided;
  if (const Record* record = processed(key)) {
    decided.record = *record;
    decided.marked = compare(*record, given);
  } else if (const Claimed* claimed = held(key)) {
    decided.marked.verdict = compare_claimed(claimed->fingerprint, given);
    decided.owner = ClaimOwner{::getpid(), claimed->deadline};
  } else if (given != nullptr && given->sent_at && *given->sent_at < known_since()) {
    decided.marked.verdict = Verdict::too_old;
  }
  return decided;
}

Lsn MemoryEngine::accept(std::uint32_t scope, std::string_view id, const Attributes& given, bool forgotten) {
  const auto name = std::ranges::find(scopes_, scope, [](const auto& entry) { return entry.second; });
  last_time_ = now();
  Record record{name->first, std::string(id), last_time_, Lsn{head_}};
  record.correlation = given.correlation;
  record.fingerprint = given.fingerprint;
  record.result = given.result;
  record.source = {std::string(given.source.name), given.source.partition, given.source.offset};
  record.forgotten = forgotten;
  log_.emplace(head_, std::move(record));
  newest_[Key(scope, id)] = head_;
  return Lsn{std::exchange(head_, head_ + 8)};
}

Marked MemoryEngine::mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack) {
  Marked marked;
  mark(scope, {&id, 1}, {&attributes, 1}, {&marked, 1}, ack);
  return marked;
}

void MemoryEngine::mark(const ScopeRef& scope, std::span<const std::string_view> ids,
                        std::span<const Attributes> attributes, std::span<Marked> out, Ack ack) {
  check_may_wait(ack);
  for (const std::string_view id : ids) check_id(id);
  for (const Attributes& given : attributes) check_attributes(given);
  std::vector<Decided> decided;
  {
    const std::lock_guard guard(mutex_);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Attributes* given = attributes.empty() ? nullptr : &attributes[i];
      const Key key(scope.key.number, ids[i]);
      decided.push_back(look(key, given));
      Marked& marked = decided.back().marked;
      if (marked == Verdict::fresh) {
        claims_.erase(key);  // One that has expired.
        marked.lsn = accept(scope.key.number, ids[i], given == nullptr ? Attributes{} : *given);
      }
      out[i] = marked;
    }
  }
  report(scope, ids, attributes, decided);
}

void MemoryEngine::report(const ScopeRef& scope, std::span<const std::string_view> ids,
                          std::span<const Attributes> attributes, std::span<const Decided> decided) {
  std::vector<Marked> marked;
  Report report(options_.on_decision, counters_, scope, ids.size());
  {
    const std::lock_guard guard(mutex_);
    for (std::size_t i = 0; i < decided.size(); ++i) {
      marked.push_back(decided[i].marked);
      report.count(i, decided[i].marked.verdict, found_of(decided[i].record));
    }
  }
  report.tell(ids, attributes, std::span<const Marked>(marked));
}

Imported MemoryEngine::import(std::span<const Record> records) {
  check_not_in_transaction("an import");
  for (const Record& record : records) check_import(record);
  Imported counts;
  for (const Record& record : records) {
    const Key key(scope(record.scope).number, record.id);
    const std::lock_guard guard(mutex_);
    if (processed(key) != nullptr) {
      ++counts.known;
    } else if (held(key) != nullptr) {
      ++counts.claimed;
    } else if (record.processed_at < known_since()) {
      ++counts.expired;
    } else {
      claims_.erase(key);  // One that has expired.
      const Lsn lsn = accept(key.first, key.second, attributes_of(record));
      ++counts.imported;
      if (record.processed_at > last_time_) {
        ++counts.redated;
      } else {
        log_.at(lsn.value).processed_at = record.processed_at;
      }
    }
  }
  return counts;
}

bool MemoryEngine::forget(ScopeKey scope, std::string_view id, Ack ack) {
  check_may_wait(ack);
  check_id(id);
  const std::lock_guard guard(mutex_);
  if (processed(Key(scope.number, id)) == nullptr) return false;
  accept(scope.number, id, {}, true);
  return true;
}

HeldLease MemoryEngine::take(const Key& key, const ClaimTerms& terms, std::uint64_t fingerprint) {
  if (claims_.size() >= options_.max_claims.value_or(kDefaultMaxClaims) && !claims_.contains(key)) {
    throw Error(ErrorCode::full,
                fmt::format("{} claims and locks are held, which is all that max_claims allows", claims_.size()));
  }
  claims_[key] = {++last_token_, clock_->now() + terms.lease, terms.orphans, fingerprint};
  return {last_token_, key.first, {}, key.second};
}

MemoryEngine::Decided MemoryEngine::try_to_claim(const Key& key, const Attributes* given, const ClaimTerms& terms,
                                                 HeldLease& lease) {
  Decided decided = look(key, given);
  if (decided.marked == Verdict::fresh) lease = take(key, terms, fingerprint_of(given));
  return decided;
}

bool MemoryEngine::wait_for_claim(std::unique_lock<std::mutex>& lock, Steady::time_point limit) {
  if (Steady::now() >= limit) return false;
  freed_.wait_until(lock, std::min(limit, Steady::now() + milliseconds{1}));  // The clock may be advanced meanwhile.
  return true;
}

Begun MemoryEngine::begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes,
                          const ClaimTerms& terms, milliseconds patience, HeldLease& held) {
  check_id(id);
  check_lease(terms.lease);
  check_attributes(attributes);
  const Key key(scope.key.number, id);
  const auto limit = Steady::now() + std::clamp(patience, milliseconds{0}, kMaxLease);
  Decided decided;
  {
    std::unique_lock lock(mutex_);
    do {
      decided = try_to_claim(key, &attributes, terms, held);
    } while (decided.marked == Verdict::in_progress && wait_for_claim(lock, limit));
  }
  if (held.token != 0) held.id = id;
  report(scope, {&id, 1}, {&attributes, 1}, {&decided, 1});
  return {decided.marked, std::move(decided.record), decided.owner};
}

Lsn MemoryEngine::begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
                        std::span<Verdict> out, std::vector<HeldLease>& held) {
  for (const std::string_view id : ids) check_id(id);
  check_lease(terms.lease);
  Lsn newest;
  std::vector<Decided> decided;
  {
    const std::lock_guard guard(mutex_);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Key key(scope.key.number, ids[i]);
      HeldLease lease;
      decided.push_back(try_to_claim(key, nullptr, terms, lease));
      Marked& marked = decided.back().marked;
      const bool own = std::ranges::any_of(held, [&](const HeldLease& one) { return one.id == ids[i]; });
      if (marked == Verdict::in_progress && own) marked.verdict = Verdict::duplicate;
      if (lease.token != 0) held.push_back({lease.token, lease.scope, {}, ids[i]});
      newest = std::max(newest, marked.lsn);
      out[i] = marked.verdict;
    }
  }
  report(scope, ids, {}, decided);
  return newest;
}

bool MemoryEngine::wait_until_free(ScopeKey scope, std::string_view id, milliseconds patience) {
  check_id(id);
  const Key key(scope.number, id);
  const auto limit = Steady::now() + std::clamp(patience, milliseconds{0}, kMaxLease);
  std::unique_lock lock(mutex_);
  while (held(key) != nullptr) {
    if (!wait_for_claim(lock, limit)) return false;
  }
  return true;
}

Lsn MemoryEngine::complete(std::span<HeldLease> held, std::span<const Attributes> attributes, Ack) {
  for (const Attributes& given : attributes) check_attributes(given);
  Lsn newest;
  const std::lock_guard guard(mutex_);
  for (std::size_t i = 0; i < held.size(); ++i) {
    HeldLease& one = held[i];
    if (one.token == 0 || one.completed.value != 0) continue;
    if (!free(one)) {
      one.token = 0;
      counters_.count(one.scope, IdEvent::late);
      continue;
    }
    one.completed = accept(one.scope, one.id, attributes.empty() ? Attributes{} : attributes[i]);
    counters_.count(one.scope, IdEvent::completed);
    newest = std::max(newest, one.completed);
  }
  return newest;
}

bool MemoryEngine::renew(const HeldLease& lease, milliseconds duration) {
  check_lease(duration);
  const std::lock_guard guard(mutex_);
  Claimed* claimed = held(lease);
  if (claimed == nullptr) return false;
  claimed->deadline = clock_->now() + duration;
  return true;
}

/// False when the claim is no longer the holder's.
bool MemoryEngine::free(const HeldLease& lease) {
  if (lease.token == 0 || held(lease) == nullptr) return false;
  claims_.erase(Key(lease.scope, lease.id));
  freed_.notify_all();
  return true;
}

void MemoryEngine::abandon(std::span<const HeldLease> held) {
  const std::lock_guard guard(mutex_);
  for (const HeldLease& one : held) {
    if (free(one)) counters_.count(one.scope, IdEvent::abandoned);
  }
}

bool MemoryEngine::lock(std::string_view name, milliseconds lease, milliseconds patience, HeldLease& taken,
                        std::optional<ClaimOwner>& owner) {
  check_lock_name(name);
  check_lease(lease);
  const Key key(kLockScope, name);
  const auto limit = Steady::now() + std::clamp(patience, milliseconds{0}, kMaxLease);
  std::unique_lock guard(mutex_);
  for (const Claimed* other = held(key); other != nullptr; other = held(key)) {
    owner = ClaimOwner{::getpid(), other->deadline};
    if (!wait_for_claim(guard, limit)) return false;
  }
  owner.reset();
  taken = take(key, {lease, OrphanPolicy::free_at_once});
  taken.id = name;
  return true;
}

void MemoryEngine::unlock(const HeldLease& held) {
  const std::lock_guard guard(mutex_);
  free(held);
}

bool MemoryEngine::release(ScopeKey scope, std::string_view id) {
  check_id(id);
  const std::lock_guard guard(mutex_);
  if (claims_.erase(Key(scope.number, id)) == 0) return false;
  freed_.notify_all();
  return true;
}

std::vector<ClaimInfo> MemoryEngine::claims() {
  const std::lock_guard guard(mutex_);
  std::vector<ClaimInfo> all;
  for (const auto& [key, claimed] : claims_) {
    ClaimInfo info;
    for (const auto& [name, number] : scopes_) {
      if (number == key.first) info.scope = name;
    }
    info.id = key.second.substr(0, 64);
    info.owner = {::getpid(), claimed.deadline};
    info.owner_alive = true;
    info.orphans = claimed.orphans;
    info.token = claimed.token;
    all.push_back(std::move(info));
  }
  std::ranges::sort(all, {}, &ClaimInfo::token);
  return all;
}

Lsn MemoryEngine::durable() const {
  const std::lock_guard guard(mutex_);
  return Lsn{head_};
}

void MemoryEngine::wait(Lsn lsn) {
  if (durable() > lsn) return;
  refuse(fmt::format("there is no record at LSN {} yet to wait for", lsn.value));
}

void MemoryEngine::check_may_wait(Ack ack) const {
  if (ack == Ack::disk) check_not_in_transaction("waiting for the disk");
}

void MemoryEngine::check_not_in_transaction(const char* what) const {
  // Relaxed: only this thread stores its own id.
  if (transacting_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
    refuse(fmt::format("{} is not possible within transact()", what));
  }
}

Expired MemoryEngine::expire() {
  check_not_in_transaction("expire");
  const std::lock_guard guard(mutex_);
  const Time since = known_since();
  std::erase_if(newest_, [&](const auto& entry) { return log_.at(entry.second).processed_at < since; });
  Expired expired;
  expired.blocks = std::erase_if(log_, [&](const auto& entry) { return entry.second.processed_at < since; });
  return expired;
}

Metrics MemoryEngine::metrics() {
  const std::lock_guard guard(mutex_);
  Metrics metrics;
  for (const auto& [name, number] : scopes_) {
    const IdCounts counts = counts_of(counters_, number);
    metrics.scopes.push_back({name, counts, counts});
    metrics.checks += counts.known + counts.unknown;
    metrics.checks_known += counts.known;
    metrics.marks_fresh += counts.fresh;
    metrics.marks_not_fresh += counts.duplicate + counts.in_progress + counts.conflict + counts.too_old;
  }
  metrics.ids = log_.size();
  metrics.durable = metrics.head = Lsn{head_};
  metrics.known_since = known_since();
  metrics.retention = std::chrono::duration_cast<milliseconds>(retention_);
  metrics.claims_held = claims_.size();
  metrics.max_claims = options_.max_claims.value_or(kDefaultMaxClaims);
  metrics.transactions = transactions_;
  return metrics;
}

VerifyReport MemoryEngine::verify(const VerifyOptions& options, const VerifyProgressHook&) {
  const std::lock_guard guard(mutex_);
  VerifyReport report;
  report.records = log_.size();
  report.end = Lsn{head_};
  report.deep = options.deep;
  return report;
}

BackupReport MemoryEngine::backup(const std::filesystem::path& directory) {
  throw error_at(ErrorCode::unsupported, directory, "a store in memory has no backup");
}

}  // namespace oncelog::internal
