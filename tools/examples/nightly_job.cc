/// Run once: a nightly job that every instance of a service starts, and one of them does. The others get its result,
/// and so does whoever asks later. A job that fails leaves the night to the next one who asks; a job that takes longer
/// than its lease keeps it, since the lease is renewed while the job runs.
///
///   nightly_job STORE

#include <oncelog/oncelog.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  if (argc != 2) {
    std::cerr << "usage: nightly_job STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1], {.retention = 48h});
  const auto jobs = store.scope("nightly-report");
  const std::string night = "2026-11-30";
  // For how long the night stays taken when its instance is stopped, and for how long the job may run at most.
  const oncelog::OnceOptions options{.lease = 10s, .max_runtime = 2h, .patience = 2h};

  try {
    jobs.once(night, options, []() -> std::string { throw std::runtime_error("the printer is on fire"); });
  } catch (const std::runtime_error& failure) {
    std::cout << "the first attempt: " << failure.what() << '\n';
  }

  std::atomic<int> runs = 0;
  const auto report = [&]() -> std::string {
    ++runs;
    return "42 orders, 1250 euros";
  };
  std::vector<oncelog::OnceResult> results(3);
  std::vector<std::thread> instances;
  for (auto& result : results) {
    instances.emplace_back([&] { result = jobs.once(night, options, report); });
  }
  for (auto& instance : instances) instance.join();
  std::cout << "3 instances, runs: " << runs << '\n';
  for (const auto& result : results) std::cout << "an instance has: " << result.result << '\n';

  // What needs more than a result takes a claim, and has that kept alive.
  oncelog::Claim claim = jobs.begin(night + "/mails", 10s);
  std::cout << "the mails are kept alive: " << (claim.keep_alive(2h) ? "yes" : "no") << '\n';
  std::cout << "and sent: " << (claim.complete() ? "in time" : "too late") << '\n';

  // So that the example can be run again.
  for (const auto& id : {night, night + "/mails"}) jobs.forget(id);
}
