#include "engine/records.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/accept.h"
#include "engine/visibility.h"
#include "lmdb/scope_names.h"
#include "log/intact_record.h"
#include "shared/argument_checks.h"
#include "shared/store_lock.h"

namespace oncelog::internal {
namespace {

/// All of a record but the scope's name.
Record record_of(const RecordView& view, Lsn lsn) {
  Record record;
  record.id = view.id;
  record.processed_at = Time{std::chrono::microseconds{view.processed_us()}};
  record.lsn = lsn;
  record.forgotten = (view.header.flags() & kForgotten) != 0;
  if (view.attributes) {
    record.correlation = view.correlation();
    record.fingerprint = view.attributes->fingerprint;
    record.result = view.result();
    record.source = {std::string(view.source_name()), view.attributes->source_partition,
                     view.attributes->source_offset};
  }
  return record;
}

}  // namespace

Error Records::damaged(Lsn lsn) const {
  return error_at(ErrorCode::corrupt, store_.directory(), "the record at LSN {} is damaged", lsn.value);
}

std::optional<Record> Records::to_record(const ScopeRef& scope, std::string_view id, const Found& found,
                                         const RecordCopy& copy) const {
  if (!found.has_attributes()) {
    return Record{std::string(scope.name), std::string(id), Time{std::chrono::microseconds{found.time_us}}, found.lsn};
  }
  if (copy.words.empty()) return std::nullopt;
  const auto view = decode_record(copy.bytes());
  if (!view || !view->all_intact(found.lsn, MessageHash(scope.key.hash_seed, id).digest())) throw damaged(found.lsn);
  Record record = record_of(*view, found.lsn);
  record.scope = scope.name;
  return record;
}

std::optional<Found> Records::find_counted(ScopeKey scope, std::string_view id, RecordCopy* copy) {
  check_id(id);
  Reader& reader = store_.reader();
  const SampledTime time(reader.counters, Timed::check);
  const auto found = reader.look(reader.view(), store_.probe(scope, id), copy);
  const bool known = found && is_visible(store_, reader, *found);
  reader.counters.count(scope.number, known ? IdEvent::known : IdEvent::unknown);
  return known ? found : std::nullopt;
}

/// Calls visit(i, found) for the ids that have a record, in order.
template <typename Visit>
void Records::each_found(ScopeKey scope, std::span<const std::string_view> ids, std::span<RecordCopy> copies,
                         Visit visit) {
  for (const std::string_view id : ids) check_id(id);
  Reader& reader = store_.reader();
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> answers;
  for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, ids.size() - begin);
    store_.make_probes(reader, scope, ids.subspan(begin, count), probes);
    reader.look(reader.view(), std::span(probes).first(count), std::span(answers).first(count),
                copies.first(std::min(count, copies.size())));
    std::size_t known = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (!answers[i] || !is_visible(store_, reader, *answers[i])) continue;
      ++known;
      visit(begin + i, *answers[i]);
    }
    reader.counters.count(scope.number, IdEvent::known, known);
    reader.counters.count(scope.number, IdEvent::unknown, count - known);
  }
}

void Records::contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out) {
  std::ranges::fill(out, false);
  each_found(scope, ids, {}, [&](std::size_t i, const Found&) { out[i] = true; });
}

bool Records::contains(ScopeKey scope, std::string_view id, std::string_view correlation) {
  check_correlation(correlation);
  RecordCopy copy;
  if (!find_counted(scope, id, &copy)) return false;
  const auto view = decode_record(copy.bytes());
  return view && view->correlation() == correlation;
}

std::optional<Record> Records::find(const ScopeRef& scope, std::string_view id) {
  RecordCopy copy;
  const auto found = find_counted(scope.key, id, &copy);
  return found ? to_record(scope, id, *found, copy) : std::nullopt;
}

void Records::find(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<std::optional<Record>> out) {
  std::ranges::fill(out, std::nullopt);
  std::array<RecordCopy, kChunk> copies;
  each_found(scope.key, ids, copies,
             [&](std::size_t i, const Found& found) { out[i] = to_record(scope, ids[i], found, copies[i % kChunk]); });
}

/// The newest record of a correlation's chain. Its entries in the index move on as it grows, and could do so before and
/// behind a look without the store's mutex: so one at what is newer follows, with it, as for a decision.
std::optional<Found> Records::newest_of_chain(Reader& reader, const Probe& chain) {
  for (;;) {
    const Lsn looked_at = store_.head();
    const View& view = reader.view();
    auto newest = reader.look(view, chain);
    const StoreLock lock(store_.state());
    bool passed = store_.header().layout.epoch() != view.epoch;
    if (!passed && lock.head() != looked_at) {
      if (const auto newer = reader.look_again(view, chain, looked_at, passed)) newest = newer;
    }
    if (!passed) return newest;
  }
}

