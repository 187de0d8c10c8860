#include "base/plain_memory.h"

#include <sys/mman.h>

namespace oncelog::internal {

std::optional<PlainMemory> PlainMemory::zeroed(std::size_t bytes) {
  void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return std::nullopt;
  ::madvise(at, bytes, MADV_HUGEPAGE);  // A kernel without them says so, and it is as good without.
  return PlainMemory(static_cast<std::byte*>(at), bytes);
}

PlainMemory::~PlainMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace oncelog::internal
