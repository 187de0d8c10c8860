/// Message id tracking: each message is dealt with once, however often the broker delivers it, and after a restart too.
///
///   message_id STORE

#include <oncelog/oncelog.h>

#include <chrono>
#include <iostream>
#include <string_view>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: message_id STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1], {.retention = std::chrono::hours{24}});
  const auto orders = store.scope("order-service");  // Shared by all instances of the service.

  // The broker delivers the first message twice.
  for (const std::string_view id : {"message-1", "message-2", "message-1"}) {
    const oncelog::Marked marked = orders.mark(id);
    if (marked == oncelog::Verdict::fresh) {
      // Who dies here has the mark without the work. Where that matters: claim_with_lease.cc, effect_and_mark.cc.
      std::cout << "processing " << id << '\n';
    } else {
      std::cout << "dropping " << id << ": " << to_string(marked.verdict) << '\n';
    }
    store.wait(
        marked.lsn);  // On disk now: the delivery may be acknowledged to the broker, also when it is a duplicate.
  }
}
