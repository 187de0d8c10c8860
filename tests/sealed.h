#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "background/sealer.h"
#include "healed.h"

namespace oncelog::testing {

inline constexpr int kMany = static_cast<int>(internal::Sealer::kLeastEntries) + 500;

/// A store without its engine, and what seals its buckets.
struct Sealed : Healed {
  std::optional<internal::Sealer> sealer;

  /// `own`: with the shared memory in the store's directory.
  explicit Sealed(bool own = false) {
    if (own) {
      live_dir = tables.dir.path();
      open();
    }
    restart();
  }

  void restart() {
    sealer.emplace(tables.env, *tables.log, *tables.catalog, *live, *views, *clock,
                   internal::Sealer::Places{tables.dir.path(), live_dir, store_file_id});
  }
  /// Accepts ids of these numbers with a flush now and then, as the ring wants it, and lets the bucket heal.
  void fill(int begin, int end) {
    for (int i = begin; i < end; i += 2'000) {
      append_all(i, std::min(end, i + 2'000));
      flush();
      tick_all();
    }
    heal();
  }
  void seal() {
    int steps = 0;
    while (sealer->step()) REQUIRE(++steps < kMostRounds);
  }
  /// The background looks, and looks again when nothing has come for a while.
  void come_to_rest() {
    sealer->due();
    host.advance(std::chrono::microseconds{internal::Sealer::kQuietUs});
  }
  /// The machine boots, after everything in `before` was done to the files.
  void reboot(const std::function<void()>& before = [] {}) {
    sealer.reset();
    close();
    host.reboot();
    before();
    open();
    views->newest();
  }
  auto notes() const { return tables.catalog->sealed(internal::lmdb::Txn(tables.env, MDB_RDONLY), store_file_id); }
  std::vector<std::string> files() const { return files_in(tables.dir.path(), "sealed-"); }
  int unfiltered(int begin, int end, unsigned position = 0) {
    int missing = 0;
    const auto view = views->newest();
    const unsigned lane = layout().buckets[position].lane;
    for (int i = begin; i < end; ++i) {
      missing += (view->candidates(probe(std::to_string(i)).hash) >> lane & 1) == 0;
    }
    return missing;
  }
};

/// A closed bucket of kMany records and one more, and the beginning of the next.
inline void fill_two(Sealed& store) {
  store.fill(0, kMany);
  store.next_bucket();
  store.append_all(kMany, kMany + 10);
  store.flush();
}

inline void check_two(Sealed& store) {
  CHECK(store.missing(0, kMany) == 0);
  CHECK(store.unfiltered(0, kMany) == 0);
  CHECK(store.missing(kMany, kMany + 10, 1) == 0);
  CHECK(store.unfiltered(kMany, kMany + 10, 1) == 0);
  CHECK(store.views->newest()->buckets[0].records() == static_cast<std::uint64_t>(kMany));
  CHECK(store.views->newest()->reaches(store.head()));
}

}  // namespace oncelog::testing
