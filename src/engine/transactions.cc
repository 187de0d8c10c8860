#include "engine/transactions.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/failpoint.h"
#include "engine/report.h"
#include "engine/running_transaction.h"
#include "shared/argument_checks.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {

/// LMDB's write transaction, and the ids that are to be marked with it, on each of which it holds a lease.
class Transactions::Body final : public TransactionBody {
 public:
  Body(const Transactions& of, lmdb::WriteTxn& txn)
      : TransactionBody(of.engine_), store_(of.store_), acceptor_(of.acceptor_), claims_(of.claims_), txn_(txn) {}
  /// Whatever has not become a record is free again.
  ~Body() override {
    try {
      let_go();
      count_claims(IdEvent::abandoned);
    } catch (const std::exception&) {
      // Damaged shared memory keeps claims held, which end with the process; want of memory only keeps them uncounted.
    }
  }

  using TransactionBody::run;

  Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes) override;
  bool complete(std::unique_ptr<HeldClaim>& claim, const Attributes& attributes) override;
  void put(std::string_view table, std::string_view key, std::string_view value) override {
    store_.check_usable();
    store_.user_tables().put(txn_, table, key, value);
  }
  std::optional<std::string_view> get(std::string_view table, std::string_view key) const override {
    store_.check_usable();
    return store_.user_tables().get(txn_, table, key);
  }
  bool erase(std::string_view table, std::string_view key) override {
    store_.check_usable();
    return store_.user_tables().erase(txn_, table, key);
  }
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const override {
    store_.check_usable();
    store_.user_tables().scan(txn_, table, from, visitor);
  }

  /// Commits everything; `flushed` is what the log has already. After an exception nothing is committed, or the log's
  /// end says that it is.
  void commit(Lsn flushed) REQUIRES(kWriterGate);

 private:
  /// A mark to come. Its draft and its attributes are views into its other members.
  struct Mark {
    HeldClaim claim;
    std::string result;
    Attributes attributes = {};
    RecordDraft draft = {};
    ChainEnd chain = {};
    const Mark* before = nullptr;  // The mark before it that is of the same chain.
    Lsn lsn = {};                  // Once it is accepted.
  };

  /// Takes no memory: after the commit there must be no failing for want of it.
  void let_go() const {
    for (const Mark& mark : marks_) claims_.let_go({&mark.claim.lease, 1});
  }
  void count_claims(IdEvent event);
  void add(HeldClaim claim, const Attributes& given);
  void check_size() const;
  Lsn reserve() REQUIRES(kWriterGate);
  void link_chains(Reader& reader);
  Need try_to_reserve(Reader& reader, const Glance& glance, Lsn& end);
  Need look_again(Hold& hold);
  void check_leases(const LeaseTable& leases) const;
  void accept(Hold& hold, const LeaseTable& leases);
  void meet(Need need) REQUIRES(kWriterGate);
  void settle(Uncommitted& uncommitted, Lsn log_end);

  OpenedStore& store_;
  Acceptor& acceptor_;
  Claims& claims_;
  lmdb::WriteTxn& txn_;
  std::deque<Mark> marks_;                     // In order, and they stay where they are.
  std::size_t bytes_ = 0;                      // That the marks' records take.
  std::vector<std::uint32_t> claimed_scopes_;  // Of those marks that were claims.
};

Marked Transactions::Body::mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes) {
  // For as long as it takes: others find the owner alive.
  const ClaimTerms terms{kMaxLease, OrphanPolicy::free_at_once};
  HeldClaim claim;
  claim.id = id;
  const Claims::Attempt attempt =
      claims_.try_begin(scope.key, claim.id, attributes, terms, std::chrono::milliseconds{0}, claim.lease);
  Marked marked = attempt.marked;
  const auto is_own = [&](const Mark& own) { return own.claim.id == id && own.claim.lease.scope == scope.key.number; };
  if (marked == Verdict::fresh) {
    add(std::move(claim), attributes);
  } else if (marked != Verdict::too_old && !attempt.found && std::ranges::any_of(marks_, is_own)) {
    marked.verdict = Verdict::duplicate;
  }
  Report report(store_.options().on_decision, store_.reader().counters, scope, 1);
  report.count(0, marked.verdict, attempt.found);
  report.tell({&id, 1}, {&attributes, 1}, std::span<const Marked>(&marked, 1));
  return marked;
}

bool Transactions::Body::complete(std::unique_ptr<HeldClaim>& claim, const Attributes& attributes) {
  store_.check_usable();
  check_attributes(claim->merged(attributes), store_.state().ring());
  claimed_scopes_.push_back(claim->lease.scope);  // First: once the lease is given nothing may fail.
  // Its lease may have expired, but must not be taken from here on.
  const bool in_time = claims_.give_to_transaction(claim->lease);
  claim->kept.reset();
  HeldClaim held = std::move(*claim);
  claim.reset();
  if (!in_time) {
    claimed_scopes_.pop_back();
    store_.reader().counters.count(held.lease.scope, IdEvent::late);
    return false;
  }
  add(std::move(held), attributes);
  return true;
}

