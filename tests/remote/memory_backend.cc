#include "memory_backend.h"

#include <unistd.h>

#include <algorithm>
#include <deque>
#include <type_traits>

#include <oncelog/error.h>

#include "engine/compare.h"
#include "shared/argument_checks.h"

namespace oncelog::testing {

using remote::Answer;
using remote::Ask;
using remote::Attempt;
using remote::ConnectionLost;
using remote::Held;
using remote::Stamp;
using remote::Terms;

void MemoryBackend::advance(std::chrono::microseconds by) {
  const std::lock_guard guard(mutex_);
  now_ += by;
}

void MemoryBackend::lose(Lost lost, std::uint64_t others) {
  const std::lock_guard guard(mutex_);
  orders_[calls_ + 1 + others] = lost;
}

void MemoryBackend::lose_nothing() {
  const std::lock_guard guard(mutex_);
  orders_.clear();
}

std::uint64_t MemoryBackend::calls() const {
  const std::lock_guard guard(mutex_);
  return calls_;
}

std::uint64_t MemoryBackend::ids_asked() const {
  const std::lock_guard guard(mutex_);
  return ids_asked_;
}

template <typename Body>
auto MemoryBackend::call(std::string_view name, std::size_t ids, Body body) {
  if (on_call) on_call(name, ids);
  const std::lock_guard guard(mutex_);
  ids_asked_ += ids;
  const auto order = orders_.find(++calls_);
  const auto lose_if = [&](Lost where) {
    if (order != orders_.end() && order->second == where)
      throw ConnectionLost("memory://: the connection was lost, as the test has it");
  };
  lose_if(Lost::before);
  if constexpr (std::is_void_v<decltype(body())>) {
    body();
    lose_if(Lost::after);
  } else {
    auto result = body();
    lose_if(Lost::after);
    return result;
  }
}

void MemoryBackend::use_scope(std::string_view scope) {
  if (scope != remote::kLockScope && std::ranges::find(scopes_, scope) == scopes_.end()) scopes_.emplace_back(scope);
}

/// The id's record, if it is the newest word on it and within the retention.
const MemoryBackend::Entry* MemoryBackend::processed(const Key& key) const {
  const auto newest = newest_.find(key);
  if (newest == newest_.end()) return nullptr;
  const Entry& entry = log_.at(newest->second);
  return !entry.record.forgotten && entry.record.processed_at >= first_known() ? &entry : nullptr;
}

MemoryBackend::Claimed* MemoryBackend::held(const Key& key) {
  const auto claim = claims_.find(key);
  if (claim == claims_.end()) return nullptr;
  Claimed& claimed = claim->second;
  const bool lasts = claimed.of_work || claimed.orphans == OrphanPolicy::keep || claimed.deadline > now_;
  return lasts ? &claimed : nullptr;
}

/// The claim of that token, expired or not, unless another has taken the id.
MemoryBackend::Claimed* MemoryBackend::held(const Key& key, std::uint64_t token) {
  const auto claim = claims_.find(key);
  return claim != claims_.end() && claim->second.token == token ? &claim->second : nullptr;
}

/// What is known of an id on which something is decided; fresh where nothing is.
Answer MemoryBackend::look(const Key& key, const Attributes* given) {
  Answer answer;
  if (const Entry* entry = processed(key)) {
    Record record = entry->record;
    record.scope.clear();
    record.id.clear();
    answer.marked = internal::compare(record, given);
    answer.record = std::move(record);
  } else if (const Claimed* claimed = held(key)) {
    answer.marked.verdict = internal::compare_claimed(claimed->fingerprint, given);
    answer.owner = ClaimOwner{::getpid(), claimed->deadline};
  } else if (given != nullptr && given->sent_at && *given->sent_at < first_known()) {
    answer.marked.verdict = Verdict::too_old;
  }
  return answer;
}

Stamp MemoryBackend::accept(const Key& key, const Attributes& given, std::optional<Attempt> attempt, bool forgotten) {
  last_time_ = std::max(now_, last_time_);
  Record record{key.first, key.second, last_time_, Lsn{head_}};
  record.correlation = given.correlation;
  record.fingerprint = given.fingerprint;
  record.result = given.result;
  if (!given.source.name.empty()) {
    record.source = {std::string(given.source.name), given.source.partition, given.source.offset};
  }
  record.forgotten = forgotten;
  log_.emplace(head_, Entry{std::move(record), attempt});
  newest_[key] = head_;
  return {Lsn{std::exchange(head_, head_ + 8)}, last_time_};
}

void MemoryBackend::find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
                         std::span<std::optional<Record>> out) {
  call("find", ids.size(), [&] {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      out[i].reset();
      const Entry* entry = processed(Key(scope, ids[i]));
      if (entry == nullptr) continue;
      Record& record = out[i].emplace();
      if (whole) record = entry->record;
      record.scope.clear();
      record.id.clear();
      record.processed_at = entry->record.processed_at;
      record.lsn = entry->record.lsn;
    }
  });
}

