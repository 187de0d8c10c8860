#include "remote/remote_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "base/fork_generation.h"
#include "base/quiet_thread.h"
#include "engine/metrics.h"
#include "engine/report.h"
#include "shared/argument_checks.h"

namespace oncelog::internal::remote {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFlushInterval{200};
constexpr milliseconds kFlushPatience{5000};  // In the background. Redis may sync but once a second.
constexpr milliseconds kLeastUpkeepInterval{100};
constexpr milliseconds kMostUpkeepInterval{10'000};
constexpr milliseconds kFirstPause{5};
constexpr milliseconds kLongestPause{100};

oncelog::Options options_of(const oncelog::remote::Options& asked, std::chrono::microseconds retention) {
  oncelog::Options options;
  options.retention = std::chrono::duration_cast<milliseconds>(retention);
  options.ack = asked.ack;
  options.read_only = asked.read_only;
  options.create = asked.create;
  options.on_decision = asked.on_decision;
  options.on_event = asked.on_event;
  return options;
}

std::vector<Ask> asks_of(std::span<const std::string_view> ids, std::span<const Attributes> attributes) {
  std::vector<Ask> asked;
  asked.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) asked.push_back({ids[i], attributes.empty() ? nullptr : &attributes[i]});
  return asked;
}

/// Pauses that grow, within a time that a caller has: how one asks a server now and then.
class Polling {
 public:
  explicit Polling(milliseconds patience)
      : limit_(std::chrono::steady_clock::now() + std::clamp(patience, milliseconds{0}, kMaxLease)) {}

  /// Returns false when the time is over.
  bool pause() {
    const auto now = std::chrono::steady_clock::now();
    if (now >= limit_) return false;
    std::this_thread::sleep_until(std::min(limit_, now + next_));
    next_ = std::min(2 * next_, kLongestPause);
    return true;
  }

 private:
  std::chrono::steady_clock::time_point limit_;
  milliseconds next_ = kFirstPause;
};

}  // namespace

RemoteEngine::RemoteEngine(std::shared_ptr<Backend> backend, const oncelog::remote::Options& options,
                           std::shared_ptr<EventDispatch> events)
    : asked_(options),
      options_(options_of(options, backend->retention())),
      backend_(std::move(backend)),
      forks_(fork_generation()),
      events_(std::move(events)) {
  if (!options_.read_only) {
    background_ = start_quiet_thread("a shared store's background", [this] { work_in_background(); });
  }
}

