/// Claim, process, mark: a worker that dies or gives up while processing leaves the message to the next one. Two
/// workers never hold it at once, unless one of them outlives its lease: then its completion reports that it came too
/// late.
///
///   claim_with_lease STORE

#include <oncelog/oncelog.h>
#include <unistd.h>

#include <chrono>
#include <iostream>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  if (argc != 2) {
    std::cerr << "usage: claim_with_lease STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  const auto orders = store.scope("order-service");
  const auto patience = 60s;  // An upper bound: begin() returns as soon as the claim is free.

  oncelog::Claim first = orders.begin("message-1", 50ms);
  first.renew(30s);  // Work that takes longer than was thought.
  const oncelog::Claim second = orders.begin("message-1", 30s);
  std::cout << "while one has it: " << to_string(second.verdict()) << ", by "
            << (second.owner()->process == ::getpid() ? "this process" : "another process") << '\n';

  first.abandon();  // As the destructor would, e.g. after an exception, and the death of the process.
  oncelog::Claim third = orders.begin("message-1", 30s);
  std::cout << "given up: " << to_string(third.verdict()) << '\n';
  std::cout << "completed: " << (third.complete() ? "in time" : "too late") << '\n';
  std::cout << "from then on: " << to_string(orders.begin("message-1", 30s).verdict()) << '\n';

  oncelog::Claim slow = orders.begin("message-2", 50ms);
  oncelog::Claim quick = orders.begin("message-2", 30s, {}, patience);  // Gets it once the lease expires.
  std::cout << "after the lease: " << to_string(quick.verdict()) << ", with a "
            << (quick.token() > slow.token() ? "greater" : "smaller") << " token\n";
  std::cout << "the late owner completes: " << (slow.complete() ? "in time" : "too late") << '\n';
  std::cout << "the new owner completes: " << (quick.complete() ? "in time" : "too late") << '\n';

  // So that the example can be run again.
  for (const auto* id : {"message-1", "message-2"}) orders.forget(id);
}