/// `own`: what this batch has marked, so that only the first of an id that repeats is fresh.
Answer MemoryBackend::mark_one(const Key& key, const Attributes* given, const Attempt& attempt, Own& own) {
  if (const Entry* entry = processed(key); entry != nullptr && entry->attempt == attempt) {
    if (own.emplace(key, attempt).second) {
      return {.marked = {Verdict::fresh, entry->record.lsn}, .processed_at = entry->record.processed_at};
    }
  }
  Answer answer = look(key, given);
  if (answer.marked != Verdict::fresh) return answer;
  claims_.erase(key);  // One that has expired.
  const Stamp stamp = accept(key, given == nullptr ? Attributes{} : *given, attempt);
  answer.marked.lsn = stamp.lsn;
  answer.processed_at = stamp.processed_at;
  own.emplace(key, attempt);
  return answer;
}

void MemoryBackend::mark(std::string_view scope, std::span<const Ask> asked, Ack, const Attempt& attempt,
                         std::span<Answer> out) {
  call("mark", asked.size(), [&] {
    use_scope(scope);
    Own own;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      out[i] = mark_one(Key(scope, asked[i].id), asked[i].given, attempt_of(asked[i], attempt), own);
    }
  });
}

Answer MemoryBackend::claim_one(const Key& key, const Ask& ask, const Terms& terms, const Attempt& attempt, Own& own) {
  const bool repeats = own.contains({key, attempt});
  const auto claim = claims_.find(key);
  if (!repeats && claim != claims_.end() && claim->second.attempt == attempt) {  // The answer was lost.
    claim->second.deadline = now_ + terms.lease;
    own.emplace(key, attempt);
    return {.marked = {}, .token = claim->second.token};
  }
  Answer answer = look(key, ask.given);
  if (answer.marked == Verdict::in_progress && repeats) {
    answer.marked.verdict = Verdict::duplicate;
    answer.owner.reset();
  } else if (answer.marked == Verdict::fresh) {
    claims_[key] = {++last_token_, now_ + terms.lease, terms.orphans, attempt, internal::fingerprint_of(ask.given)};
    answer.token = last_token_;
    own.emplace(key, attempt);
  }
  return answer;
}

void MemoryBackend::claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms,
                          const Attempt& attempt, std::span<Answer> out) {
  call("claim", asked.size(), [&] {
    use_scope(scope);
    Own own;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      out[i] = claim_one(Key(scope, asked[i].id), asked[i], terms, attempt_of(asked[i], attempt), own);
    }
  });
}

void MemoryBackend::complete(std::string_view scope, std::span<const Held> held_ids, Ack, const Attempt& attempt,
                             std::span<Stamp> out) {
  call("complete", held_ids.size(), [&] {
    for (std::size_t i = 0; i < held_ids.size(); ++i) {
      const Held& one = held_ids[i];
      const Key key(scope, one.id);
      const Entry* entry = processed(key);
      if (held(key, one.token) != nullptr) {
        claims_.erase(key);
        out[i] = accept(key, one.given == nullptr ? Attributes{} : *one.given, attempt);
      } else if (entry != nullptr && entry->attempt == attempt) {  // The answer was lost.
        out[i] = {entry->record.lsn, entry->record.processed_at};
      } else {
        out[i] = {};
      }
    }
  });
}

bool MemoryBackend::renew(std::string_view scope, const Held& one, std::chrono::milliseconds lease) {
  return call("renew", 1, [&] {
    Claimed* claimed = held(Key(scope, one.id), one.token);
    if (claimed != nullptr) claimed->deadline = now_ + lease;
    return claimed != nullptr;
  });
}

std::size_t MemoryBackend::abandon(std::string_view scope, std::span<const Held> held_ids) {
  return call("abandon", held_ids.size(), [&] {
    std::size_t freed = 0;
    for (const Held& one : held_ids) {
      if (held(Key(scope, one.id), one.token) != nullptr) freed += claims_.erase(Key(scope, one.id));
    }
    return freed;
  });
}

