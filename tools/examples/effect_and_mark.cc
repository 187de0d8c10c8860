/// Effect and mark in one commit: a payment that is delivered again, or whose processing failed half-way, is booked
/// once. Neither without the other is ever on disk.
///
///   effect_and_mark STORE

#include <oncelog/oncelog.h>

#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

int balance_of(const oncelog::Store& store, std::string_view account) {
  return std::stoi(store.get("accounts", account).value_or("0"));
}

/// Books the payment unless it was; `broken` stands for whatever can go wrong between two writes.
void book(const oncelog::Store& store, std::string_view id, std::string_view account, int amount, bool broken) {
  const auto payments = store.scope("payments");
  oncelog::Marked marked;
  store.transact([&](oncelog::Transaction& tx) {
    marked = tx.mark(payments, id);
    if (marked != oncelog::Verdict::fresh) return;
    const int before = std::stoi(std::string(tx.get("accounts", account).value_or("0")));
    tx.put("accounts", account, std::to_string(before + amount));
    if (broken) throw std::runtime_error("no connection to the auditor");
    tx.put("journal", id, std::to_string(amount));
  });
  if (marked == oncelog::Verdict::in_progress) throw std::runtime_error("another worker has claimed it");
  if (marked == oncelog::Verdict::duplicate) store.wait(marked.lsn);  // Its record may not be on disk yet.
  // What returns from here is on disk, and may be acknowledged to the broker.
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: effect_and_mark STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  const auto payments = store.scope("payments");

  book(store, "payment-1", "alice", 30, false);
  std::cout << "payment-1 of 30: balance " << balance_of(store, "alice") << '\n';
  book(store, "payment-1", "alice", 30, false);
  std::cout << "payment-1 again: balance " << balance_of(store, "alice") << '\n';

  try {
    book(store, "payment-2", "alice", 12, true);
    std::cout << "payment-2 was known\n";
  } catch (const std::exception& error) {
    std::cout << "payment-2 of 12 failed (" << error.what() << "): balance " << balance_of(store, "alice")
              << (payments.contains("payment-2") ? ", marked\n" : ", not marked\n");
  }
  book(store, "payment-2", "alice", 12, false);  // The broker delivers it again.
  std::cout << "payment-2 again: balance " << balance_of(store, "alice") << '\n';
}