/// Counts how the claims ended.
void Transactions::Body::count_claims(IdEvent event) {
  for (const std::uint32_t scope : claimed_scopes_) store_.reader().counters.count(scope, event);
  claimed_scopes_.clear();
}

void Transactions::Body::add(HeldClaim claim, const Attributes& given) {
  const HeldLease lease = claim.lease;
  try {
    const Attributes all = claim.merged(given);
    claim.correlation = all.correlation;
    claim.fingerprint = all.fingerprint;
    claim.source = {std::string(all.source.name), all.source.partition, all.source.offset};
    Mark& mark = marks_.emplace_back(Mark{std::move(claim), std::string(all.result)});
    mark.claim.lease.id = mark.claim.id;
    mark.attributes = mark.claim.merged({.result = mark.result});
    const HeldLease& own = mark.claim.lease;
    mark.draft = RecordDraft::of(own.scope, own.id, own.hash.digest(), &mark.attributes, kUncommitted);
    bytes_ += mark.draft.bytes();
  } catch (const std::exception&) {  // Out of memory.
    claims_.let_go({&lease, 1});
    throw;
  }
  check_size();
}

void Transactions::Body::check_size() const {
  const std::uint64_t most = store_.state().ring().reserve_bytes();
  if (bytes_ <= most) return;
  refuse(
      fmt::format("the marks of one transaction take {} bytes or more; {} is the most, an eighth of ring_bytes, "
                  "and a thirty-second of max_bytes where that is less",
                  bytes_, most));
}

/// Accepts the marks' records, all under one hold, as ones that do not exist yet. Returns where they end.
Lsn Transactions::Body::reserve() {
  Reader& reader = store_.reader();
  link_chains(reader);
  for (;;) {
    const Glance glance = acceptor_.glance(reader);
    for (Mark& mark : marks_) {
      if (!mark.chain.probe.id.empty()) mark.chain.found = reader.look(glance.view, mark.chain.probe);
    }
    Lsn end;
    const Need need = try_to_reserve(reader, glance, end);
    if (need == Need::none) return end;
    meet(need);
  }
}

void Transactions::Body::link_chains(Reader& reader) {
  std::unordered_map<std::string_view, const Mark*> last_of_chain;
  for (Mark& mark : marks_) {
    // Now: once a lease says that its record is about to be accepted nothing may fail.
    reader.scratch.reserve(mark.draft.bytes() / kRecordUnit);
    const std::string_view correlation = mark.attributes.correlation;
    if (correlation.empty()) continue;
    mark.chain.probe = store_.correlation_probe(correlation);
    mark.before = std::exchange(last_of_chain[correlation], &mark);
  }
}

Need Transactions::Body::try_to_reserve(Reader& reader, const Glance& glance, Lsn& end) {
  const LeaseTable leases = store_.state().leases();
  Hold hold(store_, reader, glance);
  Need need = hold.need();
  if (need == Need::none) need = hold.prepare(bytes_, marks_.size(), Hold::Room::reserve);
  if (need == Need::none) need = look_again(hold);
  if (need != Need::none) return need;
  check_leases(leases);
  const Lsn begin = hold.head();
  end = Lsn{begin.value + bytes_};
  Uncommitted(store_.state(), store_.identity().hash_seed).announce(begin, end);
  failpoint();
  accept(hold, leases);
  return Need::none;
}

/// The ends of the marks' chains at what is newer than the glance.
Need Transactions::Body::look_again(Hold& hold) {
  if (!hold.moved()) return Need::none;
  bool passed = false;
  for (Mark& mark : marks_) {
    if (mark.chain.probe.id.empty()) continue;
    if (const auto newer = hold.look_again(mark.chain.probe, passed)) mark.chain.found = newer;
    if (passed) return Need::newer_view;
  }
  return Need::none;
}

void Transactions::Body::check_leases(const LeaseTable& leases) const {
  for (const Mark& mark : marks_) {
    const HeldLease& own = mark.claim.lease;
    if (leases.find_held(own.hash, own.scope, own.token) != nullptr) continue;
    throw error_at(ErrorCode::in_use, store_.directory(),
                   "a claim of the transaction was released by an operator; nothing was committed");
  }
}

