#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/whole_file.h"
#include "lmdb/catalog.h"
#include "shared/sealed_files.h"
#include "shared/view.h"

namespace oncelog::internal {

/// The two files of one bucket that is being sealed, copied from what a view has mapped: its one index table, and its
/// column of the one filter generation. Takes none of the store's locks: entries and bits are only ever added, each by
/// one store of a word, so that whatever was below `note.end` before the copy began is in it.
///
/// Used by one thread. What is not whole when it is destroyed is removed.
class BucketSeal {
 public:
  struct Plan {
    unsigned position;  // Of the bucket in the view.
    Lsn end;            // The log has its records up to here.
    /// What a note says that is to be replaced; its table is taken over when it is the bucket's.
    std::optional<SealedNote> former;
  };

  BucketSeal(std::shared_ptr<const View> view, const Plan& plan, const Uuid& store_file_id,
             const std::filesystem::path& directory);

  std::uint64_t bucket() const { return number_; }
  /// What to note once copy_some() has returned false.
  const SealedNote& note() const { return note_; }
  /// Bytes that the files take.
  std::uint64_t bytes() const;

  /// Copies 1 MiB of a table, or what 4 MiB of the filter have of the column, or syncs what is copied, and returns
  /// whether there is more to do. At the end both files are on disk under their names. Throws Error::full, io,
  /// no_permission.
  bool copy_some();

 private:
  enum class Stage : std::uint8_t { table, table_sync, column, column_sync, publish, done };
  static constexpr std::uint64_t kTableBytes = std::uint64_t{1} << 20;  // In one step.
  static constexpr std::uint64_t kColumnBytes = std::uint64_t{256} << 10;
  static_assert(kTableBytes % SealedChecksum::kPieceBytes == 0 && kColumnBytes % SealedChecksum::kPieceBytes == 0);

  bool keeps_table(const std::optional<SealedNote>& former) const;
  void copy_table();
  void copy_column();
  void begin_file(std::optional<NewFile>& made, const SealedFile& file, const IndexTable::Counts& counts);
  void publish();

  const std::shared_ptr<const View> view_;
  const IndexTable& table_;
  const FilterGeneration& filter_;
  const unsigned lane_;
  const std::uint64_t number_;
  const std::filesystem::path directory_;
  SealedNote note_;
  Stage stage_ = Stage::table;
  bool table_kept_ = false;
  std::optional<NewFile> table_file_;
  std::optional<NewFile> column_file_;
  std::uint64_t next_ = 0;  // Slot or line.
  std::optional<SealedChecksum> checksum_;
  std::vector<std::uint64_t> slots_;
  std::vector<LaneRows> rows_;
};

}  // namespace oncelog::internal
