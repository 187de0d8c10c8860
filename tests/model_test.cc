#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model.h"
#include "shared/shared_state.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using std::chrono::microseconds;

namespace {

/// One store, its model, and a random walk over both.
class Walk {
 public:
  explicit Walk(std::uint64_t seed) : random_(seed) {
    options_.retention = pick<std::chrono::milliseconds>({7ms, 200ms, 10s, 24h});
    options_.buckets = pick<unsigned>({2, 3, 8, 13, 14});
    options_.ring_bytes = pick<std::uint64_t>({64 << 10, 256 << 10});
    options_.expected_ids = pick<std::uint64_t>({1, 50'000});
    options_.flush_interval = pick<std::chrono::milliseconds>({1ms, 20ms, 1h});
    retention_us_ = microseconds(*options_.retention).count();
    model_.emplace(host_, retention_us_);
    for (int i = 0; i < 400; ++i) ids_.push_back(random_id());
    open();
  }

  std::string describe() const {
    return "retention " + std::to_string(options_.retention->count()) + " ms, " + std::to_string(*options_.buckets) +
           " buckets, ring " + std::to_string(*options_.ring_bytes) + ", expected " +
           std::to_string(*options_.expected_ids);
  }

  void step() {
    do_something();
    note_bucket();
  }

  void finish() {
    for (const std::string& id : ids_) {
      for (const Scope& scope : scopes_) expect_found(scope, id, scope.find(id));
    }
    scan();
    correlated();
    check_claims();
  }

 private:
  void do_something() {
    const std::uint64_t dice = below(10'000);
    if (dice < 2'000) {
      mark_one();
    } else if (dice < 2'200) {
      once_one();
    } else if (dice < 2'800) {
      mark_batch();
    } else if (dice < 3'600) {
      begin_one();
    } else if (dice < 4'000) {
      begin_batch();
    } else if (dice < 5'000) {
      end_claim();
    } else if (dice < 5'200) {
      end_batch();
    } else if (dice < 5'400) {
      lock_one();
    } else if (dice < 5'480) {
      transact();
    } else if (dice < 5'600) {
      forget_one();
    } else if (dice < 5'660) {
      correlated();
    } else if (dice < 6'700) {
      check_one();
    } else if (dice < 7'200) {
      check_batch();
    } else if (dice < 8'100) {
      find_one();
    } else if (dice < 8'300) {
      find_batch();
    } else if (dice < 9'600) {
      move_clock();
    } else if (dice < 9'800) {
      store_->sync();
      CHECK(store_->durable() > model_->last_lsn());
    } else if (dice < 9'900) {
      store_->expire();
    } else if (dice < 9'960) {
      scan();
    } else {
      reopen();
    }
  }

  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
  }

  template <typename T>
  T pick(std::initializer_list<T> choices) {
    return *(choices.begin() + below(choices.size()));
  }

  std::string random_id() {
    const std::uint64_t longest = pick<std::uint64_t>({1, 2, 8, 36, 36, 36, 100, kMaxIdBytes});
    std::string id(longest == kMaxIdBytes && below(4) == 0 ? kMaxIdBytes : 1 + below(longest), '\0');
    for (char& byte : id) byte = static_cast<char>(below(256));
    return id;
  }

  const Scope& any_scope() { return scopes_[below(scopes_.size())]; }

  const std::string& any_id() {
    // Now and then one never seen before takes the place of an older one.
    const std::size_t at = below(ids_.size());
    if (below(20) == 0) ids_[at] = random_id();
    return ids_[at];
  }

  Ids any_ids() {
    std::vector<std::string> ids(1 + below(below(10) == 0 ? 200 : 20));
    for (std::string& id : ids) id = any_id();
    if (ids.size() > 1 && below(2) == 0) ids.back() = ids.front();
    return Ids(std::move(ids));
  }

  void open() {
    // The store goes on with the clock of the boot's earlier shared memory, also when it has to rebuild it.
    const auto former = inode_of(shared_path());
    const bool first_of_boot = !former || host_.boot_id() != boot_id_;
    boot_id_ = host_.boot_id();
    store_.emplace(StoreAccess::open(dir_ / "store", options_, host_));
    auto shared_file = internal::MappedFile::open(shared_path(), internal::SharedState::kHeaderBytes);
    REQUIRE(shared_file);
    shared_.emplace(std::move(*shared_file));
    if (first_of_boot) {
      model_->anchor();
    } else {
      model_->clock_moved();
    }
    const internal::Layout layout = shared().layout.read(layout_epoch_);
    if (inode_of(shared_path()) != former) {
      model_->rebuilt(layout.empty() ? store_->metrics().head : layout.current().first_lsn);
    }
    settle_clock();
    scopes_.clear();
    for (const char* name : {"orders", "mails", "a scope with a longer name"}) scopes_.push_back(store_->scope(name));
  }

  std::filesystem::path shared_path() const { return dir_ / "store" / "live"; }

  static std::optional<ino_t> inode_of(const std::filesystem::path& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? std::optional(status.st_ino) : std::nullopt;
  }

  internal::SharedHeader& shared() const { return *reinterpret_cast<internal::SharedHeader*>(shared_->data()); }

  /// Passes on to the model which bucket is written to.
  void note_bucket() {
    if (shared().layout.epoch() == layout_epoch_) return;
    const internal::Layout layout = shared().layout.read(layout_epoch_);
    if (!layout.empty()) model_->bucket_opened(layout.current().first_lsn);
  }

  /// What a decision on the id must be, but for its LSN; and the record that it is about.
  struct Expected {
    Verdict verdict = Verdict::fresh;
    const Model::Entry* entry = nullptr;
    bool redelivered = false;
  };
  /// `forgotten_by_clock`: the store found no record; `too_old`: it said so.
  Expected expected(const std::string& scope, const std::string& id, const Text& text, bool forgotten_by_clock,
                    bool too_old) {
    const Model::Entry* known = model_->find(scope, id);
    std::optional<std::int64_t> forgotten_us;
    if (known != nullptr && known->was_over && forgotten_by_clock) {
      expect_dropped(*known);
      forgotten_us = known->latest_us;
      known = nullptr;
    }
    if (known != nullptr) {
      const bool differs =
          text.fingerprint != 0 && known->text.fingerprint != 0 && text.fingerprint != known->text.fingerprint;
      const bool same_source = !text.source.name.empty() && text.source == known->text.source;
      return {differs ? Verdict::conflict : Verdict::duplicate, known, same_source};
    }
    if (const Holder* holder = model_->holder(scope, id)) {
      const bool differs = text.fingerprint != 0 && holder->fingerprint != 0 && text.fingerprint != holder->fingerprint;
      return {differs ? Verdict::conflict : Verdict::in_progress};
    }
    if (!text.sent_at) return {};
    const std::int64_t sent_us = text.sent_at->time_since_epoch().count();
    // What was processed and let go of must not pass for fresh.
    if (sent_us < model_->known_since_us() || (forgotten_us && sent_us <= *forgotten_us)) return {Verdict::too_old};
    if (too_old && sent_us < model_->latest_known_since_us()) return {Verdict::too_old};
    return {};
  }

  /// The store has no record of what had expired before the clock went back: then known_since() is later than that.
  void expect_dropped(const Model::Entry& known) {
    model_->dropped(known);
    REQUIRE(store_->known_since().time_since_epoch().count() > known.latest_us);
  }

  /// Compares one answer of mark() and tells the model.
  void expect_marked(const Scope& scope, const std::string& id, const Marked& marked, const Text& text = {}) {
    // Where nothing stands for the id the store may have forgotten one that was over before the clock went back.
    const bool none = marked.lsn.value == 0 || marked == Verdict::fresh;
    const Expected wanted = expected(scope.name(), id, text, none, marked == Verdict::too_old);
    REQUIRE(marked.verdict == wanted.verdict);
    REQUIRE(marked.redelivered == wanted.redelivered);
    if (wanted.entry != nullptr) {
      REQUIRE(marked.lsn == wanted.entry->lsn);
    } else if (wanted.verdict != Verdict::fresh) {
      REQUIRE(marked.lsn.value == 0);
    } else {
      REQUIRE(marked.lsn > model_->last_lsn());
      REQUIRE(marked.lsn.value % 8 == 0);
      model_->holders().erase({scope.name(), id});  // Whose lease was over.
      model_->accept(scope.name(), id, marked.lsn, text);
    }
  }

  void expect_contained(const Scope& scope, const std::string& id, bool contained) {
    const Model::Entry* known = model_->find(scope.name(), id);
    if (known != nullptr && known->was_over && !contained) return expect_dropped(*known);
    REQUIRE(contained == (known != nullptr));
  }

  void expect_found(const Scope& scope, const std::string& id, const std::optional<Record>& record) {
    const Model::Entry* known = model_->find(scope.name(), id);
    if (known == nullptr) {
      REQUIRE_FALSE(record.has_value());
      return;
    }
    if (known->was_over && !record) return expect_dropped(*known);
    REQUIRE(record.has_value());
    REQUIRE(record->scope == scope.name());
    REQUIRE(record->id == id);
    REQUIRE(record->lsn == known->lsn);
    REQUIRE(record->processed_at.time_since_epoch().count() == known->processed_us);
    expect_text(*record, known->text);
  }

  static void expect_text(const Record& record, const Text& text) {
    REQUIRE(record.correlation == text.correlation);
    REQUIRE(record.fingerprint == text.fingerprint);
    REQUIRE(record.result == text.result);
    REQUIRE(record.source == text.source);
  }

  Text any_text() {
    Text text;
    if (below(2) == 0) return text;
    if (below(2) == 0) text.correlation = pick<const char*>({"a", "b", "c", "a correlation with a longer name"});
    if (below(3) == 0) text.fingerprint = 1 + below(3);
    if (below(4) == 0) text.result = std::string(below(below(20) == 0 ? 4'000 : 60), 'r');
    if (below(4) == 0) text.source = {"topic", static_cast<std::uint32_t>(below(2)), below(3)};
    if (below(8) == 0) {
      text.sent_at = Time{microseconds(model_->known_since_us() - 1 + static_cast<std::int64_t>(below(2)))};
    }
    return text;
  }

  void mark_one() {
    const Scope& scope = any_scope();
    const std::string id = any_id();
    const Text text = any_text();
    const Ack ack = below(50) == 0 ? Ack::disk : Ack::host;
    const Marked marked = scope.mark(id, text.attributes(), ack);
    expect_marked(scope, id, marked, text);
    if (ack == Ack::disk && marked.lsn.value != 0) REQUIRE(store_->durable() > marked.lsn);
  }

  void mark_batch() {
    const Scope& scope = any_scope();
    const Ids ids = any_ids();
    std::vector<Marked> marked(ids.size());
    std::vector<Text> texts(ids.size());
    std::vector<Attributes> attributes;
    if (below(2) == 0) {
      for (Text& text : texts) attributes.push_back((text = any_text()).attributes());
    }
    scope.mark(ids, attributes, marked, Ack::host);
    for (std::size_t i = 0; i < ids.size(); ++i) expect_marked(scope, ids[i], marked[i], texts[i]);
  }

  // --- Claims and locks. Only this process has any, so that OrphanPolicy::free_at_once and after_lease are the same.

  struct Held {
    Claim claim;
    std::string scope;
    std::string id;
    Text text;
  };
  struct HeldBatch {
    ClaimBatch claims;
    std::string scope;
    std::vector<std::pair<std::string, std::uint64_t>> ids;  // And their tokens, as the model numbers them.
  };
  struct HeldLock {
    Lock lock;
    std::string name;
  };

  std::chrono::milliseconds any_lease() {
    return pick<std::chrono::milliseconds>({1ms, *options_.retention, 10 * *options_.retention});
  }

  void hold(const std::string& scope, const std::string& id, std::uint64_t token, std::chrono::milliseconds lease,
            OrphanPolicy orphans, std::uint64_t fingerprint = 0) {
    model_->holders()[{scope, id}] = {token, host_.boot_us() + microseconds(lease).count(), orphans, fingerprint};
  }

  /// Whether the token's claim is still there to be ended.
  bool holds(const std::string& scope, const std::string& id, std::uint64_t token) {
    const auto at = model_->holders().find({scope, id});
    return at != model_->holders().end() && at->second.token == token;
  }

  void expect_token(std::uint64_t token) {
    REQUIRE(token > last_token_);
    last_token_ = token;
  }

  void begin_one() {
    const std::string& name = any_scope().name();
    const OrphanPolicy orphans = pick({OrphanPolicy::free_at_once, OrphanPolicy::free_after_lease, OrphanPolicy::keep});
    const Scope scope = store_->scope(name, {.orphans = orphans});
    const std::string id = any_id();
    const Text text = any_text();
    const auto lease = any_lease();
    Claim claim = scope.begin(id, lease, text.attributes());
    const Expected wanted = expected(name, id, text, !claim.record(), claim == Verdict::too_old);
    REQUIRE(claim.verdict() == wanted.verdict);
    REQUIRE(claim.redelivered() == wanted.redelivered);
    REQUIRE(claim.record().has_value() == (wanted.entry != nullptr));
    if (wanted.entry != nullptr) {
      REQUIRE(claim.record()->lsn == wanted.entry->lsn);
      expect_text(*claim.record(), wanted.entry->text);
    }
    const bool is_held = wanted.entry == nullptr && wanted.verdict == Verdict::conflict;  // With another payload.
    REQUIRE(claim.owner().has_value() == (wanted.verdict == Verdict::in_progress || is_held));
    REQUIRE(static_cast<bool>(claim) == (wanted.verdict == Verdict::fresh));
    if (!claim) return;
    expect_token(claim.token());
    hold(name, id, claim.token(), lease, orphans, text.fingerprint);
    claims_.push_back({std::move(claim), name, id, text});
  }

  /// Work that fails leaves no trace, and work whose id is released meanwhile no record.
  void once_one() {
    const Scope& scope = any_scope();
    const std::string id = any_id();
    Text text = any_text();
    const std::string result = std::exchange(text.result, {});
    const bool fails = below(4) == 0;
    const bool loses = !fails && below(6) == 0;
    const auto work = [&] {
      if (fails) throw id.size();
      if (loses) REQUIRE(scope.release(id));
      return result;
    };
    std::optional<OnceResult> once;
    try {
      once = scope.once(
          id, {.lease = any_lease(), .keep_alive = below(2) == 0, .patience = 0ms, .attributes = text.attributes()},
          work);
    } catch (const std::string::size_type&) {
      REQUIRE(fails);
    }
    const bool none = !once || once->ran || once->lsn.value == 0;
    const Expected wanted = expected(scope.name(), id, text, none, once && once->verdict == Verdict::too_old);
    REQUIRE((!once || once->ran) == (wanted.verdict == Verdict::fresh));
    if (wanted.verdict != Verdict::fresh) {
      REQUIRE(once->verdict == wanted.verdict);
      REQUIRE(once->lsn == (wanted.entry != nullptr ? wanted.entry->lsn : Lsn{}));
      REQUIRE(once->result == (wanted.verdict == Verdict::duplicate ? wanted.entry->text.result : std::string()));
      return;
    }
    model_->holders().erase({scope.name(), id});  // Whose lease was over.
    REQUIRE(once.has_value() == !fails);
    if (!once) return;
    REQUIRE(once->verdict == (loses ? Verdict::in_progress : Verdict::fresh));
    REQUIRE(once->result == (loses ? std::string() : result));
    if (loses) return;
    REQUIRE(once->lsn > model_->last_lsn());
    text.result = result;
    model_->accept(scope.name(), id, once->lsn, text);
  }

  void begin_batch() {
    const Scope& scope = any_scope();
    const Ids ids = any_ids();
    const auto lease = any_lease();
    HeldBatch batch{scope.begin(ids, lease), scope.name(), {}};
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Verdict got = batch.claims.verdicts()[i];
      const bool own =
          std::ranges::find(batch.ids, ids[i], &std::pair<std::string, std::uint64_t>::first) != batch.ids.end();
      REQUIRE(got == (own ? Verdict::duplicate
                          : expected(scope.name(), ids[i], {}, got != Verdict::duplicate, false).verdict));
      if (got != Verdict::fresh) continue;
      batch.ids.emplace_back(ids[i], 0);
    }
    // Their tokens are what the store lists.
    std::vector<std::uint64_t> tokens;
    for (const ClaimInfo& info : store_->claims()) {
      if (info.token > last_token_) tokens.push_back(info.token);
    }
    REQUIRE(tokens.size() == batch.ids.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      batch.ids[i].second = tokens[i];
      expect_token(tokens[i]);
      hold(scope.name(), batch.ids[i].first, tokens[i], lease, OrphanPolicy::free_at_once);
    }
    batches_.push_back(std::move(batch));
  }

  void end_claim() {
    if (claims_.empty()) return;
    const std::size_t at = below(claims_.size());
    Held& held = claims_[at];
    const bool still = holds(held.scope, held.id, held.claim.token());
    switch (below(5)) {
      case 0: {
        const auto lease = any_lease();
        REQUIRE(held.claim.renew(lease) == still);
        if (still) {
          model_->holders()[{held.scope, held.id}].deadline_us = host_.boot_us() + microseconds(lease).count();
        }
        return;
      }
      case 1:
        held.claim.abandon();
        if (still) model_->holders().erase({held.scope, held.id});
        break;
      case 2:
        REQUIRE(store_->scope(held.scope).release(held.id) == model_->holders().contains({held.scope, held.id}));
        model_->holders().erase({held.scope, held.id});
        return;
      default: {
        Text text = any_text();
        const Completed completed = held.claim.complete(text.attributes());
        REQUIRE(completed.in_time == still);
        if (!still) break;
        if (text.correlation.empty()) text.correlation = held.text.correlation;
        if (text.fingerprint == 0) text.fingerprint = held.text.fingerprint;
        if (text.source.name.empty()) text.source = held.text.source;
        REQUIRE(completed.lsn > model_->last_lsn());
        model_->holders().erase({held.scope, held.id});
        model_->accept(held.scope, held.id, completed.lsn, text);
      }
    }
    claims_.erase(claims_.begin() + static_cast<std::ptrdiff_t>(at));
  }

  void end_batch() {
    if (batches_.empty()) return;
    HeldBatch batch = std::move(batches_.back());
    batches_.pop_back();
    const bool complete = below(2) == 0;
    std::size_t late = 0;
    if (complete) batch.claims.complete(&late);
    for (const auto& [id, token] : batch.ids) {
      if (!holds(batch.scope, id, token)) {
        if (complete) --late;
        continue;
      }
      model_->holders().erase({batch.scope, id});
      if (!complete) continue;
      const auto record = store_->scope(batch.scope).find(id);
      if (record) {
        REQUIRE(record->lsn > model_->last_lsn());
        model_->accept(batch.scope, id, record->lsn);
      } else {
        // Stamped by a clock that has gone wrong since, and over already.
        model_->accept(batch.scope, id, Lsn{model_->last_lsn().value + 1});
        REQUIRE_FALSE(model_->may_show(model_->entries().back()));
      }
    }
    REQUIRE(late == 0);
    batch.claims.abandon();
  }

  void lock_one() {
    const std::string name = pick<const char*>({"leader", "follower"});
    if (!locks_.empty() && below(2) == 0) {
      HeldLock& held = locks_.back();
      const bool still = holds("", held.name, held.lock.token());
      if (below(2) == 0) {
        const auto lease = any_lease();
        REQUIRE(held.lock.renew(lease) == still);
        if (still) model_->holders()[{"", held.name}].deadline_us = host_.boot_us() + microseconds(lease).count();
        return;
      }
      if (still) model_->holders().erase({"", held.name});
      locks_.pop_back();
      return;
    }
    const auto lease = any_lease();
    Lock lock = store_->lock(name, lease);
    REQUIRE(static_cast<bool>(lock) == (model_->holder("", name) == nullptr));
    if (!lock) return;
    expect_token(lock.token());
    hold("", name, lock.token(), lease, OrphanPolicy::free_at_once);
    locks_.push_back({std::move(lock), name});
  }

  void check_claims() {
    const auto claims = store_->claims();
    REQUIRE(claims.size() == model_->holders().size());
    std::set<std::uint64_t> tokens;
    for (const auto& [key, holder] : model_->holders()) tokens.insert(holder.token);
    for (const ClaimInfo& claim : claims) REQUIRE(tokens.contains(claim.token));
  }

  // --- Transactions: marks, claims and a table, all or nothing.

  /// What a transaction has marked or completed.
  struct Done {
    std::string scope;
    std::string id;
    Text text;
  };

  void transact() {
    std::vector<Done> done;
    auto table = table_;
    const bool fail = below(3) == 0;
    const auto work = [&](Transaction& tx) {
      for (std::uint64_t i = 0, count = below(7); i < count; ++i) do_within(tx, table, done);
      if (fail) throw done.size();
    };
    if (fail) {
      REQUIRE_THROWS_AS(store_->transact(work), std::size_t);
    } else {
      store_->transact(work);
      table_ = table;
    }
    for (const Done& one : done) {
      model_->holders().erase({one.scope, one.id});
      if (fail) continue;
      const auto record = store_->scope(one.scope).find(one.id);
      if (record) REQUIRE(record->lsn > model_->last_lsn());
      const Lsn lsn = record ? record->lsn : Lsn{model_->last_lsn().value + 1};
      model_->accept(one.scope, one.id, lsn, one.text);
      if (!record) REQUIRE_FALSE(model_->may_show(model_->entries().back()));
    }
    std::map<std::string, std::string> seen;
    store_->scan_table("table", "", [&](std::string_view key, std::string_view value) {
      seen.emplace(key, value);
      return true;
    });
    REQUIRE(seen == table_);
  }

  /// One step of a transaction.
  void do_within(Transaction& tx, std::map<std::string, std::string>& table, std::vector<Done>& done) {
    const std::string key = std::to_string(below(30));
    switch (below(5)) {
      case 0: {
        const std::string value(below(100), 'v');
        tx.put("table", key, value);
        table[key] = value;
        return;
      }
      case 1:
        REQUIRE(tx.erase("table", key) == (table.erase(key) != 0));
        return;
      case 2: {
        const auto value = tx.get("table", key);
        REQUIRE(value.has_value() == table.contains(key));
        if (value) REQUIRE(*value == table[key]);
        return;
      }
      case 3:
        return complete_within(tx, done);
      default:
        return mark_within(tx, done);
    }
  }

  void complete_within(Transaction& tx, std::vector<Done>& done) {
    const std::size_t at = claims_.empty() ? 0 : below(claims_.size());
    if (claims_.empty()) return;
    Held held = std::move(claims_[at]);
    claims_.erase(claims_.begin() + static_cast<std::ptrdiff_t>(at));
    const bool still = holds(held.scope, held.id, held.claim.token());
    REQUIRE(tx.complete(held.claim) == still);
    if (!still) return;
    Holder& holder = model_->holders()[{held.scope, held.id}];
    holder.token = 0;
    holder.deadline_us = std::numeric_limits<std::int64_t>::max();
    done.push_back({held.scope, held.id, held.text});
    done.back().text.result.clear();
  }

  void mark_within(Transaction& tx, std::vector<Done>& done) {
    const Scope& scope = any_scope();
    const std::string id = any_id();
    Text text = any_text();
    text.result.resize(std::min<std::size_t>(text.result.size(), 60));
    const Marked marked = tx.mark(scope, id, text.attributes());
    const bool own =
        std::ranges::any_of(done, [&](const Done& one) { return one.scope == scope.name() && one.id == id; });
    const bool none = marked.lsn.value == 0 || marked == Verdict::fresh;
    const Verdict wanted =
        own ? Verdict::duplicate : expected(scope.name(), id, text, none, marked == Verdict::too_old).verdict;
    REQUIRE(marked.verdict == wanted);
    if (wanted != Verdict::fresh) return;
    ++last_token_;  // The transaction takes one, and reports it to nobody.
    model_->holders()[{scope.name(), id}] = {0, std::numeric_limits<std::int64_t>::max(), OrphanPolicy::free_at_once,
                                             text.fingerprint};
    done.push_back({scope.name(), id, text});
  }

  void forget_one() {
    const Scope& scope = any_scope();
    const std::string id = any_id();
    const Model::Entry* known = model_->find(scope.name(), id);
    const Lsn note = store_->metrics().head;
    const bool forgotten = scope.forget(id, Ack::host);
    if (known != nullptr && known->was_over && !forgotten) return expect_dropped(*known);
    REQUIRE(forgotten == (known != nullptr));
    if (forgotten) model_->forget(scope.name(), id, note);
  }

  void correlated() {
    const std::string correlation = pick<const char*>({"a", "b", "c", "a correlation with a longer name"});
    const auto records = store_->correlated(correlation);
    auto at = records.begin();
    for (const Model::Entry& entry : model_->entries()) {
      if (entry.text.correlation != correlation) continue;
      if (at != records.end() && at->lsn == entry.lsn) {
        REQUIRE_FALSE(entry.forgotten);
        REQUIRE(model_->may_show(entry));
        REQUIRE(at->scope == entry.scope);
        REQUIRE(at->id == entry.id);
        expect_text(*at, entry.text);
        ++at;
      } else {
        REQUIRE((entry.forgotten || !model_->must_show(entry)));
      }
    }
    REQUIRE(at == records.end());
  }

  void check_one() {
    const Scope& scope = any_scope();
    const std::string id = any_id();
    expect_contained(scope, id, scope.contains(id));
  }

  void check_batch() {
    const Scope& scope = any_scope();
    const Ids ids = any_ids();
    const auto contained = std::make_unique<bool[]>(ids.size());
    scope.contains(ids, std::span(contained.get(), ids.size()));
    for (std::size_t i = 0; i < ids.size(); ++i) expect_contained(scope, ids[i], contained[i]);
  }

  void find_one() {
    const Scope& scope = any_scope();
    const std::string id = any_id();
    expect_found(scope, id, scope.find(id));
  }

  void find_batch() {
    const Scope& scope = any_scope();
    const Ids ids = any_ids();
    std::vector<std::optional<Record>> found(ids.size());
    scope.find(ids, found);
    for (std::size_t i = 0; i < ids.size(); ++i) expect_found(scope, ids[i], found[i]);
  }

  /// Has the store look at its clock now, which its flusher does at some time, so that the model knows what follows.
  void settle_clock() {
    shared().mutex.lock();
    internal::Clock(host_, shared().clock).settle(shared().clock, retention_us_);
    shared().mutex.unlock();
    model_->follow(shared().clock.offset_us.load());
  }

  void move_clock() {
    const auto slice = static_cast<std::uint64_t>(retention_us_ / *options_.buckets);
    const std::uint64_t dice = below(1'000);
    if (dice < 700) {
      host_.advance(microseconds(below(slice / 8 + 1)));
    } else if (dice < 880) {
      host_.advance(microseconds(below(slice * 2)));
    } else if (dice < 890) {
      host_.advance(microseconds(static_cast<std::uint64_t>(retention_us_) + below(slice)));
    } else if (dice < 910) {
      host_.step_wall(microseconds(below(static_cast<std::uint64_t>(2 * retention_us_))));
    } else if (dice < 940) {
      host_.step_wall(-microseconds(below(slice * 2)));
    } else if (dice < 945) {
      host_.step_wall(-microseconds(below(static_cast<std::uint64_t>(2 * retention_us_))));
    } else if (!model_->entries().empty()) {
      // To the very edge of some record's retention, or the last microsecond before it.
      const auto& entry = model_->entries()[below(model_->entries().size())];
      const std::int64_t left = entry.processed_us + retention_us_ - host_.wall_us();
      if (left > 1) host_.advance(microseconds(left - static_cast<std::int64_t>(below(2))));
    }
    model_->clock_moved();
    settle_clock();
  }

  void scan() {
    std::vector<Record> seen;
    store_->scan({}, [&](const Record& record) {
      seen.push_back(record);
      return true;
    });
    auto at = seen.begin();
    for (const Model::Entry& entry : model_->entries()) {
      const bool shown = at != seen.end() && at->lsn == entry.lsn;
      if (!shown) {
        REQUIRE_FALSE(model_->must_show(entry));
        continue;
      }
      REQUIRE(model_->may_show(entry));
      REQUIRE(at->scope == entry.scope);
      REQUIRE(at->id == entry.id);
      REQUIRE(at->processed_at.time_since_epoch().count() == entry.processed_us);
      REQUIRE(at->forgotten == entry.note);
      expect_text(*at, entry.text);
      ++at;
    }
    REQUIRE(at == seen.end());
  }

  void reopen() {
    check_claims();
    // Some claims are abandoned by the closing, others are held by a store that is not there any more.
    claims_.clear();
    batches_.clear();
    locks_.clear();
    std::erase_if(model_->holders(), [](const auto&) { return true; });
    scopes_.clear();
    store_.reset();
    const auto files = derived_files(dir_ / "store");
    switch (below(5)) {
      case 0:
        break;
      case 1:
        for (const auto& file : files) std::filesystem::remove(file);
        break;
      case 2:  // Any one of them.
        std::filesystem::remove(files[below(files.size())]);
        break;
      case 3:  // Any of them.
        for (const auto& file : files) {
          if (below(2) == 0) std::filesystem::remove(file);
        }
        break;
      case 4:
        host_.reboot();
        break;
    }
    if (below(2) == 0) host_.advance(microseconds(below(static_cast<std::uint64_t>(retention_us_))));
    open();
  }

  std::mt19937_64 random_;
  FakeHost host_;
  TempDir dir_;
  Options options_;
  std::int64_t retention_us_ = 0;
  std::optional<Model> model_;
  std::optional<Store> store_;
  std::optional<internal::MappedFile> shared_;  // The store's shared memory.
  std::uint64_t layout_epoch_ = 0;              // Of the layout that the model knows.
  std::vector<Scope> scopes_;
  std::vector<std::string> ids_;
  internal::Uuid boot_id_{};
  // After the store, and so gone before it.
  std::vector<Held> claims_;
  std::vector<HeldBatch> batches_;
  std::vector<HeldLock> locks_;
  std::uint64_t last_token_ = 0;
  std::map<std::string, std::string> table_;
};

}  // namespace

TEST_CASE("whatever is done with a store, it answers as a plain map does") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const std::uint64_t walks = scaled(30, 6);
  const std::uint64_t steps = scaled(8'000, 1'000);
  std::uint64_t operations = 0;
  for (std::uint64_t i = 0; i < walks; ++i) {
    Walk walk(seed + i);
    const std::string store = walk.describe();
    CAPTURE(i);
    CAPTURE(store);
    for (std::uint64_t step = 0; step < steps; ++step, ++operations) {
      CAPTURE(step);
      walk.step();
    }
    walk.finish();
  }
  MESSAGE(operations << " operations from seed " << seed);
}
