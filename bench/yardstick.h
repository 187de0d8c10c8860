#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "workload.h"

namespace oncelog::bench {

/// What this machine does at this moment, to hold the store's figures against: they vary more from machine to machine,
/// and on a shared one from minute to minute, than between two versions of the store.

/// Random reads of DRAM, each waiting for the one before: a pointer chase along one random cycle through 1 GiB, a cache
/// line a step, in pages as the kernel gives them (those of the store's mapped files are no larger).
class DramChase {
 public:
  static constexpr std::size_t kBytes = std::size_t{1} << 30;

  /// The process's one, made on first use (some seconds).
  static const DramChase& instance();

  /// Nanoseconds a read, right now: the time of `reads` reads from line `start` on.
  double read_ns(std::size_t reads = std::size_t{1} << 18, std::size_t start = 0) const;
  /// The same where they wait for each other only once in 64: each batch is prefetched before it is read.
  double overlapped_read_ns(std::size_t reads = std::size_t{1} << 18) const;

 private:
  struct alignas(64) Line {
    std::uint64_t next;
  };
  static constexpr std::size_t kLines = kBytes / sizeof(Line);

  DramChase();

  std::unique_ptr<Line[]> lines_;
};

/// Lets a string_view be looked up without making a string of it.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using StringSet = std::unordered_set<std::string, StringHash, std::equal_to<>>;

/// A set of these ids, made with room for all.
StringSet set_of(const Ids& ids);

/// Nanoseconds that std::unordered_set<std::string> takes for an id, one thread, room reserved for all.
struct SetTimes {
  double insert_ns = 0;
  double fresh_ns = 0;  // contains() of ids that it does not hold.
  double known_ns = 0;  // contains() of ids that it holds, in random order.

  static SetTimes measure(const Ids& ids, const Ids& fresh, const Ids& known);
};

/// Puts the yardsticks next to a figure of `ns` nanoseconds per id: the time of a random DRAM read just now, how many
/// of them the work takes, and how many times longer unordered_set takes for it (where `set_ns` is not 0).
void put_yardsticks(benchmark::State& state, double ns, double dram_read_ns, double set_ns = 0);

}  // namespace oncelog::bench
