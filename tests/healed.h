#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "background/upkeep.h"
#include "parts.h"

namespace oncelog::testing {

/// A store without its engine, planned for 1024 ids in a bucket, and its upkeep.
struct Healed : Parts {
  std::optional<internal::Upkeep> upkeep;  // Of the shared memory that is open.

  static constexpr int kMostRounds = 1'000;  // More than there ever are, unless it never comes to rest.

  Healed() : Parts({.expected_ids = 1, .ring_bytes = std::uint64_t{1} << 20}) { start_upkeep(); }

  void open() {
    upkeep.reset();
    Parts::open();
    start_upkeep();
  }
  void start_upkeep() {
    upkeep.emplace(tables.env, *tables.log, identity.hash_seed, *live, *views, rules, *clock,
                   std::chrono::milliseconds{50}, host.processors());
  }

  /// Accepts ids of these numbers, as producers do: they take the spare table when theirs is full.
  void append_all(int begin, int end, const Attributes* attributes = nullptr) {
    for (int i = begin; i < end; ++i) {
      if (!layout().empty() && views->newest()->buckets.back().newest_table().full()) {
        if (layout().spare_table_slots == 0) upkeep->serve(internal::Upkeep::Demand::table);
        internal::Layout next = layout();
        internal::grow_index(next, head());
        header().layout.publish(next);
      }
      append(std::to_string(i), 0, attributes);
    }
  }
  /// The same for records of some 3 KB each, which it also writes into the log.
  void append_large(int begin, int end) {
    const std::string result(3'000, 'r');
    const Attributes attributes{.result = result};
    for (; begin < end; begin += 200) {
      append_all(begin, std::min(begin + 200, end), &attributes);
      flush();
    }
  }
  void tick_all() {
    int rounds = 0;
    while (upkeep->tick()) REQUIRE(++rounds < kMostRounds);
  }
  /// As the background does it: one round after the other, with a flush between.
  void heal() {
    tick_all();
    flush();
    tick_all();
  }
  void next_bucket() {
    host.advance(std::chrono::seconds{10});
    upkeep->serve(internal::Upkeep::Demand::bucket);
    open_bucket();
  }

  const internal::BucketInfo& bucket(unsigned position) {
    kept_ = layout();
    return kept_.buckets[position];
  }
  /// How many entries of bucket `position` may be of this id.
  int entries_of(const std::string& id, unsigned position = 0) {
    int entries = 0;
    const auto view = views->newest();
    for (const auto& table : view->buckets[position].tables)
      table->each(probe(id).hash, internal::MessageHash::Of::message, [&](std::uint64_t) { ++entries; });
    return entries;
  }
  int missing(int begin, int end, unsigned position = 0) {
    int missing = 0;
    for (int i = begin; i < end; ++i) missing += entries_of(std::to_string(i), position) == 0;
    return missing;
  }

 private:
  internal::Layout kept_;
};

}  // namespace oncelog::testing
