#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "engine/engine.h"
#include "lmdb/scope_names.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {

std::optional<Record> Engine::record_at(Lsn lsn) {
  Reader& mine = reader();
  std::vector<std::byte> bytes;
  if (!mine.copy(lsn, bytes)) return std::nullopt;
  const auto view = decode_record(bytes);
  const MessageHash hash = view ? MessageHash(scope_seed(view->header.scope), view->id) : MessageHash();
  if (!view || !view->all_intact(lsn, hash.digest())) {
    throw error_at(ErrorCode::corrupt, directory_, "the record at LSN {} is damaged", lsn.value);
  }
  return to_record(*view, lsn);
}

/// All of a record but the scope's name.
Record Engine::to_record(const RecordView& view, Lsn lsn) const {
  Record record;
  record.id = view.id;
  record.processed_at = Time{std::chrono::microseconds{view.header.time_us()}};
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

/// The newest record of a correlation's chain. Its entries in the index move on as it grows, and could do so before and
/// behind a look without the store's mutex: so one at what is newer follows, with it, as in decide.
std::optional<Found> Engine::newest_of_chain(Reader& reader, const Probe& chain) {
  SharedHeader& live = live_->header();
  for (;;) {
    const Lsn looked_at = head();
    const View& view = reader.view();
    auto newest = reader.look(view, chain);
    const StoreLock lock(*live_);
    bool passed = live.layout.epoch() != view.epoch;
    // Relaxed: only written under this lock.
    if (!passed && live.marks.head.load(std::memory_order_relaxed) != looked_at.value) {
      if (const auto newer = reader.look_again(view, chain, looked_at, passed)) newest = newer;
    }
    if (!passed) return newest;
  }
}

/// Follows the chain from its newest record; what it finds is live when it is also the newest word on its id.
std::vector<Record> Engine::correlated(std::string_view correlation) {
  check_correlation(correlation);
  Reader& mine = reader();
  std::vector<Record> records;
  const auto newest = newest_of_chain(mine, correlation_probe(correlation));
  std::vector<std::byte> bytes;
  ScopeNames names(mine.txn(), *catalog_);
  for (Lsn at = newest ? newest->lsn : Lsn{}; at.value != 0;) {
    if (!mine.copy(at, bytes)) break;  // Expired, and all before it.
    const auto view = decode_record(bytes);
    if (!view || view->correlation() != correlation) break;  // Its space has gone to others.
    const Probe probe{view->id, view->header.scope, MessageHash(scope_seed(view->header.scope), view->id)};
    if (!view->all_intact(at, probe.hash.digest())) {
      throw error_at(ErrorCode::corrupt, directory_, "the record at LSN {} is damaged", at.value);
    }
    if (!within_retention(view->header.time_us())) break;
    const auto word = mine.look(mine.view(), probe);
    if (word && word->lsn == at && is_known(mine, *word)) {
      Record record = to_record(*view, at);
      record.scope = names.of(view->header.scope);
      records.push_back(std::move(record));
    }
    const Lsn previous{view->attributes->previous};
    if (previous >= at) break;  // A chain runs back; anything else would never end.
    at = previous;
  }
  std::ranges::reverse(records);
  return records;
}

bool Engine::contains(ScopeKey scope, std::string_view id, std::string_view correlation) {
  check_correlation(correlation);
  const auto found = find(scope, id);
  if (!found) return false;
  std::vector<std::byte> bytes;
  if (!reader().copy(found->lsn, bytes)) return false;
  const auto view = decode_record(bytes);
  return view && view->correlation() == correlation;
}

}  // namespace oncelog::internal
