#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>

#include <oncelog/record.h>

#include "base/message_hash.h"
#include "base/shared_memory.h"
#include "window/derived_file.h"

namespace oncelog::internal {

/// One entry of an index: 24 bits of the hash and where the record is, counted from its bucket's first LSN in units of
/// 8 bytes, plus 1 so that an entry is never 0, which means empty.
struct Slot {
  static constexpr std::uint64_t kOffsetBits = 40;
  static constexpr std::uint64_t kMaxOffset = (std::uint64_t{1} << kOffsetBits) - 2;
  static_assert(MessageHash::kTagBits + kOffsetBits == 64);

  std::uint64_t word = 0;

  static Slot of(std::uint64_t tag, std::uint64_t offset) { return {tag << kOffsetBits | (offset + 1)}; }
  bool empty() const { return word == 0; }
  std::uint64_t tag() const { return word >> kOffsetBits; }
  bool has_tag_of(Slot other) const { return ((word ^ other.word) >> kOffsetBits) == 0; }
  std::uint64_t offset() const { return (word & ((std::uint64_t{1} << kOffsetBits) - 1)) - 1; }
};
static_assert(sizeof(Slot) == 8);

/// One table of a bucket's index: open addressing with linear probing in a mapped file, at most 75% full. A message's
/// entries are added and never changed or removed; a correlation's may move on to a newer record of its chain. The
/// table dies whole with its bucket. An entry is a hint: it may name a record that was never accepted, but none is ever
/// missing for a record that was.
///
/// Thread safety: insert by one thread at a time (under the store's mutex); any number of readers meanwhile, without a
/// lock. Cost: one cache miss, at 75% a second one in half of the cases.
class IndexTable {
 public:
  /// Slots for so many planned ids. They make it 70% full, which leaves time to make a second table before it is 75%
  /// full.
  static constexpr std::uint64_t slots_for(std::uint64_t ids) { return ids * 10 / 7 + 8; }
  static constexpr std::uint64_t planned_of(std::uint64_t slots) { return slots * 7 / 10; }
  static constexpr std::uint64_t capacity_of(std::uint64_t slots) { return slots / 4 * 3; }
  static constexpr std::uint64_t file_bytes(std::uint64_t slots) { return kFileHeaderBytes + slots * sizeof(Slot); }

  /// `file` is file_bytes(slots) long.
  IndexTable(MappedFile file, std::uint64_t slots)
      : file_(std::move(file)),
        slots_(slots),
        count_(reinterpret_cast<std::atomic<std::uint64_t>*>(file_.data() + kCountOffset)),
        records_(count_ + 1),
        reached_(count_ + 2),
        copied_(count_ + 3),
        copied_entries_(count_ + 4),
        copied_records_(count_ + 5),
        allocated_(count_ + 6),
        words_(reinterpret_cast<std::atomic<std::uint64_t>*>(file_.data() + kFileHeaderBytes)) {}

  std::uint64_t slots() const { return slots_; }

  /// Entries, at least: a producer that dies between counting and inserting leaves one too many. Relaxed: it orders
  /// nothing.
  std::uint64_t count() const { return count_->load(std::memory_order_relaxed); }
  /// Slots that are taken; reads them all.
  std::uint64_t occupied() const {
    std::uint64_t taken = 0;
    for (std::uint64_t at = 0; at < slots_; ++at) {
      taken += !Slot{words_[at].load(std::memory_order_relaxed)}.empty();  // Relaxed: only counted.
    }
    return taken;
  }
  /// Whether there is no room for the entries of so many records, two for each. Right for any count: the file may be
  /// damaged.
  bool full(std::uint64_t records = 1) const {
    const std::uint64_t capacity = capacity_of(slots_);
    return count() > capacity || 2 * records > capacity - count();
  }

