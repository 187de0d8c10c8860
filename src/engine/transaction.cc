#include <oncelog/transaction.h>

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <utility>

#include <oncelog/scope.h>

#include "background/log_writer.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "engine/decide.h"
#include "shared/argument_checks.h"

namespace oncelog {
namespace internal {
namespace {

/// The transactions that the thread is in, of one store within another's, innermost first.
struct Running {
  explicit Running(const Engine* of) : engine(of), outer(innermost) { innermost = this; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { innermost = outer; }

  const Engine* engine;
  const Running* outer;
  static thread_local const Running* innermost;
};
thread_local const Running* Running::innermost = nullptr;

}  // namespace

/// A transaction from its function's point of view: LMDB's write transaction, and the ids that are to be marked with
/// it, on each of which it holds a lease.
struct TransactionBody {
  Engine& engine;
  lmdb::WriteTxn& txn;
  /// A mark to come. Its draft and its attributes are views into its other members.
  struct Mark {
    HeldClaim claim;
    std::string result;
    Attributes attributes = {};
    RecordDraft draft = {};
  };
  std::deque<Mark> marks;                     // In order, and they stay where they are.
  std::size_t bytes = 0;                      // That the marks' records take.
  std::vector<std::uint32_t> claimed_scopes;  // Of those marks that were claims.

  TransactionBody(Engine& owner, lmdb::WriteTxn& write) : engine(owner), txn(write) {}
  TransactionBody(const TransactionBody&) = delete;
  TransactionBody& operator=(const TransactionBody&) = delete;
  /// Whatever has not become a record is free again.
  ~TransactionBody() {
    try {
      let_go();
      count_claims(IdEvent::abandoned);
    } catch (const std::exception&) {
      // Damaged shared memory keeps claims held, which end with the process; want of memory only keeps them uncounted.
    }
  }

  /// Takes no memory: after the commit there must be no failing for want of it.
  void let_go() const {
    for (const Mark& mark : marks) engine.let_go({&mark.claim.lease, 1});
  }

  /// Counts how the claims ended.
  void count_claims(IdEvent event) {
    for (const std::uint32_t scope : claimed_scopes) engine.reader().counters.count(scope, event);
    claimed_scopes.clear();
  }

  void add(HeldClaim claim, const Attributes& given) {
    const HeldLease lease = claim.lease;
    try {
      const Attributes all = claim.merged(given);
      claim.correlation = all.correlation;
      claim.fingerprint = all.fingerprint;
      claim.source = {std::string(all.source.name), all.source.partition, all.source.offset};
      Mark& mark = marks.emplace_back(Mark{std::move(claim), std::string(all.result)});
      mark.claim.lease.id = mark.claim.id;
      mark.attributes = mark.claim.merged({.result = mark.result});
      mark.draft = {mark.claim.lease.scope, mark.claim.id, mark.claim.lease.hash.digest(), kUncommitted};
      if (Engine::MarkPolicy::keeps(mark.attributes)) {
        mark.draft.texts = &mark.attributes;
        mark.draft.attributes = StoredAttributes::of(mark.attributes);
      }
      bytes += mark.draft.bytes();
    } catch (const std::exception&) {  // Out of memory.
      engine.let_go({&lease, 1});
      throw;
    }
    check_size();
  }

  void check_size() const {
    if (const std::uint64_t most = engine.live_->ring().reserve_bytes(); bytes > most) {
      refuse(
          fmt::format("the marks of one transaction take {} bytes or more; {} is the most, an eighth of ring_bytes, "
                      "and a thirty-second of max_bytes where that is less",
                      bytes, most));
    }
  }

