#include "shared/view.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <set>
#include <utility>

#include "base/error.h"
#include "shared/sealed_files.h"

namespace oncelog::internal {
namespace {

constexpr std::string_view kFilterPrefix = "filter-";
constexpr std::string_view kIndexPrefix = "index-";
constexpr std::string_view kAsideSuffix = ".former";
constexpr std::uint64_t kPieceBytes = std::uint64_t{2} << 20;

/// What map() makes; null where the file cannot be mapped. Sets `lost` if it is not there, rather than memory or
/// descriptors short in this process.
template <typename Map>
auto mapped_or_null(bool& lost, Map map) -> decltype(map()) {
  try {
    return map();
  } catch (const Error& error) {
    lost |= error.code() == ErrorCode::in_use;
    return nullptr;
  }
}

/// Calls visit(file, bytes) for each index table and filter generation that a view has mapped.
template <typename Visit>
void each_file(const View& view, Visit visit) {
  const auto table = [&](const auto& file) {
    if (file) visit(file.get(), IndexTable::file_bytes(file->slots()));
  };
  const auto generation = [&](const auto& file) {
    if (file) visit(file.get(), FilterGeneration::file_bytes(file->lines()));
  };
  for (const View::Bucket& bucket : view.buckets) std::ranges::for_each(bucket.tables, table);
  std::ranges::for_each(view.generations, generation);
  table(view.built_table);
  generation(view.built_generation);
}

/// How many bytes of files these views have mapped that `kept` has not.
std::uint64_t bytes_beyond(const std::vector<std::shared_ptr<const View>>& views, const View& kept) {
  std::set<const void*> seen;
  each_file(kept, [&](const void* file, std::uint64_t) { seen.insert(file); });
  std::uint64_t sum = 0;
  for (const auto& view : views) {
    each_file(*view, [&](const void* file, std::uint64_t bytes) { sum += seen.insert(file).second ? bytes : 0; });
  }
  return sum;
}

}  // namespace

std::string filter_name(std::uint64_t number) {
  return fmt::format("{}{}", kFilterPrefix, number);
}

std::string index_name(std::uint64_t bucket, std::uint64_t part) {
  return fmt::format("{}{}-{}", kIndexPrefix, bucket, part);
}

bool is_hint_name(std::string_view name) {
  return name.starts_with(kFilterPrefix) || name.starts_with(kIndexPrefix);
}

bool is_set_aside(std::string_view name) {
  return is_hint_name(name) && name.ends_with(kAsideSuffix);
}

void set_aside(const std::filesystem::path& hints) {
  std::filesystem::path aside = hints;
  aside += kAsideSuffix;
  if (::rename(hints.c_str(), aside.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "rename", hints);
}

std::shared_ptr<const View> ViewCache::newest() {
  Views gone;  // Destroyed after the lock is released: others need it to learn of the newest view.
  const std::lock_guard guard(mutex_);
  for (;;) {
    if (view_ && view_->epoch == live_.header().layout.epoch()) return view_;
    std::uint64_t epoch = 0;
    const Layout layout = live_.header().layout.read(epoch);
    if (!layout.well_formed()) {
      throw error_at(ErrorCode::corrupt, live_dir_, "the layout in the store's shared memory is damaged");
    }
    try {
      auto next = build(layout, epoch, view_.get());
      if (view_) gone = retire(std::move(view_));
      view_ = std::move(next);
      return view_;
    } catch (const Error&) {
      // A file may have been unlinked because the layout has changed since; only under an unchanged layout is that an
      // error.
      if (live_.header().layout.epoch() == epoch) throw;
    }
  }
}

/// Keeps a view that others may hold, so that the thread that lets go of it last does not have to unmap its files.
/// Returns those that the caller has to let go of, because no background has released them for a while.
ViewCache::Views ViewCache::retire(std::shared_ptr<const View> view) {
  retired_.push_back(std::move(view));
  if (retired_.size() <= kMostRetired) return {};
  Views gone = released();
  if (gone.empty()) {
    gone.push_back(std::move(retired_.front()));
    retired_.erase(retired_.begin());
  }
  return gone;
}

/// Takes those out of retired_ that nobody else holds: nobody can get hold of them any more.
ViewCache::Views ViewCache::released() {
  const auto last =
      std::stable_partition(retired_.begin(), retired_.end(), [](const auto& view) { return view.use_count() > 1; });
  Views gone(std::make_move_iterator(last), std::make_move_iterator(retired_.end()));
  retired_.erase(last, retired_.end());
  return gone;
}

void ViewCache::release_retired() {
  if (!releasing_.idle()) return;
  const auto gone = std::make_shared<Views>();
  {
    const std::lock_guard guard(mutex_);
    *gone = released();
    if (gone->empty() || !view_ || bytes_beyond(*gone, *view_) <= kMostReleased) return;
  }
  releasing_.run("unmapping files", [gone] { gone->clear(); });
}

std::shared_ptr<View> ViewCache::build(const Layout& layout, std::uint64_t epoch, const View* previous) const {
  auto view = std::make_shared<View>();
  view->epoch = epoch;
  view->layout = layout;
  for (unsigned i = 0; i < layout.generation_count; ++i) {
    const GenerationInfo& info = layout.generations[i];
    view->generations.push_back(generation(previous, epoch, info.number, info.lines));
  }
  if (layout.building_lines != 0) {
    view->built_generation = mapped_or_null(view->built_is_lost, [&] {
      return generation(previous, epoch, layout.next_generation, layout.building_lines);
    });
  }
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    View::Bucket bucket{layout.buckets[i], {}};
    for (unsigned t = 0; t < bucket.info.tables; ++t) {
      bucket.tables.push_back(table(previous, epoch, bucket.info, bucket.info.first_part + t, bucket.info.slots[t]));
    }
    if (layout.building_slots != 0 && bucket.info.number == layout.building_bucket) {
      view->built_table = mapped_or_null(view->built_is_lost, [&] {
        return table(previous, epoch, bucket.info, bucket.info.next_part(), layout.building_slots);
      });
    }
    view->bucket_of_lane[bucket.info.lane] = static_cast<std::uint8_t>(i);
    view->buckets.push_back(std::move(bucket));
  }
  view->live_lanes = layout.live_lanes();
  return view;
}

/// The generation that the previous view has mapped, or else one that is mapped now.
std::shared_ptr<FilterGeneration> ViewCache::generation(const View* previous, std::uint64_t epoch, std::uint64_t number,
                                                        std::uint64_t lines) const {
  for (std::size_t i = 0; previous != nullptr && i < previous->generations.size(); ++i) {
    if (previous->layout.generations[i].number == number) return previous->generations[i];
  }
  // As for a built table.
  if (previous != nullptr && previous->built_generation && previous->layout.next_generation == number &&
      previous->epoch + 1 == epoch)
    return previous->built_generation;
  const auto stamp = live_.stamp_for(FileKind::filter, number, 0, lines, FilterGeneration::file_bytes(lines));
  return std::make_shared<FilterGeneration>(map(filter_name(number), stamp), lines);
}

/// The table that the previous view has mapped, or else one that is mapped now. One that was built counts as mapped
/// only in the very next layout: later it may have been given up, and another one made under the same name.
std::shared_ptr<IndexTable> ViewCache::table(const View* previous, std::uint64_t epoch, const BucketInfo& bucket,
                                             std::uint64_t part, std::uint64_t slots) const {
  for (std::size_t i = 0; previous != nullptr && i < previous->buckets.size(); ++i) {
    const View::Bucket& old = previous->buckets[i];
    if (old.info.number != bucket.number) continue;
    // A sealed table takes the place of the one that it was copied from.
    const bool same = old.info.sealed_end == bucket.sealed_end || part != bucket.first_part;
    if (same && part >= old.info.first_part && part < old.info.next_part())
      return old.tables[part - old.info.first_part];
    const bool was_built = previous->built_table && previous->layout.building_bucket == bucket.number;
    if (was_built && part == old.info.next_part() && previous->epoch + 1 == epoch) return previous->built_table;
  }
  if (bucket.sealed_end.value != 0 && part == bucket.first_part) return sealed_table(bucket);
  const auto stamp = live_.stamp_for(FileKind::index, bucket.number, part, slots, IndexTable::file_bytes(slots));
  return std::make_shared<IndexTable>(map(index_name(bucket.number, part), stamp), slots);
}

/// A table of an earlier boot, whose contents were checked when the layout was made.
std::shared_ptr<IndexTable> ViewCache::sealed_table(const BucketInfo& bucket) const {
  const SealedFile file = SealedFile::index_of(
      bucket.number, {.store_file_id = live_.stamp_for(FileKind::index, bucket.number, 0, 0, 0).store_file_id,
                      .end = bucket.sealed_end.value,
                      .slots = bucket.slots[0]});
  const std::filesystem::path path = store_dir_ / file.name;
  auto mapped = MappedFile::open(path, file.bytes);
  if (!mapped || mapped->size() != file.bytes || !file.is_stamped(load_stamp(mapped->data()))) {
    throw error_at(ErrorCode::in_use, path,
                   "it is missing or does not belong to this store; close the store in every process, and the next one "
                   "to open it rebuilds the file");
  }
  return std::make_shared<IndexTable>(std::move(*mapped), bucket.slots[0]);
}

MappedFile ViewCache::map(const std::string& name, const FileStamp& stamp) const {
  const std::filesystem::path path = live_dir_ / name;
  auto file = MappedFile::open(path, stamp.file_bytes);
  if (!file || file->size() != stamp.file_bytes || load_stamp(file->data()) != stamp) {
    throw error_at(ErrorCode::in_use, path,
                   "{}; close the store in every process, and the next one to open it rebuilds the file",
                   file ? "it does not belong to this store" : "it is missing or cut short");
  }
  return std::move(*file);
}

void ViewCache::make_index(std::uint64_t bucket, std::uint64_t part, std::uint64_t slots) const {
  const MappedFile file = MappedFile::create(live_dir_ / index_name(bucket, part), IndexTable::file_bytes(slots));
  store_stamp(file.data(), live_.stamp_for(FileKind::index, bucket, part, slots, file.size()));
}

void ViewCache::make_filter(std::uint64_t number, std::uint64_t lines) const {
  const MappedFile file = MappedFile::create(live_dir_ / filter_name(number), FilterGeneration::file_bytes(lines));
  store_stamp(file.data(), live_.stamp_for(FileKind::filter, number, 0, lines, file.size()));
}

void ViewCache::create_filter(std::uint64_t number, std::uint64_t lines) const {
  const std::uint64_t bytes = FilterGeneration::file_bytes(lines);
  const MappedFile file = MappedFile::create(live_dir_ / filter_name(number), bytes, kFileHeaderBytes);
  store_stamp(file.data(), live_.stamp_for(FileKind::filter, number, 0, lines, bytes));
}

void ViewCache::require_room_for(std::uint64_t file_bytes) {
  require_room(live_dir_, file_bytes + newest()->unallocated_bytes() + live_.ring().bytes());
}

void ViewCache::begin_index(std::uint64_t bucket, std::uint64_t part, std::uint64_t slots) {
  const std::uint64_t bytes = IndexTable::file_bytes(slots);
  require_room_for(bytes);
  MappedFile file = MappedFile::create(live_dir_ / index_name(bucket, part), bytes, kFileHeaderBytes);
  store_stamp(file.data(), live_.stamp_for(FileKind::index, bucket, part, slots, bytes));
  IndexTable(std::move(file), slots).note_allocated(kFileHeaderBytes);
}

void ViewCache::begin_filter(std::uint64_t number, std::uint64_t lines) {
  const std::uint64_t bytes = FilterGeneration::file_bytes(lines);
  require_room_for(bytes);
  MappedFile file = MappedFile::create(live_dir_ / filter_name(number), bytes, kFileHeaderBytes);
  store_stamp(file.data(), live_.stamp_for(FileKind::filter, number, 0, lines, bytes));
  FilterGeneration(std::move(file), lines).note_allocated(kFileHeaderBytes);
}

template <typename Hints>
bool ViewCache::allocate(const std::string& name, std::uint64_t file_bytes, Hints* hints, Pages pages) const {
  if (hints == nullptr || hints->allocated() == 0) return false;
  const std::uint64_t from = std::clamp<std::uint64_t>(hints->allocated(), kFileHeaderBytes, file_bytes);
  const std::uint64_t bytes = std::min(kPieceBytes, file_bytes - from);
  if (bytes != 0) {
    MappedFile::allocate(live_dir_ / name, from, bytes);
    if (pages == Pages::mapped) hints->touch(from, bytes);
  }
  hints->note_allocated(from + bytes == file_bytes ? 0 : from + bytes);
  return true;
}

bool ViewCache::allocate_built_table(const View& view, Pages pages) const {
  const Layout& layout = view.layout;
  for (const View::Bucket& bucket : view.buckets) {
    if (bucket.info.number != layout.building_bucket) continue;
    return allocate(index_name(bucket.info.number, bucket.info.next_part()),
                    IndexTable::file_bytes(layout.building_slots), view.built_table.get(), pages);
  }
  return false;
}

bool ViewCache::allocate_built_generation(const View& view) const {
  return allocate(filter_name(view.layout.next_generation), FilterGeneration::file_bytes(view.layout.building_lines),
                  view.built_generation.get(), Pages::mapped);
}

void ViewCache::check_spares(const Layout& layout) const {
  const auto check_index = [&](std::uint64_t bucket, std::uint64_t part, std::uint64_t slots) {
    const auto bytes = IndexTable::file_bytes(slots);
    map(index_name(bucket, part), live_.stamp_for(FileKind::index, bucket, part, slots, bytes));
  };
  if (layout.spare_bucket_slots != 0) check_index(layout.next_bucket, 0, layout.spare_bucket_slots);
  if (layout.spare_table_slots != 0 && !layout.empty()) {
    check_index(layout.current().number, layout.current().next_part(), layout.spare_table_slots);
  }
  if (layout.spare_generation_lines != 0) {
    const std::uint64_t lines = layout.spare_generation_lines;
    const auto bytes = FilterGeneration::file_bytes(lines);
    map(filter_name(layout.next_generation),
        live_.stamp_for(FileKind::filter, layout.next_generation, 0, lines, bytes));
  }
}

void ViewCache::remove_strays(const Layout& layout) const {
  std::set<std::string> named;
  for (unsigned i = 0; i < layout.generation_count; ++i) named.insert(filter_name(layout.generations[i].number));
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    const BucketInfo& bucket = layout.buckets[i];
    for (unsigned t = bucket.sealed_end.value != 0 ? 1 : 0; t < bucket.tables; ++t)
      named.insert(index_name(bucket.number, bucket.first_part + t));
    if (layout.building_slots != 0 && layout.building_bucket == bucket.number)
      named.insert(index_name(bucket.number, bucket.next_part()));
  }
  if (layout.spare_generation_lines != 0 || layout.building_lines != 0)
    named.insert(filter_name(layout.next_generation));
  if (layout.spare_bucket_slots != 0) named.insert(index_name(layout.next_bucket, 0));
  if (layout.spare_table_slots != 0) named.insert(index_name(layout.current().number, layout.current().next_part()));
  // A directory that cannot be read now is read another time: strays only cost space.
  std::error_code failed;
  for (std::filesystem::directory_iterator at(live_dir_, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (is_hint_name(name) && !named.contains(name) && !is_set_aside(name)) ::unlink(at->path().c_str());
  }
}

std::optional<std::filesystem::path> ViewCache::first_set_aside() const {
  std::error_code failed;
  for (std::filesystem::directory_iterator at(live_dir_, failed), end; !failed && at != end; at.increment(failed)) {
    if (is_set_aside(at->path().filename().string())) return at->path();
  }
  return std::nullopt;
}

bool ViewCache::remove_set_aside() const {
  constexpr off_t kMostAtOnce = off_t{16} << 20;
  const auto path = first_set_aside();
  struct stat status {};
  if (!path || ::lstat(path->c_str(), &status) != 0) return false;
  // Shortened first: freeing a large file at once takes long, and others wait for the file system meanwhile.
  if (S_ISREG(status.st_mode) && status.st_size > kMostAtOnce)
    return ::truncate(path->c_str(), status.st_size - kMostAtOnce) == 0;
  return ::unlink(path->c_str()) == 0;
}

}  // namespace oncelog::internal
