#pragma once

#include "base/failpoint.h"
#include "base/message_hash.h"
#include "shared/view.h"

namespace oncelog::internal {

/// A record's correlation in the index. A chain has few entries: the one of an older record, `from`, moves on to the
/// new one where it is in the same table.
struct ChainHint {
  MessageHash hash;
  Lsn from;  // 0: none.
};

/// Makes the record at `lsn` findable: in the filter first, then in the bucket's newest table, then its chain. A death
/// between any two of them leaves hints to a record that does not exist, which readers bear. False when the table has
/// no room: then the record must not be accepted. Under the store's mutex, or by the only process that has the memory.
inline bool add_hints(const View::Bucket& bucket, FilterGeneration& filter, const MessageHash& hash, Lsn lsn,
                      const ChainHint* chain = nullptr) {
  IndexTable& table = bucket.newest_table();
  const auto offset = [&](Lsn of) { return (of.value - bucket.info.first_lsn.value) / kRecordUnit; };
  filter.add(hash, bucket.info.lane);
  failpoint();
  if (!table.insert(hash, MessageHash::Of::message, offset(lsn))) [[unlikely]]
    return false;
  failpoint();
  if (chain != nullptr) {
    filter.add(chain->hash, bucket.info.lane);
    const bool moved = chain->from.value != 0 && chain->from >= bucket.info.first_lsn &&
                       table.move(chain->hash, MessageHash::Of::correlation, offset(chain->from), offset(lsn));
    if (!moved && !table.insert(chain->hash, MessageHash::Of::correlation, offset(lsn))) return false;
    failpoint();
  }
  table.count_record();
  return true;
}

}  // namespace oncelog::internal