  void commit(Lsn flushed);
  Lsn reserve(std::vector<Lsn>& lsns);
};

/// Accepts the marks' records, all under one hold of the store's mutex, as ones that do not exist yet. Returns where
/// they end.
Lsn TransactionBody::reserve(std::vector<Lsn>& lsns) {
  using Need = Engine::Need;
  SharedHeader& live = engine.live_->header();
  const LeaseTable leases = engine.live_->leases();
  Uncommitted uncommitted(*engine.live_, engine.identity_.hash_seed);
  Reader& reader = engine.reader();
  std::vector<Engine::ChainEnd> chains(marks.size());
  constexpr std::size_t kNone = ~std::size_t{0};
  std::vector<std::size_t> before(marks.size(), kNone);  // The mark before it that is of the same chain.
  std::unordered_map<std::string_view, std::size_t> last_of_chain;
  lsns.reserve(marks.size());
  for (std::size_t i = 0; i < marks.size(); ++i) {
    reader.scratch.reserve(marks[i].draft.bytes() / kRecordUnit);  // As in complete.
    const std::string_view correlation = marks[i].attributes.correlation;
    if (correlation.empty()) continue;
    chains[i].probe = engine.correlation_probe(correlation);
    const auto [last, first] = last_of_chain.try_emplace(correlation, i);
    if (!first) before[i] = std::exchange(last->second, i);
  }
  for (;;) {
    // As in decide.
    const Lsn looked_at{live.marks.head.load(std::memory_order_acquire)};
    const View& view = reader.view();
    for (auto& chain : chains) {
      if (!chain.probe.id.empty()) chain.found = reader.look(view, chain.probe);
    }
    const std::int64_t now_us = engine.clock_->stamp_us();
    Need need = Need::none;
    {
      const StoreLock lock(*engine.live_);
      const Lsn begin{live.marks.head.load(std::memory_order_relaxed)};  // Relaxed: only written under this lock.
      const std::int64_t time_us =
          std::clamp(now_us, live.marks.last_time_us.load(std::memory_order_relaxed), kMaxTimeUs);
      if (live.layout.epoch() != view.epoch) {
        need = Need::newer_view;
      } else {
        need = engine.prepare(view, time_us, bytes, marks.size(), true);
      }
      bool passed = false;
      for (std::size_t i = 0; need == Need::none && i < marks.size(); ++i) {
        if (chains[i].probe.id.empty()) continue;
        if (const auto newer = reader.look_again(view, chains[i].probe, looked_at, passed)) chains[i].found = newer;
        if (passed) need = Need::newer_view;
      }
      for (std::size_t i = 0; need == Need::none && i < marks.size(); ++i) {
        const HeldLease& own = marks[i].claim.lease;
        if (leases.find_held(own.hash, own.scope, own.token) == nullptr) {
          throw error_at(ErrorCode::in_use, engine.directory_,
                         "a claim of the transaction was released by an operator; nothing was committed");
        }
      }
      if (need == Need::none) {
        const Lsn end{begin.value + bytes};
        uncommitted.announce(begin, end);
        failpoint();
        for (std::size_t i = 0; i < marks.size(); ++i) {
          const HeldLease& own = marks[i].claim.lease;
          Lease* lease = leases.find(own.hash, own.scope);
          // Relaxed: only written under this lock.
          const std::uint64_t lsn = live.marks.head.load(std::memory_order_relaxed);
          lease->completing.store(lsn | Lease::kOfTransaction, std::memory_order_release);
          failpoint();
          Engine::ChainEnd* chain = chains[i].probe.id.empty() ? nullptr : &chains[i];
          if (const std::size_t j = before[i]; j != kNone) {
            chain->found = Found{lsns[j], time_us, kUncommitted, chains[j].found ? chains[j].found->lsn.value : 0};
          }
          lsns.push_back(engine.append(reader, view, marks[i].draft, own.hash, time_us, chain));
        }
        return end;
      }
    }
    switch (need) {
      case Need::bucket:
        engine.upkeep_->serve_locked(Upkeep::Demand::bucket);
        break;
      case Need::table:
        engine.upkeep_->serve_locked(Upkeep::Demand::table);
        break;
      case Need::flush:
        throw error_at(ErrorCode::full, engine.directory_,
                       "the ring has no room for the transaction's marks; try again, or open the store with "
                       "a larger ring_bytes");
      default:
        break;  // The view is renewed at the loop's beginning.
    }
  }
}

void TransactionBody::commit(Lsn flushed) {
  engine.check_usable();
  check_size();
  if (marks.empty()) {
    txn.commit();
    return;
  }
  std::vector<Lsn> lsns;
  const Lsn end = reserve(lsns);
  engine.flusher_->marked(false);  // Should this commit fail, its void records are left to flush.
  failpoint();
  Uncommitted uncommitted(*engine.live_, engine.identity_.hash_seed);
  // What became of it the log's end tells, also when the commit fails half-way.
  const auto settle = [&](Lsn log_end) {
    const bool committed = uncommitted.settle_records(log_end);
    failpoint();
    let_go();
    count_claims(committed ? IdEvent::completed : IdEvent::abandoned);
    marks.clear();
    failpoint();
    uncommitted.done();
    failpoint();
  };
  try {
    engine.flusher_->write(txn, flushed, end,
                           [&](std::span<std::byte> block, Lsn lsn) { uncommitted.make_messages(block, lsn); });
    failpoint();
    txn.commit();
    failpoint();
  } catch (const std::exception&) {
    try {
      const lmdb::Txn read(*engine.env_, MDB_RDONLY);
      settle(engine.log_->end(read).value_or(Lsn{}));
    } catch (const Error&) {
      // Nothing can be read at present either: the next holder of LMDB's write lock settles what is announced.
    }
    throw;
  }
  try {
    settle(end);
    engine.flusher_->publish(end);
  } catch (const std::exception&) {
    // It is committed, and must not be told to have failed. What is announced the next holder of LMDB's write lock
    // settles.
    count_claims(IdEvent::completed);
  }
}

void Engine::check_not_in_transaction(const char* what) const {
  for (const Running* running = Running::innermost; running != nullptr; running = running->outer) {
    if (running->engine != this) continue;
    refuse(fmt::format("{}: {} has to write to disk, which it cannot within transact()", directory_.string(), what));
  }
}

void Engine::transact(const std::function<void(Transaction&)>& work) {
  check_writable();
  check_not_in_transaction("another transaction");
  // Acquire: pairs with the release in assign_token_epoch.
  if (live_->leases().header().token_epoch.load(std::memory_order_acquire) == 0) assign_token_epoch();
  const WriterGate gate(live_->header(), directory_);
  std::optional<lmdb::WriteTxn> txn(std::in_place, *env_);
  flusher_->make_room_under_cap(txn, 0);
  Lsn flushed = flusher_->catch_up(*txn);
  // Others may fill the ring up to its reserve while the work is done, and nobody flushes it then; the reserve itself
  // is free once what a transaction that died has left in it is flushed.
  if (const Lsn now = head(); now.value - flushed.value > live_->ring().lent_bytes() / 2) {
    flusher_->write(*txn, flushed, now);
    txn->commit();
    flusher_->publish(now);
    flushed = now;
    txn.emplace(*env_);
    flusher_->make_room_under_cap(txn, 0);
  }
  // In a child that `work` has forked the transaction is the parent's.
  struct LeaveInChild {
    const Engine& engine;
    lmdb::WriteTxn& txn;
    ~LeaveInChild() {
      if (engine.forked()) txn.abandon();
    }
  };
  const LeaveInChild leave_in_child{*this, *txn};
  const Running running(this);
  TransactionBody body(*this, *txn);
  Transaction transaction(body);
  work(transaction);
  body.commit(flushed);
  // Relaxed: a counter.
  live_->header().counters.transactions.fetch_add(1, std::memory_order_relaxed);
}

std::optional<std::string> Engine::get(std::string_view table, std::string_view key) {
  Reader& mine = reader();
  const lmdb::ReadTxn::Active active(mine.txn());
  const auto value = user_tables_->get(mine.txn(), table, key);
  if (!value) return std::nullopt;
  return std::string(*value);
}

void Engine::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  check_usable();
  const lmdb::Txn txn(*env_, MDB_RDONLY);
  user_tables_->scan(txn, table, from, visitor);
}

}  // namespace internal

using internal::Engine;
using internal::HeldClaim;

Marked Transaction::mark(const Scope& scope, std::string_view id, const Attributes& attributes) {
  if (scope.engine_.get() != &body_.engine) internal::refuse("a transaction marks ids of its own store's scopes only");
  // For as long as it takes: others find the owner alive.
  const Engine::ClaimTerms terms{internal::kMaxLease, OrphanPolicy::free_at_once};
  HeldClaim claim;
  std::optional<ClaimOwner> owner;
  claim.id = id;
  Marked marked =
      body_.engine.begin(scope.key(), claim.id, attributes, terms, std::chrono::milliseconds{0}, claim.lease, owner);
  if (marked == Verdict::fresh) {
    body_.add(std::move(claim), attributes);
  } else if (marked == Verdict::in_progress && std::ranges::any_of(body_.marks, [&](const auto& own) {
               return own.claim.id == id && own.claim.lease.scope == scope.key().number;
             })) {
    marked.verdict = Verdict::duplicate;
  }
  body_.engine.count(scope.key(), marked.verdict);
  scope.tell(id, attributes, marked);
  return marked;
}

bool Transaction::complete(Claim& claim, const Attributes& attributes) {
  body_.engine.check_usable();
  if (claim.engine_.get() != &body_.engine) internal::refuse("a transaction completes claims of its own store only");
  if (!claim) internal::refuse("a claim that is not held cannot be completed");
  internal::check_attributes(claim.lease_->merged(attributes), body_.engine.live_->ring());
  body_.claimed_scopes.push_back(claim.lease_->lease.scope);  // First: once the lease is given nothing may fail.
  // Its lease may be over, but must not be taken from here on.
  if (!body_.engine.give_to_transaction(claim.lease_->lease)) {
    body_.claimed_scopes.pop_back();
    body_.engine.reader().counters.count(claim.lease_->lease.scope, internal::IdEvent::late);
    claim.lease_.reset();
    return false;
  }
  HeldClaim held = std::move(*claim.lease_);
  claim.lease_.reset();
  body_.add(std::move(held), attributes);
  return true;
}

void Transaction::put(std::string_view table, std::string_view key, std::string_view value) {
  body_.engine.check_usable();
  body_.engine.user_tables_->put(body_.txn, table, key, value);
}

std::optional<std::string_view> Transaction::get(std::string_view table, std::string_view key) const {
  body_.engine.check_usable();
  return body_.engine.user_tables_->get(body_.txn, table, key);
}

bool Transaction::erase(std::string_view table, std::string_view key) {
  body_.engine.check_usable();
  return body_.engine.user_tables_->erase(body_.txn, table, key);
}

void Transaction::scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const {
  body_.engine.check_usable();
  body_.engine.user_tables_->scan(body_.txn, table, from, visitor);
}

}  // namespace oncelog