RemoteEngine::~RemoteEngine() {
  if (!background_.joinable()) return;
  if (fork_generation() != forks_) {
    background_.detach();  // It is the parent's.
    return;
  }
  {
    const std::lock_guard guard(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  background_.join();
}

void RemoteEngine::check_usable() const {
  if (fork_generation() == forks_) [[likely]]
    return;
  throw Error(ErrorCode::forked,
              fmt::format("{}: it was opened before a fork; open it anew in the child", backend_->name()));
}

void RemoteEngine::check_writable() const {
  check_usable();
  if (options_.read_only)
    throw Error(ErrorCode::read_only, fmt::format("{}: it is open for reading only", backend_->name()));
}

void RemoteEngine::check_not_in_transaction(const char* what) const {
  if (RunningWork::is_of(*this)) refuse(fmt::format("{} is not possible within transact()", what));
}

// --- Scopes

ScopeKey RemoteEngine::scope(std::string_view name) {
  check_usable();
  check_scope_name(name);
  const std::lock_guard guard(mutex_);
  if (const auto known = scopes_.find(name); known != scopes_.end()) return {known->second, 0};
  names_.emplace_back(name);
  const auto number = static_cast<std::uint32_t>(names_.size());
  return {scopes_.emplace(std::string(name), number).first->second, 0};
}

std::string RemoteEngine::name_of(std::uint32_t scope) const {
  if (scope == 0) return std::string(kLockScope);
  const std::lock_guard guard(mutex_);
  return names_.at(scope - 1);
}

std::vector<std::string> RemoteEngine::scopes() {
  check_usable();
  return answered([&] { return backend_->scopes(); });
}

// --- Checks

void RemoteEngine::contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out) {
  check_usable();
  for (const std::string_view id : ids) check_id(id);
  if (ids.empty()) return;
  const std::string name = name_of(scope.number);
  std::vector<std::optional<Record>> found(ids.size());
  answered([&] { backend_->find(name, ids, false, found); });
  for (std::size_t i = 0; i < ids.size(); ++i) {
    out[i] = found[i].has_value();
    count(scope.number, out[i] ? IdEvent::known : IdEvent::unknown);
  }
}

bool RemoteEngine::contains(ScopeKey scope, std::string_view id) {
  bool known = false;
  contains(scope, {&id, 1}, {&known, 1});
  return known;
}

bool RemoteEngine::contains(ScopeKey scope, std::string_view id, std::string_view correlation) {
  check_correlation(correlation);
  const auto record = find({scope, {}}, id);
  return record && record->correlation == correlation;
}

void RemoteEngine::find(const ScopeRef& scope, std::span<const std::string_view> ids,
                        std::span<std::optional<Record>> out) {
  check_usable();
  for (const std::string_view id : ids) check_id(id);
  if (ids.empty()) return;
  const std::string name = name_of(scope.key.number);
  answered([&] { backend_->find(name, ids, true, out); });
  for (std::size_t i = 0; i < ids.size(); ++i) {
    count(scope.key.number, out[i] ? IdEvent::known : IdEvent::unknown);
    if (!out[i]) continue;
    out[i]->scope = name;
    out[i]->id = ids[i];
    watermark_.note(out[i]->lsn);
  }
}

std::optional<Record> RemoteEngine::find(const ScopeRef& scope, std::string_view id) {
  std::optional<Record> found;
  find(scope, {&id, 1}, {&found, 1});
  return found;
}

std::vector<Record> RemoteEngine::correlated(std::string_view correlation) {
  check_usable();
  check_correlation(correlation);
  std::vector<Record> records = answered([&] { return backend_->correlated(correlation); });
  std::ranges::stable_sort(records, {}, &Record::processed_at);  // Those imported were processed before they were here.
  return records;
}

void RemoteEngine::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  check_usable();
  try {
    backend_->scan(range, visitor);  // Once: the visitor has seen what came before the loss.
  } catch (const ConnectionLost& lost) {
    throw Error(ErrorCode::io, fmt::format("{}: {}", backend_->name(), lost.what()));
  }
}

Time RemoteEngine::known_since() const {
  check_usable();
  return answered([&] { return backend_->known_since(); });
}

// --- Marks

/// What a call was told that marks ids.
struct RemoteEngine::Told {
  void add(Lsn lsn, bool is_new) {
    newest = std::max(newest, lsn);
    if (is_new) oldest_new = std::min(oldest_new, lsn);
  }

  Lsn newest = {};
  Lsn oldest_new = {~std::uint64_t{0}};
};

/// Runs ask(), which returns what it was told, and sees to it that durable() is true of that. Returns the newest LSN.
template <typename AskServer>
Lsn RemoteEngine::committed(Ack ack, const AskServer& ask) {
  if (ack == Ack::disk) {
    const DurableWatermark::Synced synced(watermark_, backend_->has_one_log());
    const Told told = ask();
    watermark_.note(told.newest);
    if (told.newest.value != 0) synced.done(told.newest);
    return told.newest;
  }
  const DurableWatermark::Unsynced unsynced(watermark_);
  const Told told = ask();
  watermark_.note(told.newest);
  if (unsynced.promised(told.oldest_new)) flush(asked_.timeout);
  return told.newest;
}

Marked RemoteEngine::mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack) {
  Marked marked;
  mark(scope, {&id, 1}, {&attributes, 1}, {&marked, 1}, ack);
  return marked;
}

void RemoteEngine::mark(const ScopeRef& scope, std::span<const std::string_view> ids,
                        std::span<const Attributes> attributes, std::span<Marked> out, Ack ack) {
  check_writable();
  check_may_wait(ack);
  for (const std::string_view id : ids) check_id(id);
  for (const Attributes& given : attributes) check_attributes(given);
  if (ids.empty()) return;
  const std::string name = name_of(scope.key.number);
  const std::vector<Ask> asked = asks_of(ids, attributes);
  const Attempt attempt = random_uuid();
  std::vector<Answer> answers(ids.size());
  committed(ack, [&] {
    answered([&] { backend_->mark(name, asked, ack, attempt, answers); });
    Told told;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      out[i] = answers[i].marked;
      told.add(out[i].lsn, out[i] == Verdict::fresh);
    }
    return told;
  });
  report(scope, ids, attributes, answers);
}

