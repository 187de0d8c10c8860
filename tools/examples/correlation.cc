/// Correlation: what belongs to one business transaction, over all services, in the order in which it was processed.
///
///   correlation STORE

#include <oncelog/oncelog.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: correlation STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  const auto orders = store.scope("order-service");
  const auto billing = store.scope("billing-service");
  const auto shipping = store.scope("shipping-service");

  orders.mark("order-created", {.correlation = "order-4711"});
  billing.mark("invoice-sent", {.correlation = "order-4711"});
  orders.mark("order-created-2", {.correlation = "order-4712"});
  orders.mark("order-created", {.correlation = "order-4711"});  // Delivered again: one record all the same.
  shipping.mark("parcel-sent", {.correlation = "order-4711"});

  for (const oncelog::Record& record : store.correlated("order-4711")) {
    std::cout << record.correlation << ": " << record.scope << ' ' << record.id << '\n';
  }
  // What happens in the one transaction is not known of the other.
  std::cout << std::boolalpha << "order-4711 has been shipped: " << shipping.contains("parcel-sent", "order-4711")
            << "\norder-4712 has been shipped: " << shipping.contains("parcel-sent", "order-4712") << '\n';
}