void MemoryBackend::import(std::string_view scope, std::span<const Record> records,
                           std::span<remote::ImportOutcome> out) {
  using remote::ImportOutcome;
  call("import", records.size(), [&] {
    use_scope(scope);
    for (std::size_t i = 0; i < records.size(); ++i) {
      const Record& record = records[i];
      const Key key(scope, record.id);
      if (processed(key) != nullptr) {
        out[i] = ImportOutcome::known;
      } else if (held(key) != nullptr) {
        out[i] = ImportOutcome::claimed;
      } else if (record.processed_at < first_known()) {
        out[i] = ImportOutcome::expired;
      } else {
        claims_.erase(key);  // One that has expired.
        const Stamp stamp = accept(key, internal::attributes_of(record), std::nullopt);
        out[i] = record.processed_at > now_ ? ImportOutcome::redated : ImportOutcome::imported;
        log_.at(stamp.lsn.value).record.processed_at = std::min(record.processed_at, now_);
      }
    }
  });
}

bool MemoryBackend::forget(std::string_view scope, std::string_view id, Ack, const Attempt& attempt) {
  return call("forget", 1, [&] {
    const auto [outcome, first] = outcomes_.emplace(attempt, false);
    const Key key(scope, id);
    if (first && processed(key) != nullptr) {
      accept(key, {}, std::nullopt, true);
      ++forgotten_[key.first];
      outcome->second = true;
    }
    return outcome->second;
  });
}

bool MemoryBackend::release(std::string_view scope, std::string_view id, const Attempt& attempt) {
  return call("release", 1, [&] {
    const auto [outcome, first] = outcomes_.emplace(attempt, false);
    if (first) outcome->second = claims_.erase(Key(scope, id)) != 0;
    return outcome->second;
  });
}

std::optional<ClaimOwner> MemoryBackend::holder(std::string_view scope, std::string_view id) {
  return call("holder", 1, [&]() -> std::optional<ClaimOwner> {
    const Claimed* claimed = held(Key(scope, id));
    if (claimed == nullptr) return std::nullopt;
    return ClaimOwner{::getpid(), claimed->deadline};
  });
}

remote::Pulse MemoryBackend::pulse(std::string_view scope) {
  return call("pulse", 0, [&] {
    const auto forgotten = forgotten_.find(scope);
    const std::uint64_t count = forgotten == forgotten_.end() ? 0 : forgotten->second;
    return remote::Pulse{now_, settings_.first_generation + count};
  });
}

std::vector<std::string> MemoryBackend::scopes() {
  return call("scopes", 0, [&] { return scopes_; });
}

std::vector<ClaimInfo> MemoryBackend::claims() {
  return call("claims", 0, [&] {
    std::vector<ClaimInfo> all;
    for (const auto& [key, claimed] : claims_) {
      ClaimInfo info;
      info.scope = key.first;
      info.id = key.second.substr(0, 64);
      info.owner = {::getpid(), claimed.deadline};
      info.owner_alive = true;
      info.orphans = claimed.orphans;
      info.token = claimed.token;
      all.push_back(std::move(info));
    }
    std::ranges::sort(all, {}, &ClaimInfo::token);
    return all;
  });
}

Time MemoryBackend::known_since() {
  return call("known_since", 0, [&] { return first_known(); });
}

std::vector<Record> MemoryBackend::correlated(std::string_view correlation) {
  return call("correlated", 0, [&] {
    std::vector<Record> records;
    for (const auto& [lsn, entry] : log_) {
      const Record& record = entry.record;
      if (record.correlation == correlation && processed(Key(record.scope, record.id)) == &entry) {
        records.push_back(record);
      }
    }
    return records;
  });
}

void MemoryBackend::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  const std::vector<Record> records = call("scan", 0, [&] {
    std::vector<Record> wanted;
    for (const auto& [lsn, entry] : log_) {
      const Record& record = entry.record;
      const bool in_range = record.processed_at >= first_known() && (!range.scope || record.scope == *range.scope) &&
                            (!range.since || record.processed_at >= *range.since) &&
                            (!range.until || record.processed_at < *range.until);
      if (in_range) wanted.push_back(record);
    }
    return wanted;
  });
  for (const Record& record : records) {
    if (!visitor(record)) return;
  }
}

std::uint64_t MemoryBackend::records() {
  return call("records", 0, [&] { return std::uint64_t{log_.size()}; });
}

void MemoryBackend::flush() {
  call("flush", 0, [] {});
}

