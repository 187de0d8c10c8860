#include "background/block_feed.h"

#include <sys/mman.h>
#include <unistd.h>

namespace oncelog::internal {
namespace {

/// Has the kernel read the pages that these bytes of a mapped file are in. LMDB's map is not read ahead of by itself.
void fetch(lmdb::Bytes bytes) {
  static const auto page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t before = begin % page_bytes;
  ::madvise(const_cast<std::byte*>(bytes.data()) - before, bytes.size() + before, MADV_WILLNEED);  // Only advice.
}

}  // namespace

bool BlockFeed::next(Chunk& chunk) {
  chunk.blocks.clear();
  const std::lock_guard guard(mutex_);
  look_ahead();
  for (std::size_t bytes = 0; bytes < kChunkBytes && !ahead_.empty();) {
    bytes += ahead_.front().bytes.size();
    chunk.blocks.push_back(ahead_.front());
    ahead_.pop_front();
    ahead_bytes_ -= chunk.blocks.back().bytes.size();
  }
  if (chunk.blocks.empty()) return false;
  chunk.number = chunks_++;
  return true;
}

void BlockFeed::stop() {
  const std::lock_guard guard(mutex_);
  to_ = at_;
  ahead_.clear();
  ahead_bytes_ = 0;
}

void BlockFeed::look_ahead() {
  while (at_ < to_ && ahead_bytes_ < kAheadBytes) {
    const auto block = Log::block_at(txn_, at_);
    if (!block || block->lsn >= to_) {
      to_ = at_;
      return;
    }
    fetch(block->bytes);
    ahead_.push_back(*block);
    ahead_bytes_ += block->bytes.size();
    at_ = block->end();
  }
}

}  // namespace oncelog::internal
