#include "remote/remote_transaction.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <utility>
#include <vector>

#include "base/entry_checks.h"
#include "base/error.h"
#include "shared/argument_checks.h"

namespace oncelog::internal::remote {

RemoteEngine::Body::Body(RemoteEngine& engine) : TransactionBody(engine), engine_(engine), running_(engine) {
  work_ = engine_.answered([&] { return engine_.backend_->begin_work(); });
}

RemoteEngine::Body::~Body() {
  begin_to_end();
  work_.reset();
  for (const Mark& mark : marks_) {
    try {
      engine_.abandon({&mark.claim.lease, 1});
    } catch (const std::exception&) {
      // Its lease frees it: the server cannot be reached.
    }
  }
}

void RemoteEngine::Body::begin_to_end() {
  if (!ending_) ending_.emplace(std::chrono::steady_clock::now() + engine_.asked_.timeout);
}

bool RemoteEngine::Body::has_marked(std::uint32_t scope, std::string_view id) const {
  return std::ranges::any_of(marks_,
                             [&](const Mark& mark) { return mark.claim.lease.scope == scope && mark.claim.id == id; });
}

Marked RemoteEngine::Body::mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes) {
  check_id(id);
  check_attributes(attributes);
  Mark& mark = marks_.emplace_back();
  mark.claim.id = id;
  mark.claim.correlation = attributes.correlation;
  mark.claim.fingerprint = attributes.fingerprint;
  mark.claim.source = {std::string(attributes.source.name), attributes.source.partition, attributes.source.offset};
  mark.result = attributes.result;
  const Ask ask{mark.claim.id, &attributes};
  Answer answer;
  try {
    engine_.claim(engine_.name_of(scope.key.number), {&ask, 1}, {kLease, OrphanPolicy::free_at_once}, {&answer, 1});
  } catch (const Error&) {
    marks_.pop_back();
    throw;
  }
  mark.claim.lease = {answer.token, scope.key.number, {}, mark.claim.id};
  if (answer.token == 0) marks_.pop_back();
  if (answer.owner && has_marked(scope.key.number, id)) {
    answer.marked.verdict = Verdict::duplicate;
  }
  engine_.report(scope, {&id, 1}, {&attributes, 1}, {&answer, 1});
  return answer.marked;
}

bool RemoteEngine::Body::complete(std::unique_ptr<HeldClaim>& claim, const Attributes& attributes) {
  const Attributes all = claim->merged(attributes);
  check_attributes(all);
  claim->kept.reset();
  Mark mark{HeldClaim{claim->lease,
                      claim->id,
                      std::string(all.correlation),
                      all.fingerprint,
                      {std::string(all.source.name), all.source.partition, all.source.offset},
                      claim->length,
                      nullptr},
            std::string(all.result), true};
  const HeldLease lease = claim->lease;
  const bool held = engine_.renew({lease.token, lease.scope, {}, claim->id}, kLease);
  if (held) {
    Mark& kept = marks_.emplace_back(std::move(mark));
    kept.claim.lease.id = kept.claim.id;
  } else {
    engine_.count(lease.scope, IdEvent::late);
  }
  claim.reset();
  return held;
}

void RemoteEngine::Body::put(std::string_view table, std::string_view key, std::string_view value) {
  check_entry(table, key);
  work_->put(table, key, value);
}

std::optional<std::string_view> RemoteEngine::Body::get(std::string_view table, std::string_view key) const {
  check_entry(table, key);
  auto value = work_->get(table, key);
  if (!value) return std::nullopt;
  return values_.emplace_back(std::move(*value));
}

bool RemoteEngine::Body::erase(std::string_view table, std::string_view key) {
  check_entry(table, key);
  return work_->erase(table, key);
}

void RemoteEngine::Body::scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const {
  check_first_entry(table, from);
  work_->scan(table, from, visitor);
}

/// Marks what is claimed, as a part of the server's transaction. Returns the newest LSN of it.
Lsn RemoteEngine::Body::complete_in_work() {
  Lsn newest;
  std::map<std::uint32_t, std::vector<const Mark*>> by_scope;
  for (const Mark& mark : marks_) by_scope[mark.claim.lease.scope].push_back(&mark);
  for (const auto& [scope, marks] : by_scope) {
    std::vector<Attributes> given;
    for (const Mark* const mark : marks) given.push_back(mark->claim.merged({.result = mark->result}));
    std::vector<Held> held;
    for (std::size_t i = 0; i < marks.size(); ++i)
      held.push_back({marks[i]->claim.id, marks[i]->claim.lease.token, &given[i]});
    std::vector<Stamp> stamps(marks.size());
    work_->complete(engine_.name_of(scope), held, stamps);
    if (std::ranges::any_of(stamps, [](const Stamp& stamp) { return stamp.lsn.value == 0; })) {
      throw Error(
          ErrorCode::in_use,
          fmt::format(
              "{}: a claim of the transaction was released by an operator, or its lease ended; nothing was committed",
              engine_.backend_->name()));
    }
    for (const Stamp& stamp : stamps) newest = std::max(newest, stamp.lsn);
  }
  return newest;
}

void RemoteEngine::Body::commit() {
  begin_to_end();
  const DurableWatermark::Synced synced(engine_.watermark_, engine_.backend_->has_one_log());
  Lsn newest;
  try {
    newest = complete_in_work();
    work_->commit();
  } catch (const ConnectionLost& lost) {
    throw Error(ErrorCode::io,
                fmt::format("{}: the transaction is rolled back: {}", engine_.backend_->name(), lost.what()));
  }
  engine_.watermark_.note(newest);
  synced.done(newest);
  for (const Mark& mark : marks_) {
    if (mark.completes) engine_.count(mark.claim.lease.scope, IdEvent::completed);
  }
  marks_.clear();
  const std::lock_guard guard(engine_.mutex_);
  ++engine_.transactions_;
}

void RemoteEngine::transact(const std::function<void(Transaction&)>& work) {
  check_writable();
  check_not_in_transaction("another transaction");
  Body body(*this);
  try {
    body.run(work);
  } catch (const ConnectionLost& lost) {
    throw Error(ErrorCode::io, fmt::format("{}: the transaction is rolled back: {}", backend_->name(), lost.what()));
  }
  body.commit();
}

std::optional<std::string> RemoteEngine::get(std::string_view table, std::string_view key) {
  check_usable();
  check_entry(table, key);
  return answered([&] { return backend_->get(table, key); });
}

void RemoteEngine::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  check_usable();
  check_first_entry(table, from);
  try {
    backend_->scan_table(table, from, visitor);
  } catch (const ConnectionLost& lost) {
    throw Error(ErrorCode::io, fmt::format("{}: {}", backend_->name(), lost.what()));
  }
}

}  // namespace oncelog::internal::remote
