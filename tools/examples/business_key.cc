/// A business key: a client that sends its order again, because it has not seen the answer, gets the first answer.
/// A different order under the same key is a conflict.
///
///   business_key STORE

#include <oncelog/oncelog.h>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

using namespace std::chrono_literals;

struct CreateOrder {
  std::string_view external_id;  // Chosen by the client.
  std::string_view items;
};

std::string handle(const oncelog::Store& store, const oncelog::Scope& requests, const CreateOrder& request) {
  oncelog::Claim claim =
      requests.begin(request.external_id, 30s, {.fingerprint = oncelog::fingerprint(request.items)}, 1s);
  if (claim == oncelog::Verdict::duplicate) return claim.record().value().result;
  if (claim == oncelog::Verdict::conflict) return "refused: another order has this id";
  if (claim == oncelog::Verdict::in_progress) return "being processed: try again";

  std::string answer;
  store.transact([&](oncelog::Transaction& tx) {
    const int number = std::stoi(std::string(tx.get("counters", "orders").value_or("0"))) + 1;
    answer = "order " + std::to_string(number) + " created";
    // Once the lease has passed another one may have created the order.
    if (!tx.complete(claim, {.result = answer})) throw std::runtime_error("too late");
    tx.put("counters", "orders", std::to_string(number));
    tx.put("orders", std::to_string(number), request.items);
  });
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: business_key STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  const auto requests = store.scope("create-order");
  for (const CreateOrder& request : {CreateOrder{"client-7/a", "2 books"}, CreateOrder{"client-7/b", "1 lamp"},
                                     CreateOrder{"client-7/a", "2 books"}, CreateOrder{"client-7/a", "3 books"}}) {
    std::cout << request.external_id << ", " << request.items << ": " << handle(store, requests, request) << '\n';
  }
}
