#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

/// What each target defines: judges one input, and ends the process (require) when the code under test is wrong. With
/// clang and -Dfuzz=true libFuzzer calls it; otherwise replay.cc does, for each file of the target's corpus. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace oncelog::fuzzing {

/// Ends the process with this sentence unless it holds: libFuzzer then keeps the input.
inline void require(bool holds, std::string_view sentence) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(sentence.size()), sentence.data());
  std::abort();
}

/// An input taken apart from left to right. Past its end there are zeros and empty texts, so that every input means
/// something.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }

  template <typename Number>
  Number number() {
    Number value{};
    const std::size_t bytes = std::min(sizeof value, rest_.size());
    if (bytes != 0) std::memcpy(&value, rest_.data(), bytes);
    rest_ = rest_.subspan(bytes);
    return value;
  }

  /// From 0 to `most`.
  std::size_t up_to(std::size_t most) { return number<std::uint16_t>() % (most + 1); }

  /// At most `most` bytes, where so many are left.
  std::string_view text(std::size_t most) {
    const std::size_t bytes = std::min(most, rest_.size());
    const std::string_view taken(reinterpret_cast<const char*>(rest_.data()), bytes);
    rest_ = rest_.subspan(bytes);
    return taken;
  }

  /// Up to the next line feed, which is dropped.
  std::string_view line() {
    const std::string_view all(reinterpret_cast<const char*>(rest_.data()), rest_.size());
    const std::size_t end = all.find('\n');
    rest_ = rest_.subspan(end == std::string_view::npos ? rest_.size() : end + 1);
    return all.substr(0, end);
  }

  std::span<const std::byte> rest() const { return std::as_bytes(rest_); }

 private:
  std::span<const std::uint8_t> rest_;
};

}  // namespace oncelog::fuzzing
