#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/transaction.h>

#include "base/exported.h"
#include "engine/accept.h"
#include "engine/claims.h"

namespace oncelog::internal {

/// Transactions on the user's tables, with marks that are committed along with them. Thread-safe.
class Transactions {
 public:
  /// `engine` is the one that this is a part of.
  Transactions(const Engine& engine, OpenedStore& store, Acceptor& acceptor, Claims& claims)
      : engine_(engine), store_(store), acceptor_(acceptor), claims_(claims) {}

  /// See Store::transact, get and scan_table.
  ONCELOG_INTERNAL void transact(const std::function<void(Transaction&)>& work);
  ONCELOG_INTERNAL std::optional<std::string> get(std::string_view table, std::string_view key);
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor);

 private:
  class Body;

  const Engine& engine_;
  OpenedStore& store_;
  Acceptor& acceptor_;
  Claims& claims_;
};

}  // namespace oncelog::internal
