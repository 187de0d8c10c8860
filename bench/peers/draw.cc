#include "draw.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace oncelog::bench {

std::vector<std::size_t> draw_evenly(std::size_t loaded, std::size_t count) {
  std::vector<std::size_t> positions(loaded);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  std::shuffle(positions.begin(), positions.end(), std::mt19937_64(9));
  positions.resize(std::min(count, loaded));
  return positions;
}

std::vector<std::size_t> draw_by_age(std::size_t loaded, std::size_t count) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> even(0, 1);
  std::vector<std::size_t> positions(count);
  for (std::size_t& position : positions) {
    // With exponent 1, the logarithm of the age is even.
    const auto age = static_cast<std::size_t>(std::pow(static_cast<double>(loaded), even(random)));
    position = loaded - std::clamp<std::size_t>(age, 1, loaded);
  }
  return positions;
}

std::vector<std::size_t> draw_recent(std::size_t loaded, std::size_t count, std::size_t last) {
  std::mt19937_64 random(8);
  std::uniform_int_distribution<std::size_t> even(1, std::min(last, loaded));
  std::vector<std::size_t> positions(count);
  for (std::size_t& position : positions) position = loaded - even(random);
  return positions;
}

}  // namespace oncelog::bench