void RemoteEngine::report(const ScopeRef& scope, std::span<const std::string_view> ids,
                          std::span<const Attributes> attributes, std::span<const Answer> answers) {
  std::vector<Marked> marked;
  Report report(options_.on_decision, counters_, scope, ids.size());
  {
    const std::lock_guard guard(mutex_);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const Answer& answer = answers[i];
      marked.push_back(answer.marked);
      std::optional<Found> found;
      if (answer.record)
        found = Found{answer.record->lsn, answer.record->processed_at.time_since_epoch().count(), 0, 0};
      report.count(i, answer.marked.verdict, found);
    }
  }
  report.tell(ids, attributes, std::span<const Marked>(marked));
}

void RemoteEngine::count(std::uint32_t scope, IdEvent event) {
  const std::lock_guard guard(mutex_);
  counters_.count(scope, event);
}

/// Runs of one scope, each of so many records and bytes that a server takes them in one statement.
Imported RemoteEngine::import(std::span<const Record> records) {
  constexpr std::size_t kMostRecords = 1024;
  constexpr std::size_t kMostBytes = std::size_t{4} << 20;
  check_writable();
  check_not_in_transaction("an import");
  for (const Record& record : records) check_import(record);
  Imported counts;
  std::vector<ImportOutcome> outcomes;
  for (std::size_t begin = 0; begin < records.size();) {
    const std::string& scope = records[begin].scope;
    std::size_t end = begin;
    for (std::size_t bytes = 0; end < records.size() && end - begin < kMostRecords && bytes < kMostBytes; ++end) {
      if (records[end].scope != scope) break;
      bytes += records[end].id.size() + records[end].result.size() + records[end].correlation.size();
    }
    const auto some = records.subspan(begin, end - begin);
    outcomes.assign(some.size(), ImportOutcome::known);
    answered([&] { backend_->import(scope, some, outcomes); });
    for (const ImportOutcome outcome : outcomes) {
      const bool redated = outcome == ImportOutcome::redated;
      counts.imported += redated || outcome == ImportOutcome::imported;
      counts.redated += redated;
      counts.known += outcome == ImportOutcome::known;
      counts.claimed += outcome == ImportOutcome::claimed;
      counts.expired += outcome == ImportOutcome::expired;
    }
    begin = end;
  }
  return counts;
}

bool RemoteEngine::forget(ScopeKey scope, std::string_view id, Ack ack) {
  check_writable();
  check_may_wait(ack);
  check_id(id);
  const std::string name = name_of(scope.number);
  const Attempt attempt = random_uuid();
  return answered([&] { return backend_->forget(name, id, ack, attempt); });
}

// --- Claims and locks

void RemoteEngine::claim(const std::string& scope, std::span<const Ask> asked, const Terms& terms,
                         std::span<Answer> out) {
  const Attempt attempt = random_uuid();
  answered([&] { backend_->claim(scope, asked, terms, attempt, out); });
  for (const Answer& answer : out) watermark_.note(answer.marked.lsn);
}

Begun RemoteEngine::begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes,
                          const ClaimTerms& terms, milliseconds patience, HeldLease& held) {
  check_writable();
  check_id(id);
  check_lease(terms.lease);
  check_attributes(attributes);
  const std::string name = name_of(scope.key.number);
  const Ask ask{id, &attributes};
  Answer answer;
  Polling polling(patience);
  do {
    answer = Answer{};
    claim(name, {&ask, 1}, {terms.lease, terms.orphans}, {&answer, 1});
  } while (answer.marked == Verdict::in_progress && polling.pause());
  if (answer.token != 0) held = {answer.token, scope.key.number, {}, id};
  if (answer.record) {
    answer.record->scope = name;
    answer.record->id = id;
  }
  report(scope, {&id, 1}, {&attributes, 1}, {&answer, 1});
  return {answer.marked, std::move(answer.record), answer.owner};
}

