#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "base/host.h"

namespace oncelog::bench {

/// Message ids of 36 bytes, written as UUIDs are, made reproducibly and ahead of all timing into one flat buffer. Ids
/// of different numbers differ. Read in order they come out of the hardware's prefetcher, so that the timed work is the
/// store's and not the buffer's.
class Ids {
 public:
  static constexpr std::size_t kBytes = 36;

  /// The ids numbered from `first` on.
  Ids(std::uint64_t first, std::size_t count);

  std::size_t size() const { return bytes_.size() / kBytes; }
  std::string_view operator[](std::size_t i) const { return {bytes_.data() + i * kBytes, kBytes}; }

  /// `count` of these in random order, perhaps some of them twice, copied so that they lie in the order of their use.
  Ids sample(std::size_t count, std::uint64_t seed) const;
  /// Those at `positions`, copied in that order.
  Ids at(std::span<const std::size_t> positions) const;

 private:
  Ids() = default;

  std::vector<char> bytes_;
};

/// The next batch of ids as the batch calls take them: up to N from `begin` on.
template <std::size_t N>
class Batch {
 public:
  std::span<const std::string_view> of(const Ids& ids, std::size_t begin) {
    const std::size_t count = ids.size() - begin < N ? ids.size() - begin : N;
    for (std::size_t i = 0; i < count; ++i) views_[i] = ids[begin + i];
    return {views_.data(), count};
  }

 private:
  std::array<std::string_view, N> views_;
};

/// The machine's own clocks, which really are read, plus a time that has been let pass at once; and its processors, or
/// as many as are wanted.
class HurriedHost : public internal::Host {
 public:
  internal::Uuid boot_id() const override {
    internal::Uuid id = system().boot_id();
    id[0] = static_cast<std::uint8_t>(id[0] + boots_);
    return id;
  }
  std::int64_t wall_us() const override { return system().wall_us() + ahead_us(); }
  std::int64_t boot_us() const override { return system().boot_us() + ahead_us(); }

  unsigned processors() const override { return processors_.load(std::memory_order_relaxed); }

  void set_processors(unsigned processors) { processors_.store(processors, std::memory_order_relaxed); }
  void advance(std::chrono::microseconds by) { ahead_us_.fetch_add(by.count(), std::memory_order_relaxed); }
  std::int64_t ahead_us() const { return ahead_us_.load(std::memory_order_relaxed); }
  void boot() { ++boots_; }  // While no store is open.

 private:
  std::atomic<std::int64_t> ahead_us_{0};
  std::atomic<unsigned> processors_{system().processors()};
  std::uint8_t boots_ = 0;
};

/// A directory of its own under `parent` that goes with the object.
class ScratchDir {
 public:
  explicit ScratchDir(const std::filesystem::path& parent);
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  ~ScratchDir();

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace oncelog::bench
