#include "engine/reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace oncelog::internal {
namespace {

Error damaged(Lsn lsn, const std::filesystem::path& path) {
  return error_at(ErrorCode::corrupt, path, "the record at LSN {} does not match its checksum", lsn.value);
}

/// Has both ends of the record that the probe would be fetched: it seldom lies in one cache line.
void prefetch_record(lmdb::Bytes bytes, const Probe& probe) {
  if (bytes.empty()) return;
  __builtin_prefetch(bytes.data());
  __builtin_prefetch(bytes.data() + std::min(bytes.size(), record_bytes(probe.id.size())) - 1);
}

}  // namespace

Reader::Reader(const lmdb::Env& env, const Log& log, BlockDirectory& directory, const SharedHeader& live, Ring ring,
               ViewCache& views)
    : live_(live), ring_(ring), views_(views), path_(env.path()), log_(env, log, directory) {}

template <typename Visit>
void Reader::each_hint(const View& view, const Probe& probe, LaneMask lanes, Visit visit) const {
  for (; lanes != 0; lanes &= lanes - 1) {
    const View::Bucket& bucket = view.buckets[view.bucket_of_lane[static_cast<unsigned>(std::countr_zero(lanes))]];
    // Newest first: a chain has entries in each, and what they name need not be read once a newer one was found.
    for (auto table = bucket.tables.rbegin(); table != bucket.tables.rend(); ++table) {
      (*table)->each(probe.hash, probe.of,
                     [&](std::uint64_t offset) { visit(Lsn{bucket.info.first_lsn.value + offset * kRecordUnit}); });
    }
  }
}

std::optional<Found> Reader::look(const View& view, const Probe& probe, RecordCopy* copy) {
  // Most duplicates are of the newest bucket: what of its index they need comes along with the filter's line.
  view.prefetch_newest(probe.hash);
  const LaneMask lanes = view.candidates(probe.hash);
  if (lanes == 0) return std::nullopt;
  ThreadTally::add(counters.filter_candidates);
  std::optional<Found> newest;
  Snapshot snapshot;
  each_hint(view, probe, lanes, [&](Lsn lsn) {
    if (newest && lsn <= newest->lsn) return;
    bool renewed = false;  // Nothing of an earlier snapshot is kept here.
    if (const auto found = follow(lsn, probe, copy, snapshot, renewed)) newest = found;
  });
  return newest;
}

void Reader::look(const View& view, std::span<const Probe> probes, std::span<std::optional<Found>> out,
                  std::span<RecordCopy> copies) {
  struct Hint {
    std::uint32_t probe;
    Lsn lsn;
    lmdb::Bytes in_log;  // Empty when it was in the ring, or the snapshot that it was found in is gone.
  };
  constexpr std::size_t kStride = 64;
  LaneMask lanes[kStride];
  Hint hints[4 * kStride];
  for (std::size_t begin = 0; begin < probes.size(); begin += kStride) {
    const auto some = probes.subspan(begin, std::min(kStride, probes.size() - begin));
    std::size_t candidates = 0;
    for (std::size_t i = 0; i < some.size(); ++i) {
      out[begin + i].reset();
      lanes[i] = view.candidates(some[i].hash);
      if (lanes[i] == 0) continue;
      ++candidates;
      for (LaneMask rest = lanes[i]; rest != 0; rest &= rest - 1) {
        const unsigned bucket = view.bucket_of_lane[static_cast<unsigned>(std::countr_zero(rest))];
        for (const auto& table : view.buckets[bucket].tables) table->prefetch(some[i].hash);
      }
    }
    if (candidates == 0) continue;
    ThreadTally::add(counters.filter_candidates, candidates);

    // Collect the hints, and have the memory behind them fetched.
    Snapshot snapshot;
    std::size_t hint_count = 0;
    const auto forget_snapshot = [&] {
      for (Hint& hint : std::span(hints, hint_count)) hint.in_log = {};
    };
    const auto follow_all = [&] {
      for (const Hint& hint : std::span(hints, hint_count)) {
        auto& newest = out[begin + hint.probe];
        if (newest && hint.lsn <= newest->lsn) continue;
        RecordCopy* const copy = copies.empty() ? nullptr : &copies[begin + hint.probe];
        bool renewed = false;
        if (const auto found = hint.in_log.empty() ? follow(hint.lsn, some[hint.probe], copy, snapshot, renewed)
                                                   : compare_in_log(hint.in_log, hint.lsn, some[hint.probe], copy)) {
          newest = found;
        }
        if (renewed) forget_snapshot();
      }
      hint_count = 0;
    };
    for (std::uint32_t i = 0; i < some.size(); ++i) {
      if (lanes[i] == 0) continue;
      each_hint(view, some[i], lanes[i], [&](Lsn lsn) {
        if (hint_count == std::size(hints)) follow_all();
        lmdb::Bytes in_log;
        if (ring_.holds(lsn)) {
          ring_.prefetch(lsn);
        } else {
          bool renewed = false;
          in_log = find_in_log(lsn, log_.guess(lsn), snapshot, renewed).value_or(lmdb::Bytes{});
          if (renewed) forget_snapshot();
          prefetch_record(in_log, some[i]);
          if (!in_log.empty()) ThreadTally::add(counters.log_reads);
        }
        hints[hint_count++] = {i, lsn, in_log};
      });
    }
    follow_all();
  }
}

