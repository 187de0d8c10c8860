#include "workload.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

namespace oncelog::bench {
namespace {

/// SplitMix64's finaliser (Steele, Lea and Flood): one to one, so that different numbers stay different.
std::uint64_t scramble(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

void write_uuid(char* out, std::uint64_t number) {
  const std::uint64_t words[2] = {scramble(number), scramble(~number)};
  unsigned nibble = 0;
  for (std::size_t at = 0; at < Ids::kBytes; ++at) {
    if (at == 8 || at == 13 || at == 18 || at == 23) {
      out[at] = '-';
      continue;
    }
    out[at] = "0123456789abcdef"[words[nibble / 16] >> (nibble % 16 * 4) & 15];
    ++nibble;
  }
}

}  // namespace

Ids::Ids(std::uint64_t first, std::size_t count) : bytes_(count * kBytes) {
  for (std::size_t i = 0; i < count; ++i) write_uuid(&bytes_[i * kBytes], first + i);
}

Ids Ids::sample(std::size_t count, std::uint64_t seed) const {
  std::vector<std::size_t> positions(count);
  for (std::size_t i = 0; i < count; ++i) positions[i] = scramble(seed + i) % size();
  return at(positions);
}

Ids Ids::at(std::span<const std::size_t> positions) const {
  Ids chosen;
  chosen.bytes_.resize(positions.size() * kBytes);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const std::string_view id = (*this)[positions[i]];
    std::copy(id.begin(), id.end(), &chosen.bytes_[i * kBytes]);
  }
  return chosen;
}

ScratchDir::ScratchDir(const std::filesystem::path& parent) {
  std::string pattern = (parent / "oncelog-bench-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::system_error(errno, std::generic_category(), pattern);
  path_ = pattern;
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;  // A benchmark's leftovers are no reason to lose its figures.
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace oncelog::bench
