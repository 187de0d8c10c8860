#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>

#include <oncelog/oncelog.h>

#include "api/store_access.h"
#include "files.h"
#include "settings.h"
#include "workload.h"

namespace oncelog::bench {

/// A store in a directory of its own, that goes with the object.
class ScratchStore {
 public:
  static constexpr unsigned kBuckets = kDefaultBuckets;
  /// So long that what a benchmark really takes is no part of it.
  static constexpr std::chrono::hours kRetention{24 * 80};

  ScratchStore(const Settings& settings, Live live, std::uint64_t expected_ids,
               std::chrono::milliseconds retention = kRetention, unsigned buckets = kBuckets)
      : dir_(settings.store_dir),
        live_dir_(live == Live::tmpfs ? std::make_optional<ScratchDir>(settings.tmpfs_dir) : std::nullopt),
        slice_(retention / buckets) {
    // At the beginning of a bucket's time, so that `buckets` slices of work make `buckets` buckets.
    const std::chrono::microseconds now{host_.wall_us()};
    host_.advance(slice_ - now % slice_ + slice_ / 4096);
    options_.retention = retention;
    options_.buckets = buckets;
    options_.expected_ids = expected_ids;
    if (live_dir_) options_.live_dir = live_dir_->path();
    reopen();
  }

  const Store& store() const { return *store_; }
  const Scope& scope() const { return *scope_; }
  HurriedHost& host() { return host_; }

  void close() {
    scope_.reset();
    store_.reset();
  }
  void reopen() {
    store_.emplace(StoreAccess::open(directory(), options_, host_));
    scope_.emplace(store_->scope("bench"));
  }
  /// Deletes what is derived from data.mdb; closed.
  void remove_derived() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      if (entry.path().extension() != ".mdb") std::filesystem::remove(entry.path());
    }
    empty_tmpfs();
  }
  enum class Caches { empty, kept };
  /// As if the machine had booted: its tmpfs is empty, and its caches are; closed.
  void reboot(Caches caches = Caches::empty) {
    host_.boot();
    empty_tmpfs();
    if (caches == Caches::empty) drop_cached(directory());
  }

  /// Calls mark(begin, end) for all of [0, ids), while as much time passes as makes `buckets` of them. It passes a 64th
  /// of a slice at a time, as time does, not by slices at once; within the last slice it stands, so that the figures of
  /// memory count no table for a bucket to come.
  template <typename MarkRange>
  void fill(std::size_t ids, unsigned buckets, MarkRange mark) {
    constexpr std::size_t kStepsASlice = 64;
    const std::size_t steps = buckets * kStepsASlice;
    for (std::size_t step = 0; step < steps; ++step) {
      mark(ids * step / steps, ids * (step + 1) / steps);
      if (step + kStepsASlice < steps) host_.advance(slice_ / kStepsASlice);
    }
  }

 private:
  std::filesystem::path directory() const { return dir_.path() / "store"; }
  void empty_tmpfs() const {
    if (!live_dir_) return;
    for (const auto& entry : std::filesystem::directory_iterator(live_dir_->path()))
      std::filesystem::remove_all(entry.path());
  }

  ScratchDir dir_;
  std::optional<ScratchDir> live_dir_;
  HurriedHost host_;
  std::chrono::microseconds slice_;
  Options options_;
  std::optional<Store> store_;
  std::optional<Scope> scope_;
};

}  // namespace oncelog::bench
