#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/claim.h>
#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

class Scope;

namespace internal {
class TransactionBody;
}

inline constexpr std::size_t kMaxTableBytes = 63;  ///< Of a user table's name, from 1; no NUL in it.
inline constexpr std::size_t kMaxKeyBytes = 447;   ///< Of a key in it, from 1.

/// Gets each entry of a scan; returns false to end it. The views are valid during the call.
using EntryVisitor = std::function<bool(std::string_view key, std::string_view value)>;

/// Effects and marks that commit together or not at all: what Store::transact hands to its function. It and what it
/// returns must not be used after the function, nor by another thread.
///
/// User tables are ordered maps from bytes to bytes in the store's own LMDB environment; a table is there once it has
/// an entry. An Error from any call makes the transaction unusable: let it out of the function.
class ONCELOG_API Transaction {
 public:
  /// As Scope::mark: fresh at most once over all threads and processes. To others the id is in_progress until the
  /// commit; a second mark of it in the same transaction is a duplicate (its LSN is not known yet: 0).
  Marked mark(const Scope& scope, std::string_view id, const Attributes& attributes = {});

  /// Ends a claim with this commit: false when someone else has taken the id, and nothing will be marked for it. After
  /// true the claim is the transaction's; when that fails the id is free.
  bool complete(Claim& claim, const Attributes& attributes = {});

  void put(std::string_view table, std::string_view key, std::string_view value);
  /// What the table holds, this transaction's own writes included; valid until the next write.
  std::optional<std::string_view> get(std::string_view table, std::string_view key) const;
  /// Whether there was one.
  bool erase(std::string_view table, std::string_view key);
  /// The entries from `from` on, in the order of their keys' bytes. The visitor must not write to the transaction.
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const;

  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

 private:
  friend class internal::TransactionBody;
  explicit Transaction(internal::TransactionBody& body) : body_(body) {}

  internal::TransactionBody& body_;
};

}  // namespace oncelog
