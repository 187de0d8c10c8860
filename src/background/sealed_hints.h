#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/whole_file.h"
#include "lmdb/catalog.h"
#include "shared/sealed_files.h"
#include "shared/view.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Takes what is sealed (see Sealer) into new shared memory, in place of what would have to be made from the log. The
/// table of a bucket that ends where its note says is used where it lies; one of a bucket that goes on is copied into
/// the live directory. The columns become one filter generation. All of it is checked against the notes' checksums
/// first, on as many threads as there are processors; what does not match counts as not there.
///
/// For the only process that has the store open: check() before the layout's files are made, then make_files(), and
/// restore_counts() when the layout is in force. Memory: some hundred KiB for each thread.
class SealedHints {
 public:
  struct Places {
    std::filesystem::path store;
    std::filesystem::path live;
  };

  /// `notes` by bucket number. At most `threads` threads work.
  SealedHints(Places places, std::vector<std::pair<std::uint64_t, SealedNote>> notes, unsigned threads)
      : places_(std::move(places)), notes_(std::move(notes)), threads_(threads) {}

  /// Checks what there is for the buckets of `layout`, which has no files yet, and writes into it which tables it uses
  /// and of what sizes. `log_end` is where the last bucket ends.
  void check(Layout& layout, Lsn log_end);

  /// Whether the table of the bucket at this position is a sealed one or a copy of it.
  bool has_table(unsigned position) const { return used_[position].has_value(); }
  /// The lines of the generation that is made from columns; 0 when there are none.
  std::uint64_t lines() const { return lines_; }

  /// Makes the tables that are copied, and the only generation of `layout`. Throws Error::full, io.
  void make_files(const Layout& layout, const ViewCache& files) const;
  void restore_counts(const View& view) const;

  /// For each bucket of the layout the LSN below which its records have their hints.
  std::array<Lsn, kMaxLiveBuckets> complete(const Layout& layout) const;

  /// What did not match its note, in a sentence for people; empty when nothing was damaged. What is missing was removed
  /// by somebody, and is no damage.
  std::string damage() const;
  /// The buckets whose notes are of no use any more.
  std::vector<std::uint64_t> useless() const;

 private:
  struct Found {
    std::uint64_t bucket = 0;
    SealedNote note;
    bool whole = false;  // Its bucket ends where it does, and is not written any more.
    SealedFile::State table = SealedFile::State::missing;
    SealedFile::State column = SealedFile::State::missing;

    bool intact() const { return table == SealedFile::State::intact && column == SealedFile::State::intact; }
    bool damaged() const { return table == SealedFile::State::damaged || column == SealedFile::State::damaged; }
  };
  struct Column {
    unsigned lane;
    ReadFile file;
  };
  static constexpr std::uint64_t kLinesAJob = 2048;  // 128 KiB of the filter.

  std::optional<Found> find(const Layout& layout, unsigned position, Lsn log_end) const;
  void choose_lines();
  void copy_table(const Layout& layout, unsigned position) const;
  static void write_lines(int filter, const std::filesystem::path& path, const std::vector<Column>& columns,
                          std::uint64_t from, std::uint64_t count);

  const Places places_;
  const std::vector<std::pair<std::uint64_t, SealedNote>> notes_;
  const unsigned threads_;
  std::array<std::optional<Found>, kMaxLiveBuckets> used_;
  std::vector<Found> useless_;
  std::uint64_t lines_ = 0;
};

}  // namespace oncelog::internal
