/// What the store decides, as a debug log and in figures.
///
///   metrics_and_debug_log STORE

#include <oncelog/oncelog.h>

#include <chrono>
#include <iostream>

namespace {

/// Called on the thread that asked, for each decision. Costs nothing when Options::on_decision is unset.
void log_decision(const oncelog::Decision& decision) {
  std::cout << "debug: " << decision.scope << ' ' << decision.id << ' ' << to_string(decision.verdict);
  if (!decision.correlation.empty()) std::cout << ", part of " << decision.correlation;
  if (decision.first_seen) {
    const auto age = std::chrono::system_clock::now() - *decision.first_seen;
    std::cout << ", processed " << std::chrono::duration_cast<std::chrono::seconds>(age).count() << " s ago";
  }
  std::cout << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  if (argc != 2) {
    std::cerr << "usage: metrics_and_debug_log STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1], {.on_decision = log_decision});
  const auto orders = store.scope("order-service");

  orders.mark("message-1", {.correlation = "order-4711"});
  orders.mark("message-1");
  orders.mark("message-2", {.fingerprint = oncelog::fingerprint("2 books")});
  orders.mark("message-2", {.fingerprint = oncelog::fingerprint("3 books")});
  const oncelog::Claim claim = orders.begin("message-3", 30s);
  orders.mark("message-3");
  orders.contains("message-1");  // A check is no decision.

  const oncelog::Metrics metrics = store.metrics();
  std::cout << "decisions: " << metrics.marks_fresh << " fresh, " << metrics.marks_not_fresh << " not\n";
  std::cout << "checks: " << metrics.checks << ", of which known " << metrics.checks_known << '\n';
  std::cout << "ids: " << metrics.ids << '\n';
}