void Transactions::Body::accept(Hold& hold, const LeaseTable& leases) {
  for (Mark& mark : marks_) {
    const HeldLease& own = mark.claim.lease;
    Lease* lease = leases.find(own.hash, own.scope);
    lease->completing.store(hold.head().value | Lease::kOfTransaction, std::memory_order_release);
    failpoint();
    if (mark.before != nullptr) {
      const ChainEnd& before = mark.before->chain;
      mark.chain.found =
          Found{mark.before->lsn, hold.time_us(), kUncommitted, before.found ? before.found->lsn.value : 0};
    }
    mark.lsn = hold.append(mark.draft, own.hash, mark.chain.probe.id.empty() ? nullptr : &mark.chain);
  }
}

/// As Acceptor::meet, for the holder of the gate and of LMDB's write lock.
void Transactions::Body::meet(Need need) {
  switch (need) {
    case Need::bucket:
      store_.upkeep().serve_locked(Upkeep::Demand::bucket);
      return;
    case Need::table:
      store_.upkeep().serve_locked(Upkeep::Demand::table);
      return;
    case Need::flush:
      throw error_at(ErrorCode::full, store_.directory(),
                     "the ring has no room for the transaction's marks; try again, or open the store with a larger "
                     "ring_bytes");
    default:
      return;  // The next glance takes a newer view.
  }
}

/// What became of it the log's end tells, also when the commit failed half-way.
void Transactions::Body::settle(Uncommitted& uncommitted, Lsn log_end) {
  const bool committed = uncommitted.settle_records(log_end);
  failpoint();
  let_go();
  count_claims(committed ? IdEvent::completed : IdEvent::abandoned);
  marks_.clear();
  failpoint();
  uncommitted.done();
  failpoint();
}

void Transactions::Body::commit(Lsn flushed) {
  store_.check_usable();
  check_size();
  if (marks_.empty()) {
    txn_.commit();
    return;
  }
  const Lsn end = reserve();  // Should this commit fail, its void records are left to flush.
  failpoint();
  Uncommitted uncommitted(store_.state(), store_.identity().hash_seed);
  try {
    store_.flusher().write(txn_, flushed, end,
                           [&](std::span<std::byte> block, Lsn lsn) { uncommitted.make_messages(block, lsn); });
    failpoint();
    txn_.commit();
    failpoint();
  } catch (const std::exception&) {
    try {
      const lmdb::Txn read(store_.env(), MDB_RDONLY);
      settle(uncommitted, store_.log().end(read).value_or(Lsn{}));
    } catch (const Error&) {
      // Nothing can be read at present either: the next holder of LMDB's write lock settles what is announced.
    }
    throw;
  }
  try {
    settle(uncommitted, end);
    store_.flusher().publish(end);
  } catch (const std::exception&) {
    // It is committed, and must not be reported as failed. What is announced the next holder of LMDB's write lock
    // settles.
    count_claims(IdEvent::completed);
  }
}

void Transactions::transact(const std::function<void(Transaction&)>& work) {
  store_.check_writable();
  store_.check_not_in_transaction("another transaction");
  acceptor_.require_token_epoch();
  const WriterGate gate(store_.header(), store_.directory());
  Flusher& flusher = store_.flusher();
  std::optional<lmdb::WriteTxn> txn(std::in_place, store_.env());
  flusher.make_room_under_cap(txn, 0);
  Lsn flushed = flusher.catch_up(*txn);
  // Others may fill the ring up to its reserve while the work is done, and nobody flushes it then; the reserve itself
  // is free once what a transaction that died has left in it is flushed.
  if (const Lsn now = store_.head(); now.value - flushed.value > store_.state().ring().lent_bytes() / 2) {
    flusher.write(*txn, flushed, now);
    txn->commit();
    flusher.publish(now);
    flushed = now;
    txn.emplace(store_.env());
    flusher.make_room_under_cap(txn, 0);
  }
  // In a child that `work` has forked the transaction is the parent's.
  struct LeaveInChild {
    const OpenedStore& store;
    lmdb::WriteTxn& txn;
    ~LeaveInChild() {
      if (store.forked()) txn.abandon();
    }
  };
  const LeaveInChild leave_in_child{store_, *txn};
  const RunningTransaction running(store_);
  Body body(*this, *txn);
  body.run(work);
  body.commit(flushed);
  // Relaxed: a counter.
  store_.header().counters.transactions.fetch_add(1, std::memory_order_relaxed);
}

std::optional<std::string> Transactions::get(std::string_view table, std::string_view key) {
  Reader& reader = store_.reader();
  const lmdb::ReadTxn::Active active(reader.txn());
  const auto value = store_.user_tables().get(reader.txn(), table, key);
  if (!value) return std::nullopt;
  return std::string(*value);
}

void Transactions::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  store_.check_usable();
  const lmdb::Txn txn(store_.env(), MDB_RDONLY);
  store_.user_tables().scan(txn, table, from, visitor);
}

}  // namespace oncelog::internal