std::optional<Found> Reader::look_again(const View& view, const Probe& probe, Lsn floor, bool& passed,
                                        RecordCopy* copy) {
  std::optional<Found> newest;
  // Newest first, down to the table that was the one written to when `floor` was the head.
  for (auto bucket = view.buckets.rbegin(); bucket != view.buckets.rend(); ++bucket) {
    for (std::size_t t = bucket->tables.size(); t-- > 0;) {
      bucket->tables[t]->each(probe.hash, probe.of, [&](std::uint64_t offset) {
        const Lsn lsn{bucket->info.first_lsn.value + offset * kRecordUnit};
        if (lsn < floor || (newest && lsn <= newest->lsn)) return;
        if (const auto found = follow_in_ring(lsn, probe, copy, passed)) newest = found;
      });
      if (bucket->info.table_lsn[t] <= floor) return newest;
    }
  }
  return newest;
}

std::optional<Found> Reader::follow(Lsn lsn, const Probe& probe, RecordCopy* copy, Snapshot& snapshot, bool& renewed) {
  if (ring_.holds(lsn)) {
    bool passed = false;
    const auto found = follow_in_ring(lsn, probe, copy, passed);
    if (!passed) return found;
  }
  const LogLookup::Guess guess = log_.guess(lsn);
  if (guess.place) prefetch_record(guess.place->bytes, probe);  // While the snapshot is taken.
  const auto bytes = find_in_log(lsn, guess, snapshot, renewed);
  if (!bytes) return std::nullopt;  // Expired and deleted.
  ThreadTally::add(counters.log_reads);
  return compare_in_log(*bytes, lsn, probe, copy);
}

std::optional<Found> Reader::follow_in_ring(Lsn lsn, const Probe& probe, RecordCopy* copy, bool& passed) const {
  // A hint at or above head is of a record that was never accepted, or is about to be: then this look-up comes before
  // it. Acquire: pairs with the release of head by the producer.
  const std::uint64_t head = live_.marks.head.load(std::memory_order_acquire);
  if (lsn.value + kRecordHeaderBytes > head) return std::nullopt;
  RecordBuffer buffer;
  const auto words = read_for(probe, lsn, head - lsn.value, buffer);
  if (!words) {
    passed = true;
    return std::nullopt;
  }
  const auto found = compare(std::as_bytes(std::span(buffer).first(*words)), lsn, probe);
  if (copy == nullptr || !found) [[likely]]
    return found;
  copy->words.clear();
  if (!found->has_attributes()) return found;
  // Its checksum has vouched for its length.
  copy->words.resize(RecordHeader::load(reinterpret_cast<const std::byte*>(buffer.data())).bytes() / kRecordUnit);
  if (ring_.read(lsn, copy->words)) return found;
  copy->words.clear();
  passed = true;
  return std::nullopt;
}

/// Copies as much of the record at `lsn` as it takes to compare it with the probe, at most `limit` bytes; returns how
/// many words, nothing when the ring has gone past it.
std::optional<std::size_t> Reader::read_for(const Probe& probe, Lsn lsn, std::size_t limit,
                                            RecordBuffer& buffer) const {
  const bool message = probe.of == MessageHash::Of::message;
  const std::size_t plain = message ? record_bytes(probe.id.size()) : round_to_unit(kRecordHeaderBytes);
  std::size_t words = std::min(plain, limit) / kRecordUnit;
  if (!ring_.read(lsn, std::span(buffer).first(words))) return std::nullopt;
  const RecordHeader header = RecordHeader::load(reinterpret_cast<const std::byte*>(buffer.data()));
  if (header.is_plain()) [[likely]]
    return words;
  const std::size_t wanted = message ? plain + header.extra_bytes() : header.bytes();
  words = std::min({wanted, limit, sizeof buffer}) / kRecordUnit;
  if (!ring_.read(lsn, std::span(buffer).first(words))) return std::nullopt;
  return words;
}

