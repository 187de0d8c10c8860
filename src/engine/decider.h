#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <oncelog/options.h>
#include <oncelog/record.h>

#include "base/exported.h"
#include "engine/decide.h"
#include "engine/engine.h"

namespace oncelog::internal {

class Report;

/// Marks ids, and forgets them. Thread-safe.
class Decider {
 public:
  Decider(OpenedStore& store, Acceptor& acceptor) : store_(store), acceptor_(acceptor) {}

  /// See Scope::mark and Scope::forget. Both report what they decide.
  ONCELOG_INTERNAL Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack);
  ONCELOG_INTERNAL void mark(const ScopeRef& scope, std::span<const std::string_view> ids,
                             std::span<const Attributes> attributes, std::span<Marked> out, Ack ack);
  ONCELOG_INTERNAL bool forget(ScopeKey scope, std::string_view id, Ack ack);

 private:
  Marked wait_or_take_back(const Marked& marked, const Probe& probe);
  void mark_chunks(Report& report, Reader& reader, const ScopeRef& scope, std::span<const std::string_view> ids,
                   std::span<const Attributes> attributes, std::span<Marked> out);
  std::size_t take_back_all(Reader& reader, ScopeKey scope, std::span<const std::string_view> ids,
                            std::span<const Marked> out);
  bool take_back(Reader& reader, const Probe& probe, Lsn lsn);

  OpenedStore& store_;
  Acceptor& acceptor_;
};

/// Whether a duplicate's record has to be compared with what the caller gave.
inline bool compares(const Attributes& given) {
  return given.fingerprint != 0 || !given.source.name.empty();
}

/// The duplicates of a chunk whose copies are there: those with another payload are conflicts, those from the same
/// source redeliveries.
void compare_attributes(const Chunk& chunk);

}  // namespace oncelog::internal
