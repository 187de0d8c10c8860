#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "workload.h"

namespace oncelog::bench {

/// A consumer's messages: of five one comes again that was among its last thousand.
class Messages {
 public:
  Messages(Ids ids, std::uint64_t seed) : ids_(std::move(ids)), random_(seed) {}

  /// The next `count` of them, fewer at the end; how many come for the first time is added to `fresh`.
  std::span<const std::string_view> next(std::size_t count, std::size_t& fresh) {
    batch_.clear();
    while (batch_.size() < count && next_ < ids_.size()) {
      const bool again = next_ > 0 && random_() % 5 == 0;
      fresh += !again;
      batch_.push_back(ids_[again ? next_ - 1 - random_() % std::min<std::size_t>(next_, 1000) : next_++]);
    }
    return batch_;
  }

 private:
  Ids ids_;
  std::mt19937_64 random_;
  std::size_t next_ = 0;
  std::vector<std::string_view> batch_;
};

}  // namespace oncelog::bench
