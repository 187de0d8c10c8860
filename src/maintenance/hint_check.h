#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "base/message_hash.h"
#include "log/record_codec.h"
#include "maintenance/problems.h"
#include "shared/view.h"

namespace oncelog::internal {

/// Whether filter and index of the shared memory lead to every live record. Looks each up the way that readers do, and
/// where it is not found once more in the newest view: its bucket may have been dropped meanwhile. Counts what is
/// missing by bucket, since one damaged file loses many records. Used by one thread.
class HintCheck {
 public:
  /// `is_live(time_us)`: within the retention now.
  HintCheck(ViewCache& views, std::uint64_t hash_seed, std::function<bool(std::int64_t)> is_live)
      : views_(views),
        correlation_seed_(MessageHash::scope_seed(hash_seed, MessageHash::kCorrelationScope)),
        is_live_(std::move(is_live)) {}

  void look(const RecordView& record, const MessageHash& hash, Lsn lsn);
  std::uint64_t looked_up() const { return looked_up_; }

  /// Adds what was missing, and the tables that hold more than they count.
  void report(Problems& problems);

 private:
  enum class Miss { none, by_filter, by_index };
  struct Missing {
    std::uint64_t by_filter = 0;
    std::uint64_t by_index = 0;
    std::uint64_t of_correlations = 0;
    Lsn first;
  };

  Miss miss(const View& view, const MessageHash& hash, MessageHash::Of of, Lsn lsn, std::uint64_t& bucket) const;
  Miss look_again(const MessageHash& hash, MessageHash::Of of, Lsn lsn, std::uint64_t& bucket);

  ViewCache& views_;
  const std::uint64_t correlation_seed_;
  const std::function<bool(std::int64_t)> is_live_;
  std::shared_ptr<const View> view_;
  std::uint64_t looked_up_ = 0;
  std::map<std::uint64_t, Missing> missing_;  // By the bucket's number.
};

}  // namespace oncelog::internal