  /// Records whose entries are here, for people to read. Under the store's mutex, as insert.
  std::uint64_t records() const { return records_->load(std::memory_order_relaxed); }
  void count_record() { records_->store(records() + 1, std::memory_order_relaxed); }

  /// Every record of this table that ends at or below this LSN is in it. Noted when the record is accepted, under the
  /// store's mutex and on the line that insert writes; read by a process that opens the store alone, to find out
  /// whether this file is older than `live`. Relaxed: that process has seen the others end.
  Lsn reached() const { return {reached_->load(std::memory_order_relaxed)}; }
  void reach(Lsn end) { reached_->store(end.value, std::memory_order_relaxed); }

  /// A table that replaces older ones of its bucket gets copies of their records' entries: of all records of the bucket
  /// below this LSN. Raised after the entries; for the holder of the writer gate, as the counts below. Relaxed: they
  /// are guarded by that lock, and only plan.
  Lsn copied() const { return {copied_->load(std::memory_order_relaxed)}; }
  void note_copied(Lsn end) { copied_->store(end.value, std::memory_order_relaxed); }
  /// How many of count() and of records() are copies: the older tables count them as well, until they are dropped.
  std::uint64_t copied_entries() const { return copied_entries_->load(std::memory_order_relaxed); }
  std::uint64_t copied_records() const { return copied_records_->load(std::memory_order_relaxed); }

  /// How many bytes of the file are allocated while the table is built, piece by piece; 0 when all are. Nobody may
  /// touch a slot before. As copied().
  std::uint64_t allocated() const { return allocated_->load(std::memory_order_relaxed); }
  void note_allocated(std::uint64_t bytes) { allocated_->store(bytes, std::memory_order_relaxed); }
  /// See MappedFile::touch.
  void touch(std::uint64_t from, std::uint64_t bytes) { file_.touch(from, bytes); }

  /// The slots from `first` on, as they are now. A slot is read whole; acquire: pairs with the release in insert.
  void read_slots(std::uint64_t first, std::span<std::uint64_t> out) const {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = words_[first + i].load(std::memory_order_acquire);
  }

  /// What a copy of this table has in its header beside the stamp: complete up to `end`, and nobody builds it.
  struct Counts {
    std::uint64_t entries = 0;
    std::uint64_t records = 0;
    std::uint64_t reached = 0;
  };
  Counts counts(Lsn end) const { return {count(), records(), end.value}; }
  static constexpr std::size_t kCountOffset = 128;  // Where they lie in the file.
  static_assert(kCountOffset >= sizeof(FileStamp) && kCountOffset % 64 == 0);
  static void store_counts(std::byte* header, const Counts& counts) {
    std::memcpy(header + kCountOffset, &counts, sizeof counts);
  }

  void prefetch(const MessageHash& hash) const {
    const std::atomic<std::uint64_t>* home = &words_[hash.home(slots_)];
    __builtin_prefetch(home);
    __builtin_prefetch(home + 64 / sizeof(Slot));
  }

  /// Calls visit(offset) for each entry that may be of this hash.
  template <typename Visit>
  void each(const MessageHash& hash, MessageHash::Of of, Visit visit) const {
    const std::uint64_t home = hash.home(slots_);
    const Slot wanted = Slot::of(hash.tag(of), 0);
    // Most searches run into the next cache line: both are fetched at once. A prefetch past the end is harmless.
    __builtin_prefetch(&words_[home + 64 / sizeof(Slot)]);
    if (each_between(words_ + home, words_ + slots_, wanted, visit)) each_between(words_, words_ + home, wanted, visit);
  }

  /// Adds an entry; false when the table is full.
  bool insert(const MessageHash& hash, MessageHash::Of of, std::uint64_t offset) {
    if (count() >= capacity_of(slots_)) return false;
    // Counted first, so that a death in between cannot let the table fill up unnoticed.
    count_->store(count() + 1, std::memory_order_relaxed);
    std::uint64_t at = hash.home(slots_);
    for (std::uint64_t step = 0; step < slots_; ++step) {
      if (Slot{words_[at].load(std::memory_order_relaxed)}.empty()) {
        // Release: pairs with the acquire in each.
        words_[at].store(Slot::of(hash.tag(of), offset).word, std::memory_order_release);
        return true;
      }
      if (++at == slots_) at = 0;
    }
    return false;
  }

