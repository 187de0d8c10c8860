#include "shared/view.h"

#include <fmt/format.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "base/error.h"

namespace oncelog::internal {
namespace {

constexpr std::string_view kFilterPrefix = "filter-";
constexpr std::string_view kIndexPrefix = "index-";

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

std::shared_ptr<const View> ViewCache::newest() {
  const std::lock_guard guard(mutex_);
  for (;;) {
    if (view_ && view_->epoch == live_.header().layout.epoch()) return view_;
    std::uint64_t epoch = 0;
    const Layout layout = live_.header().layout.read(epoch);
    if (!layout.well_formed()) {
      throw error_at(ErrorCode::corrupt, live_dir_, "the layout in the store's shared memory is damaged");
    }
    try {
      view_ = build(layout, epoch, view_.get());
      return view_;
    } catch (const Error&) {
      // A file may have been unlinked because the layout has changed since; only under an unchanged layout is that an
      // error.
      if (live_.header().layout.epoch() == epoch) throw;
    }
  }
}

std::shared_ptr<View> ViewCache::build(const Layout& layout, std::uint64_t epoch, const View* previous) const {
  auto view = std::make_shared<View>();
  view->epoch = epoch;
  view->layout = layout;
  for (unsigned i = 0; i < layout.generation_count; ++i) {
    const GenerationInfo& info = layout.generations[i];
    std::shared_ptr<FilterGeneration> generation;
    for (unsigned p = 0; previous != nullptr && p < previous->layout.generation_count; ++p) {
      if (previous->layout.generations[p].number == info.number) generation = previous->generations[p];
    }
    if (!generation) {
      const auto stamp =
          live_.stamp_for(FileKind::filter, info.number, 0, info.lines, FilterGeneration::file_bytes(info.lines));
      generation = std::make_shared<FilterGeneration>(map(filter_name(info.number), stamp), info.lines);
    }
    view->generations.push_back(std::move(generation));
  }
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    View::Bucket bucket{layout.buckets[i], {}};
    if (previous != nullptr) {
      for (const View::Bucket& old : previous->buckets) {
        if (old.info.number == bucket.info.number) bucket.tables = old.tables;
      }
    }
    while (bucket.tables.size() < bucket.info.tables) {
      const std::uint64_t part = bucket.tables.size();
      const std::uint64_t slots = bucket.info.slots[part];
      const auto stamp =
          live_.stamp_for(FileKind::index, bucket.info.number, part, slots, IndexTable::file_bytes(slots));
      bucket.tables.push_back(std::make_shared<IndexTable>(map(index_name(bucket.info.number, part), stamp), slots));
    }
    view->bucket_of_lane[bucket.info.lane] = static_cast<std::uint8_t>(i);
    view->buckets.push_back(std::move(bucket));
  }
  view->live_lanes = layout.live_lanes();
  return view;
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

void ViewCache::check_spares(const Layout& layout) const {
  const auto check_index = [&](std::uint64_t bucket, std::uint64_t part, std::uint64_t slots) {
    const auto bytes = IndexTable::file_bytes(slots);
    map(index_name(bucket, part), live_.stamp_for(FileKind::index, bucket, part, slots, bytes));
  };
  if (layout.spare_bucket_slots != 0) check_index(layout.next_bucket, 0, layout.spare_bucket_slots);
  if (layout.spare_table_slots != 0 && !layout.empty()) {
    check_index(layout.current().number, layout.current().tables, layout.spare_table_slots);
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
    for (unsigned part = 0; part < layout.buckets[i].tables; ++part)
      named.insert(index_name(layout.buckets[i].number, part));
  }
  if (layout.spare_generation_lines != 0) named.insert(filter_name(layout.next_generation));
  if (layout.spare_bucket_slots != 0) named.insert(index_name(layout.next_bucket, 0));
  if (layout.spare_table_slots != 0) named.insert(index_name(layout.current().number, layout.current().tables));
  // A directory that cannot be read now is read another time: strays only cost space.
  std::error_code failed;
  for (std::filesystem::directory_iterator at(live_dir_, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (is_hint_name(name) && !named.contains(name)) ::unlink(at->path().c_str());
  }
}

}  // namespace oncelog::internal
