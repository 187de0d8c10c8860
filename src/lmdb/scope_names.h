#pragma once

#include <map>
#include <string>

#include "lmdb/catalog.h"

namespace oncelog::internal {

/// The names of scopes by their numbers, read when a new one is asked for. One thread, which lends its parked
/// transaction.
class ScopeNames {
 public:
  ScopeNames(lmdb::ReadTxn& txn, const Catalog& catalog) : txn_(txn), catalog_(catalog) {}

  /// Empty for a number that is no scope's.
  const std::string& of(std::uint32_t number) {
    if (!names_.contains(number)) {
      const lmdb::ReadTxn::Active active(txn_);
      for (auto& [known, name] : catalog_.scopes(txn_)) names_.emplace(known, std::move(name));
    }
    // Not kept where there is none: a scope may get the number yet.
    const auto found = names_.find(number);
    return found == names_.end() ? none_ : found->second;
  }

 private:
  lmdb::ReadTxn& txn_;
  const Catalog& catalog_;
  std::map<std::uint32_t, std::string> names_;
  const std::string none_;
};

}  // namespace oncelog::internal