  /// What became of a copy.
  enum class Copied { added, there, no_room };

  /// Adds an entry unless it is there, which it is when a process has died before it noted what it had copied. By one
  /// thread at a time, as insert.
  Copied copy(const MessageHash& hash, MessageHash::Of of, std::uint64_t offset) {
    const Slot slot = Slot::of(hash.tag(of), offset);
    std::uint64_t at = hash.home(slots_);
    for (std::uint64_t step = 0; step < slots_; ++step) {
      const std::uint64_t word = words_[at].load(std::memory_order_relaxed);
      if (word == slot.word) return Copied::there;
      if (Slot{word}.empty()) {
        if (count() >= capacity_of(slots_)) return Copied::no_room;
        // Counted first, as in insert.
        count_->store(count() + 1, std::memory_order_relaxed);
        copied_entries_->store(copied_entries() + 1, std::memory_order_relaxed);
        words_[at].store(slot.word, std::memory_order_release);  // Release: pairs with the acquire in each.
        return Copied::added;
      }
      if (++at == slots_) at = 0;
    }
    return Copied::no_room;
  }
  void count_copied_record() {
    count_record();
    copied_records_->store(copied_records() + 1, std::memory_order_relaxed);
  }

  /// For a table that is filled at once by its only process: its slots, and what they have got.
  std::atomic<std::uint64_t>* words() { return words_; }
  void note_filled(std::uint64_t entries, std::uint64_t records) {
    count_->store(entries, std::memory_order_relaxed);
    records_->store(records, std::memory_order_relaxed);
  }

  /// Makes the entry of this hash at `from` name `to` instead; false when there is none.
  bool move(const MessageHash& hash, MessageHash::Of of, std::uint64_t from, std::uint64_t to) {
    std::uint64_t at = hash.home(slots_);
    for (std::uint64_t step = 0; step < slots_; ++step) {
      const Slot slot{words_[at].load(std::memory_order_relaxed)};
      if (slot.empty()) return false;
      if (slot.word == Slot::of(hash.tag(of), from).word) {
        // Release: pairs with the acquire in each.
        words_[at].store(Slot::of(hash.tag(of), to).word, std::memory_order_release);
        return true;
      }
      if (++at == slots_) at = 0;
    }
    return false;
  }

 private:
  /// Calls visit(offset) for each entry with this tag up to an empty slot; false when there is one.
  template <typename Visit>
  static bool each_between(const std::atomic<std::uint64_t>* at, const std::atomic<std::uint64_t>* end, Slot wanted,
                           Visit& visit) {
    for (;; ++at) {
      // A loop of its own, without a call: in registers it takes half as long.
      Slot slot;
      for (;; ++at) {
        if (at == end) return true;
        // Acquire: pairs with the release in insert; the record's bytes were written before.
        slot = {at->load(std::memory_order_acquire)};
        if (slot.empty()) return false;
        if (slot.has_tag_of(wanted)) break;
      }
      visit(slot.offset());
    }
  }

  MappedFile file_;
  std::uint64_t slots_;
  std::atomic<std::uint64_t>* count_;
  std::atomic<std::uint64_t>* records_;
  std::atomic<std::uint64_t>* reached_;
  std::atomic<std::uint64_t>* copied_;
  std::atomic<std::uint64_t>* copied_entries_;
  std::atomic<std::uint64_t>* copied_records_;
  std::atomic<std::uint64_t>* allocated_;
  std::atomic<std::uint64_t>* words_;
};

}  // namespace oncelog::internal
