#include "worker.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include <oncelog/oncelog.h>

namespace oncelog::soak {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kRetentionUs = std::chrono::microseconds(kRetention).count();
/// The store's clock and this one's may be read that far apart.
constexpr std::int64_t kSlackUs = 200'000;
constexpr std::size_t kBatch = 32;
constexpr std::uint64_t kMarksOfATransaction = 3;
/// A transaction's row is erased by the one that many later.
constexpr std::uint64_t kRowsKept = 3000;

/// When not at full speed: all workers together then make about 40,000 steps a second.
constexpr std::chrono::microseconds kPause{2'500};
constexpr unsigned kStepsBetweenPauses = 16;

std::string text(std::string_view kind, std::uint64_t number) {
  std::string id(kind);
  id += std::to_string(number);
  return id;
}

/// One thread of one life. All checks follow from one rule: what a caller was told before asking must hold in the
/// answer, unless the retention, or the cap (Store::known_since), had ended by the time of the answer.
class Worker {
 public:
  Worker(const Plan& plan, Board& board, const Store& store, Tally& tally, std::uint32_t life, std::uint64_t seed)
      : plan_(plan),
        board_(board),
        store_(store),
        orders_(store.scope("orders")),
        tally_(tally),
        life_(life),
        random_(seed),
        own_("forget-" + std::to_string(life) + "-" + std::to_string(seed) + "-") {}

  void run() {
    for (std::uint64_t step = 1; !board_.stop.load(std::memory_order_relaxed); ++step) {
      one();
      Tally::add(tally_.steps);
      if (step % kStepsBetweenPauses == 0 && !board_.full_speed.load(std::memory_order_relaxed)) {
        std::this_thread::sleep_for(kPause);  // A rate, not a wait for anything.
      }
    }
  }

 private:
  void one() {
    const std::uint64_t dice = random_() % 10'000;
    if (dice < 5'500) return mark();
    if (dice < 8'800) return check();
    if (dice < 9'300) return claim();
    if (dice < 9'700) return mark_batch();
    if (dice < 9'890) return forget();
    if (dice < 9'980) return lock();
    if (dice < 9'985) return mark_to_disk();
    if (dice < 9'990) return transact();
    if (dice < 9'991) return check_memory();
    return check_transaction();
  }

  [[noreturn]] void contradict(const std::string& sentence) const { throw std::runtime_error(sentence); }

  std::uint32_t units(std::int64_t at_us) const {
    return static_cast<std::uint32_t>((at_us - plan_.began_us) / Sighting::kUnitUs);
  }
  std::int64_t boot_of(std::uint32_t units) const { return plan_.began_us + std::int64_t{units} * Sighting::kUnitUs; }
  /// Whether what was accepted at or after this moment of the boot clock must still be known to a call that has ended
  /// by `end_us`. Asks the store last, so that a bucket dropped during the call counts as dropped.
  bool must_be_known(std::int64_t at_us, std::int64_t end_us) const {
    if (end_us >= at_us + kRetentionUs) return false;
    const std::int64_t wall_us = plan_.began_wall_us + (at_us - plan_.began_us);
    return wall_us > store_.known_since().time_since_epoch().count() + kSlackUs;
  }

  std::uint64_t old_or_new_id() {
    const std::uint64_t dice = random_() % 8;
    if (dice < 4) return board_.next_id.fetch_add(1, std::memory_order_relaxed);
    return old_id(dice < 6 ? 64 : 1'000'000);
  }
  std::uint64_t old_id(std::uint64_t back) {
    const std::uint64_t next = board_.next_id.load(std::memory_order_relaxed);
    return next - std::min(next, 1 + random_() % back);
  }
  std::optional<Sighting> sighting(std::uint64_t id) const {
    // Acquire: pairs with the exchange in note_fresh, so that the mark happened before what is asked next.
    const auto seen = Sighting::of(board_.sightings[id % Board::kIds].load(std::memory_order_acquire));
    return seen.at != 0 && seen.id == static_cast<std::uint32_t>(id) ? std::optional(seen) : std::nullopt;
  }

  /// Writes down that the id was fresh to a call from `begin_us` to `end_us`: within a retention nobody else may have
  /// been told that.
  void note_fresh(std::uint64_t id, std::int64_t begin_us, std::int64_t end_us) {
    Tally::add(tally_.fresh);
    std::atomic<std::uint64_t>& cell = board_.sightings[id % Board::kIds];
    const Sighting own{static_cast<std::uint32_t>(id), std::max(units(begin_us), 1U)};
    std::uint64_t word = cell.load(std::memory_order_acquire);
    do {
      const Sighting seen = Sighting::of(word);
      if (seen.at == 0 || seen.id != own.id) continue;
      const std::int64_t other_us = boot_of(seen.at);
      // Of a call that began after this one only the beginning is known: it is given half a retention to end.
      const std::int64_t first_us = std::min(other_us, boot_of(own.at));
      const std::int64_t last_end_us = other_us <= boot_of(own.at) ? end_us : other_us + kRetentionUs / 2;
      if (must_be_known(first_us, last_end_us)) {
        contradict("message " + std::to_string(id) + " was fresh twice, " +
                   std::to_string(std::abs(other_us - begin_us) / 1000) + " ms apart");
      }
      if (seen.at > own.at) return;
    } while (!cell.compare_exchange_weak(word, own.word(), std::memory_order_acq_rel, std::memory_order_acquire));
  }

  void note(std::uint64_t id, Verdict verdict, std::int64_t begin_us, std::int64_t end_us) {
    if (verdict == Verdict::fresh) return note_fresh(id, begin_us, end_us);
    if (verdict != Verdict::duplicate) contradict("a mark of a message was " + std::string(to_string(verdict)));
  }

  void mark() {
    const std::uint64_t id = old_or_new_id();
    const std::string name = text("message-", id);
    const auto before = sighting(id);
    const std::int64_t begin_us = boot_us();
    const auto began = std::chrono::steady_clock::now();
    const Marked marked = orders_.mark(name);
    tally_.mark_ns.add(static_cast<std::uint64_t>((std::chrono::steady_clock::now() - began).count()));
    const std::int64_t end_us = boot_us();
    Tally::add(tally_.marks);
    if (marked == Verdict::fresh && before && must_be_known(boot_of(before->at), end_us)) {
      contradict("message " + std::to_string(id) + " was acknowledged, and fresh to a later mark");
    }
    note(id, marked.verdict, begin_us, end_us);
  }

  void mark_batch() {
    std::array<std::string, kBatch> names;
    std::array<std::uint64_t, kBatch> ids{};
    std::array<std::string_view, kBatch> views;
    std::array<Marked, kBatch> out;
    for (std::size_t i = 0; i < kBatch; ++i) {
      ids[i] = old_or_new_id();
      names[i] = text("message-", ids[i]);
      views[i] = names[i];
    }
    const std::int64_t begin_us = boot_us();
    orders_.mark(views, out);
    const std::int64_t end_us = boot_us();
    Tally::add(tally_.marks, kBatch);
    for (std::size_t i = 0; i < kBatch; ++i) note(ids[i], out[i].verdict, begin_us, end_us);
  }

  void mark_to_disk() {
    const std::uint64_t id = board_.next_id.fetch_add(1, std::memory_order_relaxed);
    const std::int64_t begin_us = boot_us();
    const Marked marked = orders_.mark(text("message-", id), Ack::disk);
    note(id, marked.verdict, begin_us, boot_us());
    if (store_.durable() <= marked.lsn) contradict("a mark with Ack::disk returned before it was durable");
    Tally::add(tally_.marks);
  }

  void check() {
    const std::uint64_t id = old_id(random_() % 4 == 0 ? 1'000'000 : 50'000);
    const bool foreign = random_() % 4 == 0;
    const std::string name = text(foreign ? "nobody-marked-" : "message-", id);
    const auto before = sighting(id);
    const auto began = std::chrono::steady_clock::now();
    const bool known = orders_.contains(name);
    tally_.check_ns.add(static_cast<std::uint64_t>((std::chrono::steady_clock::now() - began).count()));
    Tally::add(tally_.checks);
    if (foreign && known) contradict("an id that nobody marked is known");
    if (!foreign && !known && before && must_be_known(boot_of(before->at), boot_us())) {
      contradict("message " + std::to_string(id) + " was acknowledged, and is not known");
    }
  }

  /// When nothing has been dropped for the cap's sake for more than a retention, all of a retention is remembered.
  void check_memory() {
    const std::int64_t quiet_since_us = board_.quiet_since_us.load();
    const std::int64_t now_us = boot_us();
    const bool quiet = !board_.full_speed.load() && now_us > quiet_since_us + kRetentionUs + 3'000'000;
    const std::int64_t edge_us = plan_.began_wall_us + (now_us - plan_.began_us) - kRetentionUs;
    const std::int64_t known_since_us = store_.known_since().time_since_epoch().count();
    if (quiet && known_since_us > edge_us + kSlackUs && !board_.full_speed.load()) {
      contradict("the store remembers " + std::to_string((known_since_us - edge_us) / 1000) +
                 " ms less than its retention, although its cap was not reached");
    }
  }

  /// A token that was got after another was known is greater.
  void note_token(std::uint64_t before, std::uint64_t token) {
    if (token <= before) {
      contradict("token " + std::to_string(token) + " was given after " + std::to_string(before));
    }
    std::uint64_t highest = board_.highest_token.load();
    while (highest < token && !board_.highest_token.compare_exchange_weak(highest, token)) {
    }
  }

  /// Between enter() and leave() nobody else alive may be.
  void enter(std::atomic<std::uint32_t>& holder, const char* what) {
    const std::int64_t deadline_us = boot_us() + 20'000'000;
    std::uint32_t before = holder.load();
    for (;;) {
      // The dead are waited for, and then noted as such, by the process that started them.
      while (before != 0 && board_.dead[before % board_.dead.size()].load() == 0) {
        if (before == life_ || boot_us() > deadline_us) {
          contradict(std::string(what) + " is held by two at once");
        }
        if (board_.stop.load()) return;
        ::sched_yield();
        before = holder.load();
      }
      if (holder.compare_exchange_weak(before, life_)) return;
    }
  }
  void leave(std::atomic<std::uint32_t>& holder, const char* what) {
    std::uint32_t own = life_;
    if (!holder.compare_exchange_strong(own, 0) && !board_.stop.load()) {
      contradict(std::string(what) + " was taken from its holder");
    }
  }

  void claim() {
    const std::uint64_t base = board_.next_id.load(std::memory_order_relaxed) / 64;
    const std::uint64_t number = base - std::min(base, random_() % 16);
    const std::uint64_t before = board_.highest_token.load();
    const std::int64_t begin_us = boot_us();
    Claim claim = orders_.begin(text("claimed-", number), 1h, {}, random_() % 16 == 0 ? 5ms : 0ms);
    Tally::add(tally_.claims);
    if (!claim) return;
    note_token(before, claim.token());
    std::atomic<std::uint32_t>& holder = board_.holder[number % Board::kClaims];
    enter(holder, "a claim");
    if (random_() % 8 == 0) ::sched_yield();
    leave(holder, "a claim");
    switch (random_() % 4) {
      case 0:
        return claim.abandon();
      case 1:
        return;  // Its destructor abandons it.
      default:
        if (!claim.complete()) contradict("a claim whose owner lives was taken by another");
        if (!orders_.contains(text("claimed-", number)) && must_be_known(begin_us, boot_us())) {
          contradict("a completed claim is not known");
        }
    }
  }

  void lock() {
    const std::uint64_t before = board_.highest_token.load();
    const Lock lock = store_.lock("leader", 1h, random_() % 4 == 0 ? 5ms : 0ms);
    if (!lock) return;
    note_token(before, lock.token());
    enter(board_.lock_holder, "the lock");
    ::sched_yield();
    leave(board_.lock_holder, "the lock");
  }

  /// Of ids that no one else uses: so each answer is known beforehand.
  void forget() {
    const std::string id = text(own_, forgets_++);
    const Scope mails = store_.scope("mails");
    if (mails.mark(id) != Verdict::fresh) contradict("an id of one's own was not fresh");
    const std::int64_t marked_us = boot_us();
    const bool known = mails.contains(id);
    const bool forgot = mails.forget(id, Ack::host);
    if ((!known || !forgot) && must_be_known(marked_us - kSlackUs, boot_us())) {
      contradict("an id of one's own was not known right after its mark");
    }
    if (mails.contains(id)) contradict("a forgotten id is known");
    if (mails.mark(id) != Verdict::fresh) contradict("a forgotten id was not fresh");
    Tally::add(tally_.marks, 2);
    Tally::add(tally_.forgotten);
  }

  static std::string id_of(std::uint64_t transaction, std::uint64_t i) {
    return text("transaction-", transaction * kMarksOfATransaction + i);
  }
  static std::string row_of(std::uint64_t transaction) { return text("row-", transaction); }

  void transact() {
    const std::uint64_t number = board_.next_transaction.fetch_add(1);
    const std::string began = std::to_string(boot_us());
    const bool fails = random_() % 8 == 0;
    try {
      store_.transact([&](Transaction& tx) {
        for (std::uint64_t i = 0; i < kMarksOfATransaction; ++i) {
          if (tx.mark(orders_, id_of(number, i)) != Verdict::fresh) contradict("an id of a transaction was not fresh");
        }
        tx.put("effects", row_of(number), began);
        // Some at once, where those before it died.
        for (std::uint64_t i = 0; i < 4 && number >= kRowsKept + i; ++i)
          tx.erase("effects", row_of(number - kRowsKept - i));
        if (fails) throw ChangedItsMind();
      });
      if (fails) contradict("an exception did not come out of transact");
      board_.committed[number % Board::kTransactions].store(number + 1);
      Tally::add(tally_.transactions);
    } catch (const ChangedItsMind&) {
      if (store_.get("effects", row_of(number)) || orders_.contains(id_of(number, 0))) {
        contradict("a transaction that threw has left something");
      }
    }
  }

  void check_transaction() {
    const std::uint64_t next = board_.next_transaction.load();
    if (next == 0) return;
    const std::uint64_t number = next - 1 - random_() % std::min<std::uint64_t>(next, kRowsKept / 3);
    const bool acknowledged = board_.committed[number % Board::kTransactions].load() == number + 1;
    bool any_before = false;
    for (std::uint64_t i = 0; i < kMarksOfATransaction; ++i) any_before |= orders_.contains(id_of(number, i));
    const auto row = store_.get("effects", row_of(number));
    if (!row && (any_before || acknowledged) && board_.next_transaction.load() < number + kRowsKept) {
      contradict("transaction " + std::to_string(number) + (acknowledged ? " was acknowledged" : " has its marks") +
                 ", but its row is not there");
    }
    if (!row) return;
    const std::int64_t began_us = std::stoll(*row);
    for (std::uint64_t i = 0; i < kMarksOfATransaction; ++i) {
      if (!orders_.contains(id_of(number, i)) && must_be_known(began_us, boot_us())) {
        contradict("transaction " + std::to_string(number) + " has its row, but not all of its marks");
      }
    }
  }

  struct ChangedItsMind {};

  const Plan& plan_;
  Board& board_;
  const Store& store_;
  Scope orders_;
  Tally& tally_;
  std::uint32_t life_;
  std::mt19937_64 random_;
  std::string own_;
  std::uint64_t forgets_ = 0;
};

}  // namespace

Options Plan::options() const {
  return {.retention = kRetention,
          .buckets = 5,
          .max_bytes = kCapBytes,
          .live_dir = live_dir,
          .expected_ids = 10'000,
          .ring_bytes = std::uint64_t{4} << 20};
}

int work(const Plan& plan, Board& board, unsigned worker, std::uint32_t life, std::uint64_t seed) {
  const auto guarded = [&](const auto& body) {
    try {
      body();
    } catch (const std::exception& error) {
      board.fail(error.what());
    }
  };
  guarded([&] {
    const Store store = Store::open(plan.store, plan.options());
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < Board::kThreads; ++t) {
      threads.emplace_back([&, t] {
        guarded([&] {
          Tally& tally = board.tallies[worker * Board::kThreads + t];
          // The names of lives are never 0, and each thread's is its own.
          Worker(plan, board, store, tally, life * Board::kThreads + t, seed + t).run();
        });
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  return board.failures.load() == 0 ? 0 : 1;
}

int check_at_the_end(const Plan& plan, Board& board) {
  try {
    const Store store = Store::open(plan.store, plan.options());
    store.sync();
    const Scope orders = store.scope("orders");
    for (std::uint64_t cell = 0; cell < Board::kIds; ++cell) {
      const auto seen = Sighting::of(board.sightings[cell].load());
      if (seen.at == 0) continue;
      const std::int64_t at_us = plan.began_us + std::int64_t{seen.at} * Sighting::kUnitUs;
      const std::int64_t wall_us = plan.began_wall_us + (at_us - plan.began_us);
      if (orders.contains(text("message-", seen.id))) continue;
      const std::int64_t now_us = boot_us();
      if (now_us < at_us + kRetentionUs && wall_us > store.known_since().time_since_epoch().count() + kSlackUs) {
        board.fail("message " + std::to_string(seen.id) + " was acknowledged, and is not known at the end");
        return 1;
      }
    }
    Lsn last;
    store.scan({}, [&](const Record& record) {
      if (record.lsn <= last) board.fail("a scan goes back at LSN " + std::to_string(record.lsn.value));
      last = record.lsn;
      return true;
    });
  } catch (const std::exception& error) {
    board.fail(error.what());
  }
  return board.failures.load() == 0 ? 0 : 1;
}

}  // namespace oncelog::soak