Expired MemoryBackend::upkeep() {
  return call("upkeep", 0, [&] {
    std::erase_if(newest_,
                  [&](const auto& newest) { return log_.at(newest.second).record.processed_at < first_known(); });
    Expired expired;
    expired.blocks =
        std::erase_if(log_, [&](const auto& entry) { return entry.second.record.processed_at < first_known(); });
    return expired;
  });
}

/// Works on a copy of the tables, and keeps what it is to mark claimed.
class MemoryBackend::MemoryWork final : public remote::Work {
 public:
  explicit MemoryWork(MemoryBackend& backend) : backend_(backend), one_at_a_time_(backend.writer_) {
    backend_.call("begin", 0, [&] { tables_ = backend_.tables_; });
  }
  ~MemoryWork() override {
    const std::lock_guard guard(backend_.mutex_);
    for (const Mark& mark : marks_) {
      if (backend_.held(mark.key, mark.token) != nullptr) backend_.claims_.erase(mark.key);
    }
  }

  void complete(std::string_view scope, std::span<const Held> held, std::span<Stamp> out) override {
    backend_.call("work complete", held.size(), [&] {
      for (std::size_t i = 0; i < held.size(); ++i) {
        const Key key(scope, held[i].id);
        Claimed* claimed = backend_.held(key, held[i].token);
        out[i] = Stamp{};
        if (claimed == nullptr) continue;
        claimed->of_work = true;
        marks_.emplace_back(key, held[i].token, held[i].given);
        out[i] = {Lsn{backend_.head_ + 8 * marks_.size()}, backend_.now_};  // As nobody else commits meanwhile.
      }
    });
  }
  void put(std::string_view table, std::string_view key, std::string_view value) override {
    tables_[Key(table, key)] = value;
  }
  std::optional<std::string> get(std::string_view table, std::string_view key) override {
    const auto entry = tables_.find(Key(table, key));
    return entry == tables_.end() ? std::nullopt : std::optional(entry->second);
  }
  bool erase(std::string_view table, std::string_view key) override { return tables_.erase(Key(table, key)) != 0; }
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) override {
    visit(tables_, table, from, visitor);
  }
  void commit() override {
    backend_.call("commit", marks_.size(), [&] {
      for (const Mark& mark : marks_) {
        if (backend_.held(mark.key, mark.token) != nullptr) continue;
        throw Error(ErrorCode::in_use, "a claim of the transaction was released by an operator; nothing was committed");
      }
      for (const Mark& mark : marks_) {
        backend_.claims_.erase(mark.key);
        backend_.accept(mark.key, mark.attributes(), std::nullopt);
      }
      marks_.clear();
      backend_.tables_ = std::move(tables_);
    });
  }

 private:
  /// What is to be marked, with texts of its own.
  struct Mark {
    Mark(Key of, std::uint64_t under, const Attributes* given) : key(std::move(of)), token(under) {
      if (given == nullptr) return;
      correlation = given->correlation;
      fingerprint = given->fingerprint;
      result = given->result;
      source = {std::string(given->source.name), given->source.partition, given->source.offset};
    }
    Attributes attributes() const {
      return {correlation, fingerprint, result, {source.name, source.partition, source.offset}, std::nullopt};
    }

    Key key;
    std::uint64_t token;
    std::string correlation;
    std::uint64_t fingerprint = 0;
    std::string result;
    Source source;
  };

  MemoryBackend& backend_;
  const std::lock_guard<std::mutex> one_at_a_time_;
  Tables tables_;
  std::deque<Mark> marks_;
};

std::unique_ptr<remote::Work> MemoryBackend::begin_work() {
  return std::make_unique<MemoryWork>(*this);
}

void MemoryBackend::visit(const Tables& tables, std::string_view table, std::string_view from,
                          const EntryVisitor& visitor) {
  for (auto entry = tables.lower_bound(Key(table, from)); entry != tables.end() && entry->first.first == table;
       ++entry) {
    if (!visitor(entry->first.second, entry->second)) return;
  }
}

std::optional<std::string> MemoryBackend::get(std::string_view table, std::string_view key) {
  return call("get", 0, [&]() -> std::optional<std::string> {
    const auto entry = tables_.find(Key(table, key));
    return entry == tables_.end() ? std::nullopt : std::optional(entry->second);
  });
}

void MemoryBackend::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  const Tables tables = call("scan_table", 0, [&] { return tables_; });
  visit(tables, table, from, visitor);
}

}  // namespace oncelog::testing
