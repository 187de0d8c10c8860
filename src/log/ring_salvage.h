#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <oncelog/record.h>

#include "log/record_codec.h"
#include "log/ring.h"

namespace oncelog::internal {

/// Reads the ring by its records alone, whatever the watermarks say: a record's checksum covers its LSN and a digest
/// that is keyed by the store's secret, so that neither what an earlier lap has left nor bytes of an id pass for one.
/// For use while no other process has the ring. Some 10 million records a second.
class RingSalvage {
 public:
  RingSalvage(const Ring& ring, std::uint64_t hash_seed) : ring_(ring), hash_seed_(hash_seed) {}

  /// The whole record that begins at `at` and ends at or below `limit`; valid until the next call.
  std::optional<RecordView> record_at(Lsn at, Lsn limit);

  /// Up to where one whole record follows another from `from` on; at most `limit`.
  Lsn whole_until(Lsn from, Lsn limit);

  /// The first whole record that begins at or above `from`; nothing when there is none below `limit`.
  std::optional<Lsn> next_whole(Lsn from, Lsn limit);

  /// Puts void records in the place of damaged ones, [from, to), so that those after them can be reached. `next` is the
  /// record at `to`. False when the place is too small for one, which no record leaves.
  bool make_void(Lsn from, Lsn to, const RecordHeader& next);

 private:
  Ring ring_;
  std::uint64_t hash_seed_;
  std::vector<std::byte> bytes_;
};

}  // namespace oncelog::internal
