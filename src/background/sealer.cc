#include "background/sealer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/failpoint.h"
#include "shared/layout_update.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {
namespace {

/// Whether the note is of a bucket in this layout.
bool is_live(const Layout& layout, std::uint64_t bucket, const SealedNote& note) {
  const auto* const end = layout.buckets.data() + layout.bucket_count;
  return std::any_of(layout.buckets.data(), end, [&](const BucketInfo& info) {
    return info.number == bucket && info.first_lsn.value == note.first_lsn;
  });
}

}  // namespace

Sealer::Sealer(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& state, ViewCache& views,
               const Clock& clock, Places places)
    : env_(env),
      log_(log),
      catalog_(catalog),
      state_(state),
      live_(state.header()),
      ring_bytes_(state.ring().bytes()),
      views_(views),
      clock_(clock),
      places_(std::move(places)) {
  read_notes(lmdb::Txn(env_, MDB_RDONLY));
}

bool Sealer::due() {
  const std::int64_t now_us = clock_.boot_us();
  if (!catalog_.keeps_sealed() || now_us < try_from_us_) return false;
  const auto view = views_.newest();
  watch(*view, now_us);
  if (seal_) return !head_ || on_disk() || litter(view->layout);
  // Acquire: pairs with the release by whoever has committed.
  const Lsn flushed{live_.marks.flushed.load(std::memory_order_acquire)};
  return litter(view->layout) || replaces(*view) || next(*view, flushed).has_value();
}

bool Sealer::step() {
  if (!due()) return false;
  try {
    if (seal_) return advance();
    begin();
    return seal_.has_value();
  } catch (const LockTimeout&) {
    throw;  // Tried again: all that is left is the commit.
  } catch (const Error& error) {
    end();
    // Who may write to the store's files need not be allowed to make any beside them. Somebody else may be.
    const bool allowed = error.code() != ErrorCode::no_permission;
    try_from_us_ = clock_.boot_us() + (allowed ? kRetryUs : kForbiddenUs);
    if (allowed) throw;
    return false;
  }
}

bool Sealer::advance() {
  if (!is_live(views_.newest()->layout, seal_->bucket(), seal_->note())) {
    end();
    return true;
  }
  if (!head_) {
    if (seal_->copy_some()) return true;
    head_ = Lsn{live_.marks.head.load(std::memory_order_acquire)};  // Acquire: pairs with the producers' release.
    return on_disk();
  }
  if (!on_disk()) {  // What has expired must not wait with it: a full disk may wait for that.
    end();
    return true;
  }
  commit();
  remove_unnamed();
  end();
  return true;
}

/// Begins to seal a bucket, if one wants it, and deletes notes of buckets that are gone.
void Sealer::begin() {
  if (!lock()) {
    try_from_us_ = clock_.boot_us() + kRetryUs;  // Another process is at it.
    return;
  }
  read_notes();
  // Before the view: what is below is in the tables of a view at least as new. Acquire: as in due.
  const Lsn flushed{live_.marks.flushed.load(std::memory_order_acquire)};
  const auto view = views_.newest();
  if (litter(view->layout)) {
    commit();
    remove_unnamed();
  }
  if (replaces(*view)) replace_tables();
  const auto plan = next(*view, flushed);
  if (!plan) return end();
  seal_.emplace(view, *plan, places_.store_file_id, places_.store);
  require_room(places_.store, seal_->bytes() + ring_bytes_);  // The log needs some meanwhile.
}

void Sealer::end() {
  seal_.reset();
  head_.reset();
  lock_.reset();
}

bool Sealer::lock() {
  if (!lock_.open(places_.store, O_RDONLY | O_DIRECTORY)) throw system_error(errno, "opening it", places_.store);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return true;
  const int error_number = errno;
  lock_.reset();
  if (error_number != EWOULDBLOCK) throw system_error(error_number, "flock", places_.store);
  return false;
}

/// Other processes seal as well.
void Sealer::read_notes() {
  if (!txn_) txn_.emplace(env_, log_.dbi());
  const lmdb::ReadTxn::Active active(*txn_);
  read_notes(*txn_);
}

void Sealer::read_notes(const lmdb::Txn& txn) {
  notes_ = catalog_.sealed(txn, places_.store_file_id);
  foreign_notes_ = catalog_.has_foreign_sealed(txn, places_.store_file_id);
}

void Sealer::watch(const View& view, std::int64_t now_us) {
  if (view.buckets.empty()) return;
  const Seen now{view.layout.current().number, view.buckets.back().entries(), now_us};
  if (now.bucket != seen_.bucket || now.entries != seen_.entries) seen_ = now;
}

std::optional<SealedNote> Sealer::note_of(const BucketInfo& bucket) const {
  if (unusable_.contains(bucket.number)) return std::nullopt;
  for (const auto& [number, note] : notes_) {
    if (number == bucket.number && note.first_lsn == bucket.first_lsn.value) return note;
  }
  return std::nullopt;
}

bool Sealer::litter(const Layout& layout) const {
  return foreign_notes_ ||
         std::ranges::any_of(notes_, [&](const auto& row) { return !is_live(layout, row.first, row.second); });
}

/// The bucket that is to be sealed now: the oldest one that should be.
std::optional<BucketSeal::Plan> Sealer::next(const View& view, Lsn flushed) const {
  // A column is of one generation, which has everything. When another one takes its place, columns are taken again.
  if (view.generations.size() != 1) return std::nullopt;
  for (unsigned i = 0; i < view.buckets.size(); ++i) {
    if (wants(view, i, flushed)) {
      return BucketSeal::Plan{i, view.bucket_end(i, flushed), note_of(view.buckets[i].info)};
    }
  }
  return std::nullopt;
}

