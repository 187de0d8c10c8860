/// An order and its mark in one commit of PostgreSQL: whatever happens, both are there or neither is, and an order that
/// is delivered again, to whichever host, is written once. The table is the caller's own, as is the statement; only the
/// connection is lent. order_and_mark.sql does the same without C++.
///
///   order_and_mark postgresql://USER@HOST/DATABASE

#include <libpq-fe.h>
#include <oncelog/remote.h>

#include <array>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

/// Runs a statement of ours within the store's transaction.
void run(oncelog::Transaction& tx, const char* statement, const std::string& first, int second) {
  const std::string number = std::to_string(second);
  const std::array<const char*, 2> values{first.c_str(), number.c_str()};
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(
      PQexecParams(oncelog::remote::connection(tx), statement, 2, nullptr, values.data(), nullptr, nullptr, 0),
      &PQclear);
  if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) throw std::runtime_error("the order was refused");
}

void take(const oncelog::Store& store, const std::string& id, int books) {
  const auto orders = store.scope("order-service");
  oncelog::Marked marked;
  try {
    store.transact([&](oncelog::Transaction& tx) {
      marked = tx.mark(orders, id);
      if (marked == oncelog::Verdict::fresh) run(tx, "insert into orders (id, books) values ($1, $2)", id, books);
    });
  } catch (const std::runtime_error& error) {  // Ours: with it the transaction is rolled back, mark and all.
    std::cout << id << ": " << error.what() << '\n';
    return;
  }
  std::cout << id << ": " << oncelog::to_string(marked.verdict) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: order_and_mark ADDRESS\n";
    return 2;
  }
  const auto store = oncelog::remote::open(argv[1]);
  store.transact([](oncelog::Transaction& tx) {
    PQclear(PQexec(oncelog::remote::connection(tx),
                   "create table if not exists orders (id text primary key, books integer check (books > 0))"));
  });
  take(store, "order-1", 2);
  take(store, "order-1", 2);
  take(store, "order-2", 0);  // The table refuses it, so it is not marked either,
  take(store, "order-2", 1);  // and is fresh when it is delivered again.
}
