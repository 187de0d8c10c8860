#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "maintenance/problems.h"
#include "maintenance/stored_values.h"

namespace oncelog::internal {

/// Reads what is whole in a damaged data.mdb that nobody writes. It looks into three places, in this order: the newest
/// commit that can be used; the one before it, whose pages LMDB has not yet given away; and, for the log alone, leaves
/// that nothing leads to any more and that are not free. The third place is safe for the log because each record bears
/// a checksum keyed by the store's secret and covering its LSN. Free pages are left out, although such records may lie
/// there: they may be of a transaction that never committed.
///
/// Used by one thread. Holds 24 bytes for each block of the log.
class Salvage {
 public:
  Salvage(const lmdb::Pages& pages, Problems& problems);

  /// Whether there is any commit to look into.
  bool usable() const { return !commits_.empty(); }

  /// The identity whose checksum key fits the records; found on any page of the file, if need be.
  std::optional<StoreIdentity> identity();

  struct Numbers {
    std::optional<std::uint64_t> token_epoch;
    std::optional<std::uint64_t> known_since_us;
    std::map<Catalog::Number, std::uint64_t> settings;  // Those that were stored.
    Gaps gaps;
    std::string live_dir;   // As Catalog::live_dir.
    bool doubtful = false;  // The newest of them may be lost.
  };
  Numbers numbers();

  std::map<std::string, std::uint32_t> scopes();

  /// Calls visit(key, value) for each entry of the user tables; `spare` says that it is of the commit before, to be
  /// taken only where the newest has none of that key.
  void user_entries(
      const std::function<void(std::string_view key, std::span<const std::byte> value, bool spare)>& visit);

  /// Calls visit(lsn, bytes) for each run of whole records, ascending; none overlap.
  void log(std::uint64_t hash_seed, const std::function<void(Lsn, std::span<const std::byte>)>& visit);

  /// Whether anything of the log could not be read. After log().
  bool log_damaged() const { return log_damaged_; }

 private:
  struct Block {
    std::uint64_t lsn;
    std::uint32_t page;
    std::uint32_t index_rank;  // The entry's index on the page, and in the upper half where it was found.
    std::uint32_t bytes;

    std::uint32_t rank() const { return index_rank >> 16; }
    std::size_t index() const { return index_rank & 0xFFFF; }
  };

  std::optional<lmdb::TreeInfo> table(std::size_t commit, std::string_view name, const lmdb::FaultVisitor& fault) const;
  void add_blocks(std::size_t commit, const lmdb::FaultVisitor& fault);
  void add_orphans();
  void add_block(const lmdb::TreeEntry& entry, std::uint32_t rank);
  bool fits(const StoreIdentity& identity);
  std::optional<std::vector<std::byte>> read(const Block& block);
  void report(const lmdb::Fault& fault, const char* lost);

  const lmdb::Pages& pages_;
  Problems& problems_;
  std::vector<lmdb::Meta> commits_;  // Newest first.
  std::vector<Block> blocks_;
  bool blocks_known_ = false;
  bool log_damaged_ = false;
};

}  // namespace oncelog::internal
