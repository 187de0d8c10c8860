#pragma once

#include <cstddef>
#include <optional>
#include <utility>

namespace oncelog::internal {

/// Zeroed memory of this process alone, in huge pages where the system has them: random writes to it cost fewer
/// page faults and misses of the TLB than to a mapped file. Given back when the object is destroyed. Movable.
class PlainMemory {
 public:
  /// Nothing when the system has no room for it.
  static std::optional<PlainMemory> zeroed(std::size_t bytes);

  PlainMemory(PlainMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PlainMemory& operator=(PlainMemory&&) = delete;
  ~PlainMemory();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  PlainMemory(std::byte* data, std::size_t size) : data_(data), size_(size) {}

  std::byte* data_;
  std::size_t size_;
};

}  // namespace oncelog::internal
