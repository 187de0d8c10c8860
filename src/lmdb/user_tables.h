#pragma once

#include <optional>
#include <string_view>

#include <oncelog/table.h>

#include "lmdb/handles.h"

namespace oncelog::internal {

/// The user's tables: ordered maps from bytes to bytes, all in one LMDB table under keys that begin with their table's
/// name. So a new one needs no database to be opened, which LMDB allows only one transaction at a time to do.
/// Thread-safe, as long as the transaction is the calling thread's.
///
///   key: table's name, NUL, the user's key
class UserTables {
 public:
  /// Opens the table, creating it in a write transaction with MDB_CREATE in `flags`.
  UserTables(lmdb::Txn& txn, unsigned flags) : dbi_(txn.open_table("user", flags)) {}

  /// Errors of all: invalid_argument for a name or key out of its limits.
  std::optional<std::string_view> get(const lmdb::Txn& txn, std::string_view table, std::string_view key) const;
  void put(lmdb::WriteTxn& txn, std::string_view table, std::string_view key, std::string_view value) const;
  bool erase(lmdb::WriteTxn& txn, std::string_view table, std::string_view key) const;
  void scan(const lmdb::Txn& txn, std::string_view table, std::string_view from, const EntryVisitor& visitor) const;

  /// How many pages of data.mdb they take, the tree's own included.
  std::uint64_t pages(const lmdb::Txn& txn) const { return txn.pages(dbi_); }

 private:
  MDB_dbi dbi_;
};

}  // namespace oncelog::internal
