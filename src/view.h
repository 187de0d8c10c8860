#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "index.h"
#include "layout.h"
#include "live.h"
#include "window_filter.h"

namespace oncelog::internal {

/// One layout with everything it names mapped into this process. Immutable; held by threads until they see a newer
/// epoch, so that unlinked files stay mapped for as long as somebody looks into them. A thread that looks no more, and
/// does not end, keeps their space: holes can't be punched into them, because a reader that falls into one on a full
/// tmpfs, where even a page of zeros takes space, dies of SIGBUS.
struct View {
  struct Bucket {
    BucketInfo info;
    std::vector<std::shared_ptr<IndexTable>> tables;  // Oldest first; the last one is written to.

    IndexTable& newest_table() const { return *tables.back(); }
  };

  std::uint64_t epoch = 0;
  Layout layout;
  std::vector<std::shared_ptr<FilterGeneration>> generations;  // Oldest first; the last one is written to.
  std::vector<Bucket> buckets;                                 // Oldest first; the last one is written to.
  LaneMask live_lanes = 0;
  std::array<std::uint8_t, kLanes> bucket_of_lane{};

  void prefetch(const MessageHash& hash) const {
    for (const auto& generation : generations) generation->prefetch(hash);
  }

  /// The live lanes that may hold the id; 0 means that none does.
  LaneMask candidates(const MessageHash& hash) const {
    LaneMask lanes = 0;
    for (const auto& generation : generations) lanes |= generation->candidates(hash);
    return lanes & live_lanes;
  }
};

/// Names of the derived files in the live directory.
std::string filter_name(std::uint64_t number);
std::string index_name(std::uint64_t bucket, std::uint64_t part);

/// The process's newest View. Thread-safe.
class ViewCache {
 public:
  ViewCache(const Live& live, std::filesystem::path live_dir) : live_(live), live_dir_(std::move(live_dir)) {}

  /// The view of the layout in force; maps what is new in it. Throws Error::in_use when a file that the layout names is
  /// missing or not of this store.
  std::shared_ptr<const View> newest();

  /// Makes the empty file of an index table or a filter generation, before a layout names it.
  void make_index(std::uint64_t bucket, std::uint64_t part, std::uint64_t slots) const;
  void make_filter(std::uint64_t number, std::uint64_t lines) const;

  /// Throws Error::in_use when a file that is made and waits to be used is missing or not of this store.
  void check_spares(const Layout& layout) const;

  /// Deletes the filter and index files that `layout` does not name. The caller holds LMDB's write lock, under which
  /// alone such files are made.
  void remove_strays(const Layout& layout) const;

 private:
  std::shared_ptr<View> build(const Layout& layout, std::uint64_t epoch, const View* previous) const;
  MappedFile map(const std::string& name, const FileStamp& stamp) const;

  const Live& live_;
  std::filesystem::path live_dir_;
  std::mutex mutex_;
  std::shared_ptr<const View> view_;
};

}  // namespace oncelog::internal
