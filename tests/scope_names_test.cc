#include "lmdb/scope_names.h"

#include "parts.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

std::uint32_t add_scope(const Tables& tables, std::string_view name) {
  lmdb::WriteTxn txn(tables.env);
  const std::uint32_t number = tables.catalog->add_scope(txn, name);
  txn.commit();
  return number;
}

}  // namespace

TEST_CASE("a scope's name is found by its number, that of a scope that came later too") {
  const Tables tables;
  lmdb::ReadTxn txn(tables.env, tables.log->dbi());
  ScopeNames names(txn, *tables.catalog);
  const std::uint32_t orders = add_scope(tables, "orders");
  const std::uint32_t mails = add_scope(tables, std::string("mails\0", 6));
  CHECK(names.of(orders) == "orders");
  CHECK(names.of(mails) == std::string("mails\0", 6));
  const std::uint32_t later = add_scope(tables, "later");
  CHECK(names.of(later) == "later");
  CHECK(names.of(orders) == "orders");
}

TEST_CASE("a number that is no scope's has no name, until a scope gets it") {
  const Tables tables;
  lmdb::ReadTxn txn(tables.env, tables.log->dbi());
  ScopeNames names(txn, *tables.catalog);
  const std::uint32_t known = add_scope(tables, "known");
  CHECK(names.of(known + 1).empty());
  CHECK(names.of(known + 1).empty());
  CHECK(names.of(known) == "known");
  CHECK(names.of(add_scope(tables, "next")) == "next");
}
