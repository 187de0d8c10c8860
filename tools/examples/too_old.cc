/// Messages older than all that is remembered: the store cannot know whether they were processed, and says so instead
/// of having them processed again.
///
///   too_old STORE

#include <oncelog/oncelog.h>

#include <chrono>
#include <iostream>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  if (argc != 2) {
    std::cerr << "usage: too_old STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1], {.retention = 24h});
  const auto orders = store.scope("order-service");

  const auto now = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  const auto verdict = [&](const char* id, oncelog::Time sent_at) {
    return to_string(orders.mark(id, {.sent_at = sent_at}).verdict);
  };
  std::cout << "sent an hour ago: " << verdict("message-1", now - 1h) << '\n';
  // E.g. from a queue that has stood still over a holiday: whatever handles doubtful messages decides.
  std::cout << "sent two days ago: " << verdict("message-2", now - 48h) << '\n';
  std::cout << "two days ago is remembered: " << std::boolalpha << (store.known_since() <= now - 48h) << '\n';
}
