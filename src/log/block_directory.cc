#include "log/block_directory.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <span>

#include <oncelog/error.h>

#include "log/log.h"

namespace oncelog::internal {
namespace {

/// Whether a value surely fills pages of its own: of two entries LMDB always has room for on a page.
bool has_its_own_pages(lmdb::Bytes value, std::size_t page_bytes) {
  return value.size() >= page_bytes / 2;
}

/// The entry after this one. It nearly always begins where this one ends: then LMDB comes to its page from above, and
/// reports one that is damaged. On the way from page to page it would end the process.
std::optional<lmdb::Entry> next_block(const lmdb::ReadTxn& txn, const lmdb::Entry& block) {
  const std::uint64_t end = block.key + block.value.size();
  auto next = lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, end);
  if (next && next->key == end && end > block.key) return next;
  return lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, block.key + 1);
}

/// Releases a mutex that its maker has locked.
class SCOPED_CAPABILITY Held {
 public:
  explicit Held(Mutex& mutex) REQUIRES(mutex) : mutex_(mutex) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() RELEASE() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace

BlockTable::BlockTable(std::uint64_t mapping, std::size_t room)
    : mapping_(mapping),
      room_(room),
      pieces_mask_(std::bit_ceil(room) - 1),
      blocks_(std::make_unique_for_overwrite<Block[]>(room)),
      first_in_(std::make_unique<std::atomic<std::uint32_t>[]>(pieces_mask_ + 1)) {}

bool BlockTable::append(Lsn lsn, lmdb::Bytes bytes) {
  if (lsn <= last()) return false;
  const std::size_t count = this->count();
  if (!bytes.empty()) {
    blocks_[count] = {lsn, bytes};
    if (count == 0 || piece_of(blocks_[count - 1].lsn) != piece_of(lsn)) {
      // Relaxed: whoever sees it too early finds that it is not below `count_`.
      first_in(piece_of(lsn)).store(static_cast<std::uint32_t>(count), std::memory_order_relaxed);
    }
    // Release: pairs with the acquire in count.
    count_.store(count + 1, std::memory_order_release);
  }
  // Release: pairs with the acquire in last.
  last_.store(lsn.value, std::memory_order_release);
  return true;
}

const BlockTable::Block* BlockTable::search(Lsn lsn, std::size_t count) const {
  const std::span blocks(blocks_.get(), count);
  const auto after = std::ranges::upper_bound(blocks, lsn, {}, &Block::lsn);
  return after == blocks.begin() ? nullptr : &*std::prev(after);
}

std::size_t BlockTable::count_from(Lsn begin) const {
  const std::span blocks(blocks_.get(), count());
  return static_cast<std::size_t>(blocks.end() - std::ranges::lower_bound(blocks, begin, {}, &Block::lsn));
}

void BlockTable::append_from(const BlockTable& other, Lsn begin) {
  for (std::size_t at = other.count() - other.count_from(begin); at < other.count(); ++at) {
    append(other.blocks_[at].lsn, other.blocks_[at].bytes);
  }
  append(other.last(), {});  // Where small blocks followed.
}

bool BlockDirectory::extend(const lmdb::ReadTxn& txn, Lsn begin, std::shared_ptr<const BlockTable>& held) {
  if (leaves_it_to_the_tree() || !mutex_.try_lock()) return false;
  const Held guard(mutex_);
  if (newest_ && newest_->mapping() != txn.env().mapping()) newest_.reset();
  bool complete = false;
  if (!damaged_) {
    try {
      complete = add_blocks(txn, begin);
    } catch (const Error&) {
      damaged_ = true;
      throw;
    }
  }
  if (newest_) held = newest_;
  return complete;
}

bool BlockDirectory::add_blocks(const lmdb::ReadTxn& txn, Lsn begin) {
  const std::uint64_t mapping = txn.env().mapping();
  if (!newest_) make_room(mapping, begin);
  const std::size_t page_bytes = txn.env().page_bytes();
  auto entry = lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, std::max(newest_->last(), begin).value);
  std::size_t kept = 0;
  std::size_t seen = 0;
  for (; seen < kStep && entry; entry = next_block(txn, *entry)) {
    if (Lsn{entry->key} == newest_->last()) continue;
    const bool stays = has_its_own_pages(entry->value, page_bytes);
    if (stays && newest_->full()) make_room(mapping, begin);
    if (!newest_->append(Lsn{entry->key}, stays ? entry->value : lmdb::Bytes{})) return false;
    kept += stays;
    ++seen;
  }
  if (seen == kStep && kept == 0) small_.store(true, std::memory_order_relaxed);
  return !entry;
}

/// Makes a table with the newest one's blocks that the log still has, and as much room again.
void BlockDirectory::make_room(std::uint64_t mapping, Lsn begin) {
  const std::size_t kept = newest_ ? newest_->count_from(begin) : 0;
  auto larger = std::make_shared<BlockTable>(mapping, std::max(2 * kept, kLeastRoom));
  if (newest_) larger->append_from(*newest_, begin);
  newest_ = std::move(larger);
}

}  // namespace oncelog::internal