bool Sealer::wants(const View& view, unsigned position, Lsn flushed) const {
  const View::Bucket& bucket = view.buckets[position];
  const bool builds = view.layout.building_slots != 0 && view.layout.building_bucket == bucket.info.number;
  if (bucket.tables.size() != 1 || builds || bucket.entries() < kLeastEntries) return false;
  const auto note = note_of(bucket.info);
  if (position + 1 == view.buckets.size()) return flushed > bucket.info.first_lsn && wants_current(view, note);
  const Lsn end = view.bucket_end(position, flushed);
  // A table that does not reach its end belongs to a process that died.
  if (end > flushed || bucket.newest_table().reached() < end) return false;
  return !note || note->end != end.value || note->slots != bucket.newest_table().slots() ||
         note->lines != view.generations.back()->lines();
}

bool Sealer::wants_current(const View& view, const std::optional<SealedNote>& note) const {
  const std::uint64_t entries = view.buckets.back().entries();
  const bool of_use = note && note->lines == view.generations.back()->lines();
  const std::uint64_t sealed = of_use ? std::min(note->entries, entries) : 0;
  const std::uint64_t more = entries - sealed;
  if (more >= std::max(kMuchEntries, sealed / kBusyShare)) return true;
  const bool quiet = clock_.boot_us() - seen_.since_us >= kQuietUs;
  return quiet && more >= std::max(kLeastEntries, sealed / kQuietShare);
}

/// Whether the table of the bucket at this position is on disk twice.
bool Sealer::can_replace(const View& view, unsigned position) const {
  const BucketInfo& bucket = view.buckets[position].info;
  if (places_.live != places_.store || position + 1 == view.buckets.size()) return false;
  if (bucket.sealed_end.value != 0 || bucket.tables != 1) return false;
  const auto note = note_of(bucket);
  return note && note->slots == bucket.slots[0] && note->end == view.layout.buckets[position + 1].first_lsn.value;
}

bool Sealer::replaces(const View& view) const {
  for (unsigned i = 0; i < view.buckets.size(); ++i) {
    if (can_replace(view, i)) return true;
  }
  return false;
}

/// A bucket whose table can be replaced by the sealed one, which is what its note says. It is read whole, since the
/// note may be of a file that nobody has read in this life, or that was found damaged when the shared memory was made.
std::optional<std::uint64_t> Sealer::intact_replacement() {
  const auto view = views_.newest();
  for (unsigned i = 0; i < view->buckets.size(); ++i) {
    if (!can_replace(*view, i)) continue;
    const BucketInfo& bucket = view->buckets[i].info;
    const SealedFile file = SealedFile::index_of(bucket.number, *note_of(bucket));
    if (file.check(places_.store) == SealedFile::State::intact) return bucket.number;
    unusable_.insert(bucket.number);
  }
  return std::nullopt;
}

/// Replaces one table. Under the gate: nobody builds one for the bucket, and no note goes, meanwhile.
void Sealer::replace_tables() {
  const auto intact = intact_replacement();
  if (!intact) return;
  const WriterGate gate(live_, env_.path());
  read_notes();
  const auto view = views_.newest();
  for (unsigned i = 0; i < view->buckets.size(); ++i) {
    const BucketInfo& bucket = view->buckets[i].info;
    if (bucket.number != *intact || !can_replace(*view, i)) continue;
    const bool builds = view->layout.building_slots != 0 && view->layout.building_bucket == bucket.number;
    if (builds || !SealedFile::index_of(bucket.number, *note_of(bucket)).is_in(places_.store)) continue;
    failpoint();
    update_layout(state_, [&](Layout& layout) {
      // Only the oldest buckets can have gone.
      for (unsigned at = 0; at + 1 < layout.bucket_count; ++at) {
        if (layout.buckets[at].number == bucket.number)
          layout.buckets[at].sealed_end = layout.buckets[at + 1].first_lsn;
      }
      return true;
    });
    failpoint();
  }
}

/// Whether the log has everything that the copies may name.
bool Sealer::on_disk() const {
  return live_.marks.flushed.load(std::memory_order_acquire) >= head_->value;  // Acquire: as in due.
}

/// Notes what is sealed, if anything is, and deletes the notes of buckets that are gone.
void Sealer::commit() {
  failpoint();
  {
    const WriterGate gate(live_, env_.path());
    lmdb::WriteTxn txn(env_);
    const auto view = views_.newest();  // Its layout is well formed.
    const Layout& layout = view->layout;
    const auto live = [&](std::uint64_t bucket, const SealedNote& note) { return is_live(layout, bucket, note); };
    catalog_.drop_sealed_unless(txn, places_.store_file_id, live);
    const bool complete = seal_ && head_ && log_.end(txn).value_or(Lsn{0}) >= *head_;
    if (complete && live(seal_->bucket(), seal_->note())) catalog_.put_sealed(txn, seal_->bucket(), seal_->note());
    failpoint();
    txn.commit();
    if (seal_) unusable_.erase(seal_->bucket());
  }
  failpoint();
  read_notes();
}

/// Deletes files that neither a note names nor the layout, which a note may have left before its bucket.
void Sealer::remove_unnamed() const {
  const auto view = views_.newest();
  const Layout& layout = view->layout;
  for (const auto& path : unnamed_sealed_files(places_.store, notes_)) {
    const auto* const end = layout.buckets.data() + layout.bucket_count;
    const bool in_use = std::any_of(layout.buckets.data(), end, [&](const BucketInfo& bucket) {
      return bucket.sealed_end.value != 0 &&
             path.filename() == sealed_index_name(bucket.number, bucket.sealed_end, bucket.slots[0]);
    });
    if (!in_use) ::unlink(path.c_str());
    failpoint();
  }
}

}  // namespace oncelog::internal
