#include "background/sealed_hints.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "background/pieces.h"
#include "base/error.h"
#include "window/index.h"

namespace oncelog::internal {
namespace {

/// Calls job(i) once for each i below `jobs`, by several threads, in no order.
template <typename Job>
void run_jobs(std::uint64_t jobs, unsigned threads, Job job) {
  const auto most = static_cast<unsigned>(std::clamp<std::uint64_t>(jobs, 1, std::min(threads, kMostThreads)));
  in_pieces(most, "reading sealed hints", jobs, 1, [&] { return [&](std::uint64_t i, std::uint64_t) { job(i); }; });
}

}  // namespace

/// What the notes say of the bucket at this position, if it can be.
std::optional<SealedHints::Found> SealedHints::find(const Layout& layout, unsigned position, Lsn log_end) const {
  const BucketInfo& bucket = layout.buckets[position];
  const bool last = position + 1 == layout.bucket_count;
  const Lsn end = last ? log_end : layout.buckets[position + 1].first_lsn;
  for (const auto& [number, note] : notes_) {
    if (number != bucket.number) continue;
    const bool of_bucket = note.first_lsn == bucket.first_lsn.value && note.end > note.first_lsn &&
                           note.end <= end.value && note.end % kRecordUnit == 0;
    const bool possible = note.slots >= 8 && note.slots <= kMaxSlots && note.lines >= 1 &&
                          note.lines <= FilterGeneration::kMaxLines &&
                          note.entries <= IndexTable::capacity_of(note.slots);
    if (of_bucket && possible) return Found{number, note, !last && note.end == end.value};
  }
  return std::nullopt;
}

void SealedHints::check(Layout& layout, Lsn log_end) {
  for (unsigned i = 0; i < layout.bucket_count; ++i) used_[i] = find(layout, i, log_end);
  choose_lines();
  std::vector<Found*> found;
  for (auto& one : used_) {
    if (one) found.push_back(&*one);
  }
  run_jobs(2 * found.size(), threads_, [&](std::uint64_t job) {
    Found& one = *found[job / 2];
    if (job % 2 == 0) one.table = SealedFile::index_of(one.bucket, one.note).check(places_.store);
    if (job % 2 == 1) one.column = SealedFile::column_of(one.bucket, one.note).check(places_.store);
  });
  lines_ = 0;
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    if (!used_[i]) continue;
    if (!used_[i]->intact()) {
      useless_.push_back(*used_[i]);
      used_[i].reset();
      continue;
    }
    lines_ = used_[i]->note.lines;
    layout.buckets[i].slots[0] = used_[i]->note.slots;
    layout.buckets[i].sealed_end = used_[i]->whole ? Lsn{used_[i]->note.end} : Lsn{};
  }
}

/// All columns of a generation have the same length. While a generation is replaced by one of another size there are
/// two for moments, until the columns are taken again; buckets of the one that spans less of the log are made from it.
void SealedHints::choose_lines() {
  std::map<std::uint64_t, std::uint64_t> bytes;  // Of the log, for each length.
  for (const auto& one : used_) {
    if (one) bytes[one->note.lines] += one->note.end - one->note.first_lsn;
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& of) { return of.second; });
  for (auto& one : used_) {
    if (one && one->note.lines != most->first) one.reset();
  }
}

void SealedHints::make_files(const Layout& layout, const ViewCache& files) const {
  std::vector<unsigned> copied;
  std::vector<Column> columns;
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    if (!used_[i]) continue;
    const SealedFile column = SealedFile::column_of(used_[i]->bucket, used_[i]->note);
    auto file = ReadFile::open(places_.store / column.name, column.bytes);
    if (!file) throw error_at(ErrorCode::io, places_.store / column.name, "it was changed while it was read");
    columns.push_back({layout.buckets[i].lane, std::move(*file)});
    if (used_[i]->whole) continue;
    files.make_index(layout.buckets[i].number, 0, layout.buckets[i].slots[0]);
    copied.push_back(i);
  }
  if (columns.empty()) return;
  const GenerationInfo& generation = layout.generations[0];
  files.create_filter(generation.number, lines_);
  const std::filesystem::path path = places_.live / filter_name(generation.number);
  const Descriptor filter = open_to_write(path);
  const std::uint64_t pieces = (lines_ + kLinesAJob - 1) / kLinesAJob;
  run_jobs(copied.size() + pieces, threads_, [&](std::uint64_t job) {
    if (job < copied.size()) return copy_table(layout, copied[job]);
    const std::uint64_t from = (job - copied.size()) * kLinesAJob;
    write_lines(filter.get(), path, columns, from, std::min(kLinesAJob, lines_ - from));
  });
}