Lsn RemoteEngine::begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
                        std::span<Verdict> out, std::vector<HeldLease>& held) {
  check_writable();
  for (const std::string_view id : ids) check_id(id);
  check_lease(terms.lease);
  if (ids.empty()) return {};
  const std::vector<Ask> asked = asks_of(ids, {});
  std::vector<Answer> answers(ids.size());
  held.reserve(ids.size());
  claim(name_of(scope.key.number), asked, {terms.lease, terms.orphans}, answers);
  Lsn newest;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (answers[i].token != 0) held.push_back({answers[i].token, scope.key.number, {}, ids[i]});
    newest = std::max(newest, answers[i].marked.lsn);
    out[i] = answers[i].marked.verdict;
  }
  report(scope, ids, {}, answers);
  return newest;
}

bool RemoteEngine::wait_until_free(ScopeKey scope, std::string_view id, milliseconds patience) {
  check_writable();
  check_id(id);
  const std::string name = name_of(scope.number);
  Polling polling(patience);
  do {
    if (!answered([&] { return backend_->holder(name, id); })) return true;
  } while (polling.pause());
  return false;
}

Lsn RemoteEngine::complete(std::span<HeldLease> held, std::span<const Attributes> attributes, Ack ack) {
  check_writable();
  for (const Attributes& given : attributes) check_attributes(given);
  std::vector<Held> open;
  std::vector<HeldLease*> leases;
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (held[i].token == 0 || held[i].completed.value != 0) continue;
    open.push_back({held[i].id, held[i].token, attributes.empty() ? nullptr : &attributes[i]});
    leases.push_back(&held[i]);
  }
  if (open.empty()) return {};
  // All of one scope: they are one claim's, or one batch's.
  const std::string name = name_of(leases.front()->scope);
  const Attempt attempt = random_uuid();
  std::vector<Stamp> out(open.size());
  const Lsn newest = committed(ack, [&] {
    answered([&] { backend_->complete(name, open, ack, attempt, out); });
    Told told;
    for (const Stamp& stamp : out) told.add(stamp.lsn, stamp.lsn.value != 0);
    return told;
  });
  for (std::size_t i = 0; i < open.size(); ++i) {
    leases[i]->completed = out[i].lsn;
    if (out[i].lsn.value == 0) leases[i]->token = 0;
    count(leases[i]->scope, out[i].lsn.value == 0 ? IdEvent::late : IdEvent::completed);
  }
  return newest;
}

bool RemoteEngine::renew(const HeldLease& held, milliseconds lease) {
  check_writable();
  check_lease(lease);
  const std::string name = name_of(held.scope);
  return answered([&] { return backend_->renew(name, {held.id, held.token}, lease); });
}

void RemoteEngine::abandon(std::span<const HeldLease> held) {
  check_writable();
  std::vector<Held> open;
  for (const HeldLease& one : held) {
    if (one.token != 0 && one.completed.value == 0) open.push_back({one.id, one.token});
  }
  if (open.empty()) return;
  const std::uint32_t scope = held.front().scope;
  const std::string name = name_of(scope);
  const std::size_t freed = answered([&] { return backend_->abandon(name, open); });
  if (scope == 0) return;
  for (std::size_t i = 0; i < freed; ++i) count(scope, IdEvent::abandoned);
}

bool RemoteEngine::lock(std::string_view name, milliseconds lease, milliseconds patience, HeldLease& held,
                        std::optional<ClaimOwner>& owner) {
  check_writable();
  check_lock_name(name);
  check_lease(lease);
  const Ask ask{name};
  Answer answer;
  Polling polling(patience);
  do {
    answer = Answer{};
    claim(std::string(kLockScope), {&ask, 1}, {lease, OrphanPolicy::free_at_once}, {&answer, 1});
  } while (answer.token == 0 && polling.pause());
  owner = answer.owner;
  if (answer.token == 0) return false;
  held = {answer.token, 0, {}, name};
  return true;
}

void RemoteEngine::unlock(const HeldLease& held) {
  abandon({&held, 1});
}

bool RemoteEngine::release(ScopeKey scope, std::string_view id) {
  check_writable();
  check_id(id);
  const std::string name = name_of(scope.number);
  const Attempt attempt = random_uuid();
  return answered([&] { return backend_->release(name, id, attempt); });
}

