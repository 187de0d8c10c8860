#include "lmdb/user_tables.h"

#include <array>
#include <cstring>

#include "base/entry_checks.h"

namespace oncelog::internal {
namespace {

constexpr std::size_t kMaxLmdbKeyBytes = 511;
static_assert(kMaxTableBytes + 1 + kMaxKeyBytes <= kMaxLmdbKeyBytes);

/// An LMDB key, put together on the stack.
class FullKey {
 public:
  FullKey(std::string_view table, std::string_view key) : size_(table.size() + 1 + key.size()) {
    check_first_entry(table, key);
    std::memcpy(bytes_.data(), table.data(), table.size());
    bytes_[table.size()] = '\0';
    if (!key.empty()) std::memcpy(bytes_.data() + table.size() + 1, key.data(), key.size());
  }

  MDB_val val() { return {size_, bytes_.data()}; }

 private:
  std::size_t size_;
  std::array<char, kMaxTableBytes + 1 + kMaxKeyBytes> bytes_;
};

FullKey entry_key(std::string_view table, std::string_view key) {
  check_entry(table, key);
  return {table, key};
}

std::string_view to_text(lmdb::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::optional<std::string_view> UserTables::get(const lmdb::Txn& txn, std::string_view table,
                                                std::string_view key) const {
  const auto bytes = txn.get(dbi_, entry_key(table, key).val());
  if (!bytes) return std::nullopt;
  return to_text(*bytes);
}

void UserTables::put(lmdb::WriteTxn& txn, std::string_view table, std::string_view key, std::string_view value) const {
  txn.put(dbi_, entry_key(table, key).val(), lmdb::to_bytes(value));
}

bool UserTables::erase(lmdb::WriteTxn& txn, std::string_view table, std::string_view key) const {
  return txn.del(dbi_, entry_key(table, key).val());
}

void UserTables::scan(const lmdb::Txn& txn, std::string_view table, std::string_view from,
                      const EntryVisitor& visitor) const {
  FullKey first(table, from);
  const std::size_t prefix = table.size() + 1;
  const lmdb::Cursor cursor(txn, dbi_);
  MDB_val key = first.val();
  MDB_val value{};
  for (int code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE); code != MDB_NOTFOUND;
       code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
    txn.env().check(code, "mdb_cursor_get");
    const std::string_view full = to_text(lmdb::to_bytes(key));
    if (full.size() < prefix || full.substr(0, table.size()) != table || full[table.size()] != '\0') return;
    if (!visitor(full.substr(prefix), to_text(lmdb::to_bytes(value)))) return;
  }
}

}  // namespace oncelog::internal