/// Follows the chain from its newest record; what it finds is live when it is also the newest word on its id.
std::vector<Record> Records::correlated(std::string_view correlation) {
  check_correlation(correlation);
  Reader& reader = store_.reader();
  std::vector<Record> records;
  const auto newest = newest_of_chain(reader, store_.correlation_probe(correlation));
  std::vector<std::byte> bytes;
  ScopeNames names(reader.txn(), store_.catalog());
  for (Lsn at = newest ? newest->lsn : Lsn{}; at.value != 0;) {
    if (!reader.copy(at, bytes)) break;  // Expired, and all before it.
    const auto view = decode_record(bytes);
    if (!view || view->correlation() != correlation) break;  // Its space has gone to others.
    const std::uint32_t scope = view->header.scope;
    const Probe probe{view->id, scope, hash_of(*view, store_.identity().hash_seed)};
    if (!view->all_intact(at, probe.hash.digest())) throw damaged(at);
    if (!store_.within_retention(view->header.time_us())) break;
    const auto word = reader.look(reader.view(), probe);
    if (word && word->lsn == at && is_visible(store_, reader, *word)) {
      Record record = record_of(*view, at);
      record.scope = names.of(scope);
      records.push_back(std::move(record));
    }
    const Lsn previous{view->attributes->previous};
    if (previous >= at) break;  // A chain runs back; anything else would never end.
    at = previous;
  }
  std::ranges::reverse(records);
  // The chain is in the order of the log, and what was imported into it was processed earlier.
  std::ranges::stable_sort(records, {}, &Record::processed_at);
  return records;
}

/// One walk over the records in the order of their LSNs.
struct Records::Scan {
  const Records& records;
  OpenedStore& store;
  const ScanRange& range;
  const std::function<bool(const Record&)>& visitor;
  Reader& reader;
  ScopeNames names;

  bool wanted(const RecordView& record, Lsn lsn) {
    const Time at{std::chrono::microseconds{record.processed_us()}};
    if (range.since && at < *range.since) return false;
    if (range.until && at >= *range.until) return false;
    return is_visible(store, reader, record.header.flags(), lsn, record.processed_us());
  }

  /// The records of some bytes, but for those below `from`; false when the visitor wants no more.
  bool visit_all(lmdb::Bytes bytes, Lsn begin, Lsn from) {
    const auto visit = [&](const RecordView& record, const MessageHash&, Lsn lsn) {
      if (lsn < from || !wanted(record, lsn)) return true;
      const std::string& scope = names.of(record.header.scope);
      if (range.scope && *range.scope != scope) return true;
      Record visited = record_of(record, lsn);
      visited.scope = scope;
      return visitor(visited);
    };
    return for_each_record(bytes, begin, store.identity().hash_seed, visit,
                           [&](Lsn lsn, lmdb::Bytes) { throw records.damaged(lsn); });
  }

  /// The block of the log that has `at`, or the first one after it. One at a time is copied out, so that the visitor's
  /// time pins no pages. Moves `at` past it; false when the scan is at its end.
  bool visit_block(Lsn& at, std::vector<std::byte>& copy) {
    Lsn block_lsn;
    {
      const lmdb::ReadTxn::Active active(reader.txn());
      const auto block = Log::block_at(reader.txn(), at);
      if (!block) return false;  // Everything that is on disk was deleted as expired.
      block_lsn = block->lsn;
      copy.assign(block->bytes.begin(), block->bytes.end());
    }
    if (!visit_all(copy, block_lsn, at)) return false;
    at = Lsn{block_lsn.value + copy.size()};
    return true;
  }

  /// The record at `at`, which is not on disk yet, unless the flusher and a producer pass by: then `at` stays. Moves
  /// `at` past it; false when the visitor wants no more.
  bool visit_in_ring(Lsn& at, std::vector<std::uint64_t>& words) {
    const Ring ring = store.state().ring();
    std::array<std::uint64_t, 3> head_words;
    static_assert(sizeof head_words >= kRecordHeaderBytes);
    if (!ring.read(at, head_words)) return true;
    const RecordHeader header = RecordHeader::load(reinterpret_cast<const std::byte*>(head_words.data()));
    if (!header.well_formed()) {
      throw error_at(ErrorCode::corrupt, store.directory(), "the shared memory holds no record at LSN {}", at.value);
    }
    words.resize(header.bytes() / kRecordUnit);
    if (!ring.read(at, words)) return true;
    if (!visit_all(std::as_bytes(std::span(words)), at, at)) return false;
    at.value += header.bytes();
    return true;
  }
};

void Records::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  store_.check_usable();
  Reader& reader = store_.reader();
  Scan scan{*this, store_, range, visitor, reader, ScopeNames(reader.txn(), store_.catalog())};
  // The head before the layout, as in Flusher::commit.
  const Lsn end = store_.head();
  std::uint64_t epoch = 0;
  Lsn at = oldest_lsn(store_.header().layout.read(epoch), end);
  std::vector<std::byte> copy;
  std::vector<std::uint64_t> words;
  while (at < end) {
    if (!(at < store_.durable() ? scan.visit_block(at, copy) : scan.visit_in_ring(at, words))) return;
  }
}

}  // namespace oncelog::internal
