#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/host.h"
#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "maintenance/problems.h"
#include "maintenance/stored_values.h"

namespace oncelog::internal {

/// What the small tables say that the log is checked against.
struct StoreFacts {
  std::optional<StoreIdentity> identity;
  std::int64_t known_since_us = 0;
  std::uint64_t scope_count = 0;
  Gaps gaps;

  /// Within the times that records can have, whatever a damaged number says.
  void set_known_since(std::uint64_t us) {
    known_since_us = static_cast<std::int64_t>(std::min<std::uint64_t>(us, kMaxTimeUs));
  }
};

/// Checks that a commit has the tables of a store, and what is in `meta` and `scopes`. One thread.
class TableCheck {
 public:
  /// `facts` is filled by check(). `now_us`: the clock for retention.
  TableCheck(const lmdb::Pages& pages, const lmdb::Meta& meta, std::int64_t now_us, Problems& problems,
             StoreFacts& facts);

  /// Throws Error::newer_format; not_a_store when there is no table of a store and no problem that explains it.
  void check();

 private:
  void check_names() const;
  void check_flags() const;
  void check_meta(const lmdb::TreeInfo& table);
  void check_meta_entry(const lmdb::TreeEntry& entry);
  std::optional<std::uint64_t> number(const lmdb::TreeEntry& entry) const;
  void check_token_epoch(const lmdb::TreeEntry& entry) const;
  void check_known_since(const lmdb::TreeEntry& entry);
  void check_scopes(const lmdb::TreeInfo& table);

  const lmdb::Pages& pages_;
  const std::int64_t now_us_;
  Problems& problems_;
  StoreFacts& facts_;
  const lmdb::FaultVisitor fault_;
  std::map<std::string, lmdb::TreeInfo, std::less<>> tables_;  // By name.
};

}  // namespace oncelog::internal
