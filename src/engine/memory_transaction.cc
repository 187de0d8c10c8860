#include <algorithm>
#include <cstring>
#include <deque>

#include "base/entry_checks.h"
#include "base/error.h"
#include "engine/memory_engine.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {

/// Works on a copy of the tables, and takes a claim on each id that it is to mark.
class MemoryEngine::Body final : public TransactionBody {
 public:
  explicit Body(MemoryEngine& engine) : TransactionBody(engine), engine_(engine) {
    const std::lock_guard guard(engine_.mutex_);
    tables_ = engine_.tables_;
  }
  ~Body() override {
    const std::lock_guard guard(engine_.mutex_);
    for (const Mark& mark : marks_) {
      engine_.free(mark.claim.lease);
      if (mark.completes) engine_.counters_.count(mark.claim.lease.scope, IdEvent::abandoned);
    }
  }

  using TransactionBody::run;

  Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes) override {
    check_id(id);
    check_attributes(attributes);
    HeldClaim claim;
    claim.id = id;
    Decided decided;
    {
      const std::lock_guard guard(engine_.mutex_);
      const Key key(scope.key.number, id);
      decided = engine_.try_to_claim(key, &attributes, {kMaxLease, OrphanPolicy::free_at_once}, claim.lease);
    }
    const auto is_own = [&](const Mark& own) {
      return own.claim.id == id && own.claim.lease.scope == scope.key.number;
    };
    if (decided.marked == Verdict::fresh) {
      add(std::move(claim), attributes, false);
    } else if (decided.owner && std::ranges::any_of(marks_, is_own)) {
      decided.marked.verdict = Verdict::duplicate;
    }
    engine_.report(scope, {&id, 1}, {&attributes, 1}, {&decided, 1});
    return decided.marked;
  }

  bool complete(std::unique_ptr<HeldClaim>& claim, const Attributes& attributes) override {
    check_attributes(claim->merged(attributes));
    claim->kept.reset();  // The transaction ends it. Before the lock: a renewal may be under way.
    HeldClaim held = std::move(*claim);
    claim.reset();
    held.lease.id = held.id;
    {
      const std::lock_guard guard(engine_.mutex_);
      Claimed* claimed = engine_.held(held.lease);
      if (claimed == nullptr) {
        engine_.counters_.count(held.lease.scope, IdEvent::late);
        return false;
      }
      claimed->of_transaction = true;
    }
    add(std::move(held), attributes, true);
    return true;
  }

  void put(std::string_view table, std::string_view key, std::string_view value) override {
    check_entry(table, key);
    tables_[{std::string(table), std::string(key)}] = value;
  }
  std::optional<std::string_view> get(std::string_view table, std::string_view key) const override {
    check_entry(table, key);
    const auto entry = tables_.find({std::string(table), std::string(key)});
    return entry == tables_.end() ? std::nullopt : std::optional<std::string_view>(entry->second);
  }
  bool erase(std::string_view table, std::string_view key) override {
    check_entry(table, key);
    return tables_.erase({std::string(table), std::string(key)}) != 0;
  }
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const override {
    scan_tables(tables_, table, from, visitor);
  }

  static void scan_tables(const Tables& tables, std::string_view table, std::string_view from,
                          const EntryVisitor& visitor) {
    check_first_entry(table, from);
    for (auto entry = tables.lower_bound({std::string(table), std::string(from)});
         entry != tables.end() && entry->first.first == table; ++entry) {
      if (!visitor(entry->first.second, entry->second)) return;
    }
  }

  void commit() {
    const std::lock_guard guard(engine_.mutex_);
    for (const Mark& mark : marks_) {
      if (engine_.held(mark.claim.lease) != nullptr) continue;
      throw Error(ErrorCode::in_use, "a claim of the transaction was released by an operator; nothing was committed");
    }
    for (const Mark& mark : marks_) {
      const HeldLease& own = mark.claim.lease;
      engine_.free(own);
      engine_.accept(own.scope, own.id, mark.claim.merged({.result = mark.result}));
      if (mark.completes) engine_.counters_.count(own.scope, IdEvent::completed);
    }
    marks_.clear();
    engine_.tables_ = std::move(tables_);
    ++engine_.transactions_;
  }

 private:
  struct Mark {
    HeldClaim claim;
    std::string result;
    bool completes = false;  // It was a claim before.
  };

  void add(HeldClaim claim, const Attributes& given, bool completes) {
    const HeldLease lease = claim.lease;
    const std::string id = claim.id;
    try {
      keep(std::move(claim), given, completes);
    } catch (const std::exception&) {  // Out of memory.
      const std::lock_guard guard(engine_.mutex_);
      engine_.free({lease.token, lease.scope, {}, id});
      throw;
    }
  }

  void keep(HeldClaim claim, const Attributes& given, bool completes) {
    const Attributes all = claim.merged(given);
    std::string correlation(all.correlation);
    Source source{std::string(all.source.name), all.source.partition, all.source.offset};
    claim.correlation = std::move(correlation);
    claim.fingerprint = all.fingerprint;
    claim.source = std::move(source);
    Mark& mark = marks_.emplace_back(Mark{std::move(claim), std::string(all.result), completes});
    mark.claim.lease.id = mark.claim.id;
  }

  MemoryEngine& engine_;
  Tables tables_;
  std::deque<Mark> marks_;  // They stay where they are: leases view their ids.
};

void MemoryEngine::transact(const std::function<void(Transaction&)>& work) {
  check_not_in_transaction("another transaction");
  const std::lock_guard one_at_a_time(writer_);
  struct Running {
    std::atomic<std::thread::id>& of;
    explicit Running(std::atomic<std::thread::id>& thread) : of(thread) {
      of.store(std::this_thread::get_id(), std::memory_order_relaxed);  // Relaxed: see check_not_in_transaction.
    }
    ~Running() { of.store(std::thread::id(), std::memory_order_relaxed); }
  };
  const Running running(transacting_);
  Body body(*this);
  body.run(work);
  body.commit();
}

std::optional<std::string> MemoryEngine::get(std::string_view table, std::string_view key) {
  check_entry(table, key);
  const std::lock_guard guard(mutex_);
  const auto entry = tables_.find({std::string(table), std::string(key)});
  return entry == tables_.end() ? std::nullopt : std::optional(entry->second);
}

void MemoryEngine::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  Tables tables;
  {
    const std::lock_guard guard(mutex_);
    tables = tables_;
  }
  Body::scan_tables(tables, table, from, visitor);
}

}  // namespace oncelog::internal