std::vector<ClaimInfo> RemoteEngine::claims() {
  check_usable();
  std::vector<ClaimInfo> claims = answered([&] { return backend_->claims(); });
  std::ranges::sort(claims, {}, &ClaimInfo::token);
  return claims;
}

// --- The disk

Lsn RemoteEngine::durable() const {
  return watermark_.get();
}

void RemoteEngine::flush(milliseconds timeout) {
  const DurableWatermark::Flush flush(watermark_);
  ask_again(timeout, backend_->name(), [&] { backend_->flush(); });
  flush.done();
}

void RemoteEngine::wait(Lsn lsn) {
  check_usable();
  if (durable() > lsn) return;
  check_not_in_transaction("waiting for the disk");
  if (lsn > watermark_.newest()) {
    refuse(fmt::format("there is no record at LSN {} yet to wait for", lsn.value));
  }
  check_writable();
  flush(asked_.timeout);
}

void RemoteEngine::check_may_wait(Ack ack) const {
  if (ack == Ack::disk) check_not_in_transaction("waiting for the disk");
}

void RemoteEngine::sync() {
  check_writable();
  check_not_in_transaction("sync");
  flush(asked_.timeout);
}

Expired RemoteEngine::expire() {
  check_writable();
  check_not_in_transaction("expire");
  return answered([&] { return backend_->upkeep(); });
}

void RemoteEngine::work_in_background() {
  const milliseconds upkeep_interval = std::clamp(std::chrono::duration_cast<milliseconds>(backend_->retention() / 32),
                                                  kLeastUpkeepInterval, kMostUpkeepInterval);
  // Nobody waits for it, and a disk may take longer than a caller wants to wait.
  const milliseconds patience = std::max(asked_.timeout, kFlushPatience);
  auto upkeep_at = Steady::now() + upkeep_interval;
  std::unique_lock lock(mutex_);
  while (!closing_) {
    wake_.wait_for(lock, std::min(kFlushInterval, upkeep_interval), [&] { return closing_; });
    const bool upkeep_due = Steady::now() >= upkeep_at;
    lock.unlock();
    std::string error;
    try {
      if (watermark_.newest() >= watermark_.get()) flush(patience);
      if (upkeep_due) answered([&] { return backend_->upkeep(); });
    } catch (const std::exception& failure) {
      error = failure.what();
    }
    if (upkeep_due) upkeep_at = Steady::now() + upkeep_interval;
    lock.lock();
    const bool news = error.empty() != last_error_.empty();
    last_error_ = error;
    if (!news || events_ == nullptr) continue;
    lock.unlock();
    events_->raise(error.empty() ? StoreEventKind::flush_recovered : StoreEventKind::flush_failed,
                   error.empty() ? fmt::format("{}: it answers again", backend_->name()) : error);
    lock.lock();
  }
}

// --- Operations

Metrics RemoteEngine::metrics() {
  check_usable();
  Metrics metrics;
  metrics.ids = answered([&] { return backend_->records(); });
  metrics.claims_held = claims().size();
  metrics.known_since = known_since();
  metrics.retention = options_.retention.value_or(kDefaultRetention);
  metrics.head = Lsn{watermark_.newest().value + 8};
  metrics.durable = durable();
  const std::lock_guard guard(mutex_);
  for (const auto& [name, number] : scopes_) {
    const IdCounts counts = counts_of(counters_, number);
    metrics.scopes.push_back({name, counts, counts});
    metrics.checks += counts.known + counts.unknown;
    metrics.checks_known += counts.known;
    metrics.marks_fresh += counts.fresh;
    metrics.marks_not_fresh += counts.duplicate + counts.in_progress + counts.conflict + counts.too_old;
  }
  metrics.transactions = transactions_;
  metrics.last_error = last_error_;
  return metrics;
}

VerifyReport RemoteEngine::verify(const VerifyOptions&, const VerifyProgressHook&) {
  throw Error(
      ErrorCode::unsupported,
      fmt::format("{}: the server keeps its data whole, and has means of its own to check it", backend_->name()));
}

BackupReport RemoteEngine::backup(const std::filesystem::path&) {
  throw Error(ErrorCode::unsupported,
              fmt::format("{}: the server has backups of its own, and `oncelog export` writes what it holds",
                          backend_->name()));
}

}  // namespace oncelog::internal::remote
