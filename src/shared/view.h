#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/exported.h"
#include "base/side_thread.h"
#include "shared/shared_state.h"
#include "window/index.h"
#include "window/layout.h"
#include "window/window_filter.h"

namespace oncelog::internal {

/// One layout with everything it names mapped into this process. Immutable. Threads hold it until they see a newer
/// epoch, so that unlinked files stay mapped for as long as somebody reads them. An idle thread keeps their space:
/// holes must not be punched into them, because a reader that comes to a hole on a full tmpfs, where even a page of
/// zeros takes space, dies of SIGBUS.
struct View {
  template <typename... Calls>
  struct Overloaded : Calls... {
    using Calls::operator()...;
  };
  template <typename... Calls>
  Overloaded(Calls...) -> Overloaded<Calls...>;

  struct Bucket {
    BucketInfo info;
    std::vector<std::shared_ptr<IndexTable>> tables;  // Oldest first; the last one is written to.

    IndexTable& newest_table() const { return *tables.back(); }

    /// Entries of a table, no more than it can have, and how many of them are copies. Right for any file: it may be
    /// damaged.
    static std::uint64_t entries_of(const IndexTable& table) {
      return std::min(table.count(), IndexTable::capacity_of(table.slots()));
    }
    static std::uint64_t copies_in(const IndexTable& table) {
      return std::min(table.copied_entries(), entries_of(table));
    }

    /// Entries in all tables, each once. The newest table may have copies of what the older ones have.
    std::uint64_t entries() const {
      std::uint64_t sum = entries_of(*tables.front());
      for (std::size_t t = 1; t < tables.size(); ++t) sum += entries_of(*tables[t]) - copies_in(*tables[t]);
      return sum;
    }
    /// Records that have their entries in these tables, for people to read.
    std::uint64_t records() const {
      std::uint64_t sum = tables.front()->records();
      for (std::size_t t = 1; t < tables.size(); ++t) {
        sum += tables[t]->records() - std::min(tables[t]->copied_records(), tables[t]->records());
      }
      return sum;
    }
  };

  std::uint64_t epoch = 0;
  Layout layout;
  std::vector<std::shared_ptr<FilterGeneration>> generations;  // Oldest first; the last one is written to.
  std::vector<Bucket> buckets;                                 // Oldest first; the last one is written to.
  // What is built, of the bucket layout.building_bucket and of all; null when nothing is, or when its file cannot be
  // mapped: only who builds needs it. If the file is lost, whoever comes to build gives it up.
  std::shared_ptr<IndexTable> built_table;
  std::shared_ptr<FilterGeneration> built_generation;
  bool built_is_lost = false;
  LaneMask live_lanes = 0;
  std::array<std::uint8_t, kLanes> bucket_of_lane{};

  void prefetch(const MessageHash& hash) const {
    for (const auto& generation : generations) generation->prefetch(hash);
  }

  /// What the files that are built have still to be allocated.
  std::uint64_t unallocated_bytes() const {
    const auto left = [](std::uint64_t file_bytes, std::uint64_t allocated) {
      return allocated == 0 ? 0 : file_bytes - std::min(allocated, file_bytes);
    };
    std::uint64_t bytes = 0;
    if (built_table) bytes += left(IndexTable::file_bytes(built_table->slots()), built_table->allocated());
    if (built_generation) {
      bytes += left(FilterGeneration::file_bytes(built_generation->lines()), built_generation->allocated());
    }
    return bytes;
  }

  /// What is searched of the table that is written to.
  void prefetch_newest(const MessageHash& hash) const {
    if (!buckets.empty()) buckets.back().newest_table().prefetch(hash);
  }

  /// Where the records of the bucket at this position end, `head` for the current one.
  Lsn bucket_end(std::size_t position, Lsn head) const {
    return position + 1 < buckets.size() ? buckets[position + 1].info.first_lsn : head;
  }

  /// Calls visit(hints, lane, end) for each IndexTable, with a lane of no meaning, and for each FilterGeneration and
  /// lane, if they hold any record below `head`. `end` is how far they must reach.
  template <typename Visit>
  void each_end(Lsn head, Visit visit) const {
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      const BucketInfo& info = buckets[i].info;
      const Lsn end = bucket_end(i, head);
      for (std::size_t t = 0; t < buckets[i].tables.size(); ++t) {
        const Lsn table_end = t + 1 < info.tables ? info.table_lsn[t + 1] : end;
        if (info.table_lsn[t] < table_end) visit(*buckets[i].tables[t], info.lane, table_end);
      }
      for (std::size_t g = 0; g < generations.size(); ++g) {
        const Lsn begin = std::max(info.first_lsn, layout.generations[g].first_lsn);
        const Lsn last = g + 1 < generations.size() ? std::min(end, layout.generations[g + 1].first_lsn) : end;
        if (begin < last) visit(*generations[g], info.lane, last);
      }
    }
  }

  /// Whether every table and generation has its records below `head`: none is older than `live`.
  bool reaches(Lsn head) const {
    bool all = true;
    each_end(head, Overloaded{[&](const IndexTable& table, unsigned, Lsn end) { all &= table.reached() >= end; },
                              [&](const FilterGeneration& generation, unsigned lane, Lsn end) {
                                all &= generation.reached(lane) >= end;
                              }});
    return all;
  }

