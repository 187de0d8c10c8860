#pragma once

/// @file
/// Effects and marks in one commit.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/claim.h>
#include <oncelog/record.h>
#include <oncelog/table.h>
#include <oncelog/version.h>

namespace oncelog {

class Scope;

namespace internal {
class TransactionBody;
}

/// Effects and marks that commit together or not at all: what Store::transact passes to its function. Not thread-safe:
/// only the thread of that function may use it, and only until the function returns. The same holds for the views it
/// returns.
///
/// User tables are ordered maps from bytes to bytes in the store's own LMDB environment. A table exists once it has an
/// entry. A call costs a B-tree access, or a claim; the commit costs an fsync.
///
/// Any Error from a call makes the transaction unusable: let the exception propagate out of the function. Errors of all
/// calls: full, io; invalid_argument for a name, key or id outside its limits, or a scope or claim of another store.
class ONCELOG_API Transaction {
 public:
  /// As Scope::mark: fresh at most once over all threads and processes. To others the id is in_progress until the
  /// commit. A second mark of it in the same transaction is a duplicate. The LSN of what this transaction marks is not
  /// known yet: 0. Once transact() has returned, the mark is on disk.
  Marked mark(const Scope& scope, std::string_view id, const Attributes& attributes = {});

  /// Ends a claim with this commit. Returns false when the claim was lost, as Completed::in_time says; nothing will be
  /// marked for it then. On true the transaction owns the claim, and a rollback frees it. Unset attributes keep those
  /// given to begin().
  bool complete(Claim& claim, const Attributes& attributes = {});

  /// Sets the value of a key, replacing an earlier one.
  void put(std::string_view table, std::string_view key, std::string_view value);
  /// What the table holds under the key, this transaction's own writes included. Valid until the next write.
  std::optional<std::string_view> get(std::string_view table, std::string_view key) const;
  /// Removes a key. Returns whether it was there.
  bool erase(std::string_view table, std::string_view key);
  /// Visits the entries from key `from` on, in the order of their keys' bytes. The visitor must not write to the
  /// transaction.
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const;

  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

 private:
  friend class internal::TransactionBody;
  explicit Transaction(internal::TransactionBody& body) : body_(body) {}

  internal::TransactionBody& body_;
};

}  // namespace oncelog
