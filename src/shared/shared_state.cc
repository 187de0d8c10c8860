#include "shared/shared_state.h"

#include <cerrno>
#include <cstdio>

#include "base/error.h"

namespace oncelog::internal {

SharedState SharedState::create(const std::filesystem::path& path, const Birth& birth) {
  const std::size_t bytes = file_bytes(birth.max_claims, birth.ring_bytes);
  MappedFile file = MappedFile::create(path, bytes);
  auto& header = *reinterpret_cast<SharedHeader*>(file.data());
  // The file is all zeros: only what does not begin at 0 is set here.
  // Everything here is published by `ready`.
  header.clock.offset_us.store(birth.clock_offset_us, std::memory_order_relaxed);
  header.ring_start = birth.start.value;
  header.planned_ids = birth.planned_ids;
  header.max_claims = birth.max_claims;
  header.settled_checksum = header.expected_settled_checksum();
  header.max_bytes.store(birth.max_bytes, std::memory_order_relaxed);
  header.known_since_us.store(birth.known_since_us, std::memory_order_relaxed);
  header.known_settles_at_us.store(birth.known_settles_at_us, std::memory_order_relaxed);
  header.mutex.initialise();
  header.writer_gate.initialise();
  header.marks.head.store(birth.start.value, std::memory_order_relaxed);
  header.believed_from.store(birth.start.value, std::memory_order_relaxed);
  header.marks.writing.store(birth.start.value, std::memory_order_relaxed);
  header.marks.flushed.store(birth.start.value, std::memory_order_relaxed);
  header.marks.flushed_twin.store(birth.start.value, std::memory_order_relaxed);
  FileStamp stamp;
  stamp.kind = FileKind::live;
  stamp.boot_id = birth.boot_id;
  stamp.store_file_id = birth.store_file_id;
  stamp.incarnation = random_uuid();
  stamp.part = birth.max_claims;
  stamp.extent = birth.ring_bytes;
  stamp.file_bytes = bytes;
  stamp.shape = kShape;
  stamp.seal();
  store_stamp(file.data(), stamp);
  store_stamp(stamp_copy(file), stamp);
  return {std::move(file), stamp, path};
}

std::optional<SharedState> SharedState::open(const std::filesystem::path& path, const Uuid& boot_id,
                                             const Uuid& store_file_id) {
  auto live = open_damaged(path, boot_id, store_file_id);
  return live && live->consistent() ? std::move(live) : std::nullopt;
}

std::optional<SharedState> SharedState::open_damaged(const std::filesystem::path& path, const Uuid& boot_id,
                                                     const Uuid& store_file_id) {
  auto file = MappedFile::open(path, file_bytes(1, kMinRingBytes));
  if (!file) return std::nullopt;
  for (const FileStamp& stamp : {load_stamp(file->data()), load_stamp(stamp_copy(*file))}) {
    if (stamp.sealed() && stamp.kind == FileKind::live && stamp.boot_id == boot_id &&
        stamp.store_file_id == store_file_id && stamp.shape == kShape && valid_ring_bytes(stamp.extent) &&
        valid_max_claims(stamp.part) && stamp.file_bytes == file_bytes(stamp.part, stamp.extent) &&
        stamp.file_bytes == file->size()) {
      return SharedState(std::move(*file), stamp, path);
    }
  }
  return std::nullopt;
}

void SharedState::rename(const std::filesystem::path& path) {
  if (::rename(path_.c_str(), path.c_str()) != 0) throw system_error(errno, "rename", path_);
  path_ = path;
}

bool SharedState::consistent() const {
  const SharedHeader& live = header();
  // Acquire: pairs with the release by the rebuild, after every other derived file was made.
  if (live.ready.load(std::memory_order_acquire) != 1) return false;
  // Others may mark meanwhile: each watermark is compared with the head that was read before or after it, whichever of
  // the two it cannot contradict. Acquire: keeps the order, and pairs with the releases by producers and flushers.
  const std::uint64_t head_before = live.marks.head.load(std::memory_order_acquire);
  const std::uint64_t writing = live.marks.writing.load(std::memory_order_acquire);
  const std::uint64_t flushed = live.marks.flushed.load(std::memory_order_acquire);
  const std::uint64_t head = live.marks.head.load(std::memory_order_acquire);
  const std::int64_t last_time_us = live.marks.last_time_us.load(std::memory_order_acquire);
  const auto within = [](std::uint64_t high, std::uint64_t low, std::uint64_t most) {
    return high <= low || high - low <= most;
  };
  if (flushed % kRecordUnit != 0 || head % kRecordUnit != 0 || flushed > head || writing < head_before ||
      !within(writing, flushed, stamp_.extent) || !within(writing, head, kMaxRecordBytes) || last_time_us < 0 ||
      last_time_us > kMaxTimeUs || live.settled_checksum != live.expected_settled_checksum() || live.planned_ids == 0 ||
      live.ring_start == 0 || live.ring_start > head_before || live.max_claims != stamp_.part ||
      !live.clock.possible()) {
    return false;
  }
  // Relaxed: others may change it meanwhile.
  if (!valid_max_bytes(live.max_bytes.load(std::memory_order_relaxed))) return false;
  const std::uint64_t believed_from = live.believed_from.load(std::memory_order_relaxed);
  if (believed_from < live.ring_start || believed_from > flushed) return false;
  std::uint64_t epoch = 0;
  const Layout layout = live.layout.read(epoch);
  return layout.intact(epoch) && layout.well_formed();
}

void SharedState::mend() const {
  if (load_stamp(file_.data()) != stamp_) store_stamp(file_.data(), stamp_);
  if (load_stamp(stamp_copy(file_)) != stamp_) store_stamp(stamp_copy(file_), stamp_);
  // Relaxed: no other process uses it. Nothing shows any more whether the last owner was changing a lease.
  if (header().mutex.mend()) header().leases.suspect.store(1, std::memory_order_relaxed);
  header().writer_gate.mend();
}

LeaseTable SharedState::leases() const {
  return LeaseTable(header().leases, file_.data() + kHeaderBytes, static_cast<std::uint32_t>(stamp_.part), path_);
}

Ring SharedState::ring() const {
  auto* words = reinterpret_cast<std::atomic<std::uint64_t>*>(file_.data() + ring_offset());
  const Lsn start{std::max(header().ring_start, header().believed_from.load(std::memory_order_relaxed))};
  return Ring(words, stamp_.extent, start, header().marks, header().max_bytes);
}

FileStamp SharedState::stamp_for(FileKind kind, std::uint64_t number, std::uint64_t part, std::uint64_t extent,
                                 std::uint64_t file_bytes) const {
  FileStamp stamp = stamp_;
  stamp.kind = kind;
  stamp.number = number;
  stamp.part = part;
  stamp.extent = extent;
  stamp.file_bytes = file_bytes;
  stamp.seal();
  return stamp;
}

}  // namespace oncelog::internal