bool Reader::copy(Lsn lsn, std::vector<std::byte>& out) {
  // Acquire: pairs with the release of head by the producer.
  const std::uint64_t head = live_.marks.head.load(std::memory_order_acquire);
  if (lsn.value + kRecordHeaderBytes > head) return false;
  std::array<std::uint64_t, round_to_unit(kRecordHeaderBytes) / kRecordUnit> first;
  if (ring_.read(lsn, first)) {
    const RecordHeader header = RecordHeader::load(reinterpret_cast<const std::byte*>(first.data()));
    if (!header.well_formed() || header.bytes() > head - lsn.value) return false;
    std::vector<std::uint64_t> words(header.bytes() / kRecordUnit);
    if (ring_.read(lsn, words)) {
      const auto bytes = std::as_bytes(std::span(words));
      out.assign(bytes.begin(), bytes.end());
      return true;
    }
  }
  LogLookup::Snapshot snapshot(log_);
  const auto bytes = snapshot.find(lsn);
  if (!bytes) return false;
  ThreadTally::add(counters.log_reads);
  const auto record = decode_record(*bytes);
  if (!record) return false;
  out.assign(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(record->header.bytes()));
  return true;
}

Lsn Reader::log_end() {
  const lmdb::ReadTxn::Active active(txn());
  const auto last = lmdb::seek(txn().env(), txn().cursor(), MDB_LAST);
  return last ? Lsn{last->key + last->value.size()} : Lsn{};
}

std::optional<lmdb::Bytes> Reader::find_in_log(Lsn lsn, const LogLookup::Guess& guess, Snapshot& snapshot,
                                               bool& renewed) {
  // The snapshot is taken after the ring was seen to have gone past the record, that is after its commit.
  if (!snapshot) {
    snapshot.emplace(log_);
    return snapshot->find(lsn, guess);
  }
  if (auto bytes = snapshot->find(lsn, guess)) return bytes;
  // A snapshot taken for an earlier hint may be older than this record's commit.
  renewed = true;
  snapshot.reset();
  snapshot.emplace(log_);
  return snapshot->find(lsn);
}

std::optional<Found> Reader::compare_in_log(lmdb::Bytes bytes, Lsn lsn, const Probe& probe, RecordCopy* copy) const {
  const auto found = compare(bytes, lsn, probe);
  if (copy == nullptr || !found) [[likely]]
    return found;
  copy->words.clear();
  if (!found->has_attributes()) return found;
  const std::size_t size = std::min(RecordHeader::load(bytes.data()).bytes(), bytes.size());
  copy->words.resize(size / kRecordUnit);
  std::memcpy(copy->words.data(), bytes.data(), copy->words.size() * kRecordUnit);
  return found;
}

std::optional<Found> Reader::compare(lmdb::Bytes bytes, Lsn lsn, const Probe& probe) const {
  if (probe.of == MessageHash::Of::correlation) {
    const auto record = decode_record(bytes, RecordPart::names);
    if (!record || record->correlation() != probe.id || !record->names_intact()) return std::nullopt;
    return Found{lsn, record->processed_us(), record->header.flags(), record->attributes->previous};
  }
  const auto match = [&](const auto& record, std::uint64_t previous) -> std::optional<Found> {
    if (record.header.scope != probe.scope || record.id != probe.id) return std::nullopt;
    if (!record.intact(lsn, probe.hash.digest())) throw damaged(lsn, path_);
    if ((record.header.flags() & kVoid) != 0) return std::nullopt;
    return Found{lsn, record.processed_us(), record.header.flags(), previous};
  };
  if (const auto plain = decode_plain(bytes)) return match(*plain, 0);
  const auto record = decode_record(bytes, RecordPart::id);
  return record ? match(*record, record->attributes ? record->attributes->previous : 0) : std::nullopt;
}

}  // namespace oncelog::internal
