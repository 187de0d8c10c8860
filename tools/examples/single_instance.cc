/// Only one instance at a time, with fencing: a lock says who may write; its token lets the place that is written to
/// refuse whoever has lost the lock without noticing.
///
///   single_instance STORE

#include <oncelog/oncelog.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <string_view>

namespace {

/// Stands for a database or a service that all instances write to.
class Report {
 public:
  void write(std::uint64_t token, std::string_view text) {
    const bool refused = token < newest_token_;
    if (!refused) newest_token_ = token;
    std::cout << text << (refused ? ": refused, another one has the lock\n" : ": written\n");
  }

 private:
  std::uint64_t newest_token_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  if (argc != 2) {
    std::cerr << "usage: single_instance STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  Report report;

  oncelog::Lock leader = store.lock("nightly-report", 30s);
  report.write(leader.token(), "by the first instance");
  std::cout << "a second instance " << (store.lock("nightly-report", 30s) ? "has the lock too\n" : "has to wait\n");
  leader.release();  // So does the destructor, and the death of the process.

  // An instance that hangs for longer than its lease.
  oncelog::Lock hanging = store.lock("nightly-report", 50ms);
  const oncelog::Lock next = store.lock("nightly-report", 30s, 60s);  // Waits for up to a minute.
  report.write(next.token(), "by the next instance");
  report.write(hanging.token(), "by the instance that hung");
  std::cout << "it " << (hanging.renew(30s) ? "still has the lock\n" : "has lost the lock\n");
}
