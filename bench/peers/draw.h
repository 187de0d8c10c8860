#pragma once

#include <cstddef>
#include <vector>

namespace oncelog::bench {

/// Which of the first `loaded` ids of a store are asked for. The same at each call, so that all peers get the same.

/// Each at most once, in random order; `count` of them, or all.
std::vector<std::size_t> draw_evenly(std::size_t loaded, std::size_t count);

/// By an age that has Zipf's distribution with exponent 1: the newest one is twice as likely as the one before it.
std::vector<std::size_t> draw_by_age(std::size_t loaded, std::size_t count);

/// Evenly from the `last` ones.
std::vector<std::size_t> draw_recent(std::size_t loaded, std::size_t count, std::size_t last);

}  // namespace oncelog::bench
