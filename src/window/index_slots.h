#pragma once

#include <atomic>
#include <cstdint>

#include "base/message_hash.h"
#include "window/index.h"

namespace oncelog::internal {

/// The slots of an index table that several threads fill at once, in its file or in memory that is written to the file
/// when it is full. For a table that nobody looks into yet: all accesses are relaxed, and what publishes the table
/// publishes its slots. Does not count: its user keeps a table at most as full as it may be.
class IndexSlots {
 public:
  IndexSlots(std::atomic<std::uint64_t>* words, std::uint64_t slots) : words_(words), slots_(slots) {}

  void prefetch(const MessageHash& hash) const { __builtin_prefetch(&words_[hash.home(slots_)], 1); }

  /// Adds an entry unless it is there; false when there is no room. The order in which threads add theirs makes no
  /// difference to a look-up, which goes through all entries of its tag.
  bool insert(const MessageHash& hash, MessageHash::Of of, std::uint64_t offset) const {
    const std::uint64_t word = Slot::of(hash.tag(of), offset).word;
    std::uint64_t at = hash.home(slots_);
    for (std::uint64_t step = 0; step < slots_; ++step) {
      std::uint64_t there = words_[at].load(std::memory_order_relaxed);
      if (there == 0 && words_[at].compare_exchange_strong(there, word, std::memory_order_relaxed)) return true;
      if (there == word) return true;
      if (++at == slots_) at = 0;
    }
    return false;
  }

  /// Makes the entry of this hash at `from` name `to` instead; false when there is none. Entries of one hash are moved
  /// by one thread at a time.
  bool move(const MessageHash& hash, MessageHash::Of of, std::uint64_t from, std::uint64_t to) const {
    const std::uint64_t word = Slot::of(hash.tag(of), from).word;
    std::uint64_t at = hash.home(slots_);
    for (std::uint64_t step = 0; step < slots_; ++step) {
      const std::uint64_t there = words_[at].load(std::memory_order_relaxed);
      if (there == 0) return false;
      if (there == word) {
        words_[at].store(Slot::of(hash.tag(of), to).word, std::memory_order_relaxed);
        return true;
      }
      if (++at == slots_) at = 0;
    }
    return false;
  }

 private:
  std::atomic<std::uint64_t>* words_;
  std::uint64_t slots_;
};

}  // namespace oncelog::internal
