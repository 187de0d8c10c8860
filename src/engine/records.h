#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <oncelog/record.h>
#include <oncelog/scan.h>

#include "engine/engine.h"
#include "engine/opened_store.h"

namespace oncelog::internal {

/// Reads: checks of ids, and their records, one by one, by correlation, or all. Nothing here waits for anybody but for
/// the first use of a correlation's chain, which takes the store's mutex for a moment. Thread-safe.
class Records {
 public:
  explicit Records(OpenedStore& store) : store_(store) {}

  /// See Engine of these names.
  bool contains(ScopeKey scope, std::string_view id) { return find_counted(scope, id, nullptr).has_value(); }
  void contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out);
  bool contains(ScopeKey scope, std::string_view id, std::string_view correlation);
  std::optional<Record> find(const ScopeRef& scope, std::string_view id);
  void find(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<std::optional<Record>> out);
  std::vector<Record> correlated(std::string_view correlation);
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor);

  /// A record that was found, with its copy where it has attributes; nothing when the copy is missing. Throws
  /// Error::corrupt when it is damaged.
  std::optional<Record> to_record(const ScopeRef& scope, std::string_view id, const Found& found,
                                  const RecordCopy& copy) const;

 private:
  struct Scan;

  std::optional<Found> find_counted(ScopeKey scope, std::string_view id, RecordCopy* copy);
  template <typename Visit>
  void each_found(ScopeKey scope, std::span<const std::string_view> ids, std::span<RecordCopy> copies, Visit visit);
  std::optional<Found> newest_of_chain(Reader& reader, const Probe& chain);
  Error damaged(Lsn lsn) const;

  OpenedStore& store_;
};

}  // namespace oncelog::internal
