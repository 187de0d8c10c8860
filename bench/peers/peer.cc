#include "peer.h"

#include <algorithm>

#include "process.h"

namespace oncelog::bench {

void Peer::expire(std::span<const std::string_view> oldest) {
  const auto session = this->session(Sync::background);
  for (std::size_t at = 0; at < oldest.size(); at += batch()) {
    session->remove(oldest.subspan(at, std::min(batch(), oldest.size() - at)));
  }
}

std::uint64_t Peer::memory_bytes() const {
  return memory_of_self();
}

}  // namespace oncelog::bench