void SealedHints::write_lines(int filter, const std::filesystem::path& path, const std::vector<Column>& columns,
                              std::uint64_t from, std::uint64_t count) {
  using Line = std::array<std::uint64_t, FilterGeneration::kWordsPerLine>;
  static_assert(sizeof(Line) == FilterGeneration::kLineBytes);
  std::vector<Line> lines(count);
  std::vector<LaneRows> rows(count);
  for (const Column& column : columns) {
    column.file.read_at(std::as_writable_bytes(std::span(rows)), kFileHeaderBytes + from * sizeof(LaneRows));
    for (std::uint64_t i = 0; i < count; ++i) add_lane_rows(lines[i].data(), column.lane, rows[i]);
  }
  write_at(filter, std::as_bytes(std::span(lines)), FilterGeneration::file_bytes(from), path);
}

/// Into a table of the same size, whose bucket may be written to.
void SealedHints::copy_table(const Layout& layout, unsigned position) const {
  const Found& one = *used_[position];
  const SealedFile sealed = SealedFile::index_of(one.bucket, one.note);
  const auto file = ReadFile::open(places_.store / sealed.name, sealed.bytes);
  if (!file) throw error_at(ErrorCode::io, places_.store / sealed.name, "it was changed while it was read");
  const std::filesystem::path path = places_.live / index_name(layout.buckets[position].number, 0);
  const Descriptor table = open_to_write(path);
  std::vector<std::uint64_t> slots(32 * 1024);
  std::uint64_t occupied = 0;
  for (std::uint64_t at = 0; at < one.note.slots; at += slots.size()) {
    const auto some = std::span(slots).first(std::min<std::uint64_t>(slots.size(), one.note.slots - at));
    file->read_at(std::as_writable_bytes(some), IndexTable::file_bytes(at));
    occupied += some.size() - static_cast<std::uint64_t>(std::ranges::count(some, 0U));
    write_at(table.get(), std::as_bytes(some), IndexTable::file_bytes(at), path);
  }
  IndexTable::Counts counts;
  file->read_at(std::as_writable_bytes(std::span(&counts, 1)), IndexTable::kCountOffset);
  // Entries may have come while the table was sealed.
  counts.entries = std::max(counts.entries, occupied);
  write_at(table.get(), std::as_bytes(std::span(&counts, 1)), IndexTable::kCountOffset, path);
}

void SealedHints::restore_counts(const View& view) const {
  for (unsigned i = 0; i < view.buckets.size(); ++i) {
    if (used_[i]) view.generations.front()->restore_count(view.buckets[i].info.lane, used_[i]->note.column_ids);
  }
}

std::array<Lsn, kMaxLiveBuckets> SealedHints::complete(const Layout& layout) const {
  std::array<Lsn, kMaxLiveBuckets> complete{};
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    complete[i] = used_[i] ? Lsn{used_[i]->note.end} : layout.buckets[i].first_lsn;
  }
  return complete;
}

std::string SealedHints::damage() const {
  std::string said;
  for (const Found& one : useless_) {
    if (!one.damaged()) continue;
    const bool table = one.table == SealedFile::State::damaged;
    const SealedFile file =
        table ? SealedFile::index_of(one.bucket, one.note) : SealedFile::column_of(one.bucket, one.note);
    said += fmt::format("{}{}: the hints of a bucket were damaged on disk, and have been rebuilt from the log",
                        said.empty() ? "" : "; ", (places_.store / file.name).string());
  }
  return said;
}

std::vector<std::uint64_t> SealedHints::useless() const {
  std::vector<std::uint64_t> buckets;
  for (const Found& one : useless_) buckets.push_back(one.bucket);
  return buckets;
}

}  // namespace oncelog::internal
