/// Forgetting: an operator has a message processed again, and the log notes that.
///
///   forget STORE

#include <oncelog/oncelog.h>

#include <iostream>
#include <string>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: forget STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  const auto orders = store.scope("order-service");
  const std::string id = "message-1";

  std::cout << "mark: " << to_string(orders.mark(id).verdict) << '\n';
  std::cout << "mark: " << to_string(orders.mark(id).verdict) << '\n';
  std::cout << "forget: " << (orders.forget(id) ? "was known\n" : "was not known\n");
  std::cout << "forget: " << (orders.forget(id) ? "was known\n" : "was not known\n");
  std::cout << "mark: " << to_string(orders.mark(id).verdict) << '\n';

  std::cout << "the log:\n";
  store.scan({}, [](const oncelog::Record& record) {
    std::cout << "  " << record.id << (record.forgotten ? " forgotten\n" : " processed\n");
    return true;
  });
}
