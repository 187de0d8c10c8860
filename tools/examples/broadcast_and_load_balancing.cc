/// Broadcast and load balancing: each service processes each message, and of a service's instances one does.
/// A service is a scope; its instances are processes that share it.
///
///   broadcast_and_load_balancing STORE

#include <oncelog/oncelog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <string_view>

namespace {

constexpr int kMessages = 1000;

/// Gets every message, as if the broker delivered it to each instance; returns how many of them were its to process.
int run_instance(const char* directory, std::string_view service) {
  const auto store = oncelog::Store::open(directory);
  const auto scope = store.scope(service);
  int processed = 0;
  for (int i = 0; i < kMessages; ++i) {
    if (scope.mark("message-" + std::to_string(i)) == oncelog::Verdict::fresh) ++processed;
  }
  return processed;
}

/// Runs instances as processes of their own; returns how many messages they have processed together.
int run_service(const char* directory, std::string_view service, int instances) {
  int results[2] = {};
  if (::pipe(results) != 0) return -1;
  for (int i = 0; i < instances; ++i) {
    if (::fork() != 0) continue;
    const int processed = run_instance(directory, service);  // Opens the store itself: a store is not for children.
    ::_exit(::write(results[1], &processed, sizeof processed) == sizeof processed ? 0 : 1);
  }
  ::close(results[1]);
  int total = 0;
  for (int processed = 0; ::read(results[0], &processed, sizeof processed) == sizeof processed;) total += processed;
  ::close(results[0]);
  while (::wait(nullptr) > 0) continue;
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: broadcast_and_load_balancing STORE\n";
    return 2;
  }
  std::cout << kMessages << " messages\n";
  std::cout << "order-service, 5 instances: " << run_service(argv[1], "order-service", 5) << " processed\n";
  std::cout << "billing-service, 1 instance: " << run_service(argv[1], "billing-service", 1) << " processed\n";
}