  /// The end of the newest record that any table or generation has noted.
  Lsn reached() const {
    Lsn farthest;
    for (const Bucket& bucket : buckets) {
      for (const auto& table : bucket.tables) farthest = std::max(farthest, table->reached());
      for (const auto& generation : generations) farthest = std::max(farthest, generation->reached(bucket.info.lane));
    }
    return farthest;
  }

  /// The live lanes that may hold the id; 0 if none does.
  LaneMask candidates(const MessageHash& hash) const {
    LaneMask lanes = 0;
    for (const auto& generation : generations) lanes |= generation->candidates(hash);
    return lanes & live_lanes;
  }
};

/// The names of the derived files.
std::string filter_name(std::uint64_t number);
std::string index_name(std::uint64_t bucket, std::uint64_t part);
/// Whether it is a name of a filter or index file, or of one that was set aside.
bool is_hint_name(std::string_view name);

/// Gives the file in a live directory that no process has open a name under which nobody looks for it, in place of
/// deleting it: that takes a second where it is large. ViewCache::remove_set_aside deletes it later.
void set_aside(const std::filesystem::path& hints);
bool is_set_aside(std::string_view name);

/// The newest View of this process. Thread-safe.
class ViewCache {
 public:
  /// `store_dir` has the sealed tables that a layout may name.
  ViewCache(const SharedState& live, std::filesystem::path live_dir, std::filesystem::path store_dir)
      : live_(live), live_dir_(std::move(live_dir)), store_dir_(std::move(store_dir)) {}

  /// The view of the layout in force; maps what is new in it. Throws Error::in_use when a file that the layout names is
  /// missing or belongs to another store.
  ONCELOG_INTERNAL std::shared_ptr<const View> newest();

  /// Lets go of the views that no thread holds any more, and unmaps what only they had. For a gigabyte, whose pages are
  /// freed then, that takes a quarter of a second: another thread does it where it is much. For the background.
  void release_retired();

  std::filesystem::path index_path(std::uint64_t bucket, std::uint64_t part) const {
    return live_dir_ / index_name(bucket, part);
  }
  std::filesystem::path filter_path(std::uint64_t number) const { return live_dir_ / filter_name(number); }

  /// Makes the empty file of an index table or a filter generation, before a layout names it.
  void make_index(std::uint64_t bucket, std::uint64_t part, std::uint64_t slots) const;
  void make_filter(std::uint64_t number, std::uint64_t lines) const;
  /// The same, but only its header is allocated: for a file whose lines are written at once, without a mapping.
  void create_filter(std::uint64_t number, std::uint64_t lines) const;
  /// The same for one that is built: only its header is allocated yet. Error::full, too, where this and what
  /// else is built would leave no room for as much as a ring, which the log needs meanwhile.
  void begin_index(std::uint64_t bucket, std::uint64_t part, std::uint64_t slots);
  void begin_filter(std::uint64_t number, std::uint64_t lines);
  /// Whether the pages of a piece are mapped in this process as well, which takes as long as to allocate them, or with
  /// the first store into each.
  enum class Pages : std::uint8_t { mapped, left };
  /// Allocates one more piece of what the view has begun, in less than a millisecond; returns false when there is
  /// nothing left to allocate. Throws Error::full.
  bool allocate_built_table(const View& view, Pages pages = Pages::mapped) const;
  bool allocate_built_generation(const View& view) const;

  /// Throws Error::in_use when a spare file is missing or belongs to another store.
  void check_spares(const Layout& layout) const;

  /// Deletes the filter and index files that `layout` does not name. The caller holds LMDB's write lock, under which
  /// such files are made while the store is open.
  void remove_strays(const Layout& layout) const;

  /// Whether the live directory has files that were set aside.
  bool has_set_aside() const { return first_set_aside().has_value(); }
  /// Deletes up to 16 MiB of them; returns whether there may be more. Some milliseconds; any thread, without a lock.
  /// One that cannot be deleted is left with the rest: they only cost space.
  bool remove_set_aside() const;

 private:
  using Views = std::vector<std::shared_ptr<const View>>;
  static constexpr std::size_t kMostRetired = 4;
  static constexpr std::uint64_t kMostReleased = std::uint64_t{32} << 20;  // By the background itself.

  std::optional<std::filesystem::path> first_set_aside() const;

  Views retire(std::shared_ptr<const View> view);
  Views released();
  std::shared_ptr<IndexTable> table(const View* previous, std::uint64_t epoch, const BucketInfo& bucket,
                                    std::uint64_t part, std::uint64_t slots) const;
  std::shared_ptr<IndexTable> sealed_table(const BucketInfo& bucket) const;
  std::shared_ptr<FilterGeneration> generation(const View* previous, std::uint64_t epoch, std::uint64_t number,
                                               std::uint64_t lines) const;
  std::shared_ptr<View> build(const Layout& layout, std::uint64_t epoch, const View* previous) const;
  void require_room_for(std::uint64_t file_bytes);
  MappedFile map(const std::string& name, const FileStamp& stamp) const;
  template <typename Hints>
  bool allocate(const std::string& name, std::uint64_t file_bytes, Hints* hints, Pages pages) const;

  const SharedState& live_;
  const std::filesystem::path live_dir_;
  const std::filesystem::path store_dir_;
  std::mutex mutex_;
  std::shared_ptr<const View> view_;
  Views retired_;  // Earlier ones that somebody may still hold, oldest first.
  SideThread releasing_;
};

}  // namespace oncelog::internal
