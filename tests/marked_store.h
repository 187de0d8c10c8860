#pragma once

#include <atomic>
#include <random>
#include <string>

#include "shared.h"
#include "support.h"

namespace oncelog::testing {

/// A store of which it is known what must be in it, whatever becomes of its files.
inline constexpr int kMarkedIds = 5'000;

inline std::string marked_id(int number) {
  return "message-" + std::to_string(number);
}

/// A closed store with kMarkedIds marks.
inline void make_marked_store(const std::filesystem::path& path, const Options& options = {.expected_ids = 1}) {
  const Scope scope = Store::open(path, options).scope("orders");
  for (int id = 0; id < kMarkedIds; ++id) scope.mark(marked_id(id));
}

inline int count_known(const Scope& scope) {
  int count = 0;
  for (int id = 0; id < kMarkedIds; ++id)
    count += scope.contains(marked_id(id)) && scope.mark(marked_id(id)) == Verdict::duplicate;
  return count;
}

/// The store opens, knows all that was accepted and nothing else, and goes on.
inline void expect_whole(const std::filesystem::path& path, const Options& options = {.expected_ids = 1}) {
  const Scope scope = Store::open(path, options).scope("orders");
  CHECK(count_known(scope) == kMarkedIds);
  CHECK_FALSE(scope.contains("never marked"));
  CHECK(scope.mark("marked by " + std::to_string(std::random_device{}())) == Verdict::fresh);
}

/// Runs `during` while another process has the store open.
template <typename During>
void while_open_elsewhere(const std::filesystem::path& path, const Options& options, During during) {
  const Shared<std::atomic<int>> stage;
  const pid_t child = spawn([&] {
    const Scope scope = Store::open(path, options).scope("orders");
    scope.contains(marked_id(0));
    stage->store(1);
    expect(holds_soon([&] { return stage->load() == 2; }), "the other process comes to an end");
    for (int id = 0; id < kMarkedIds; ++id) expect(scope.contains(marked_id(id)), "who had it open is not harmed");
    return 0;
  });
  REQUIRE(holds_soon([&] { return stage->load() == 1; }));
  during();
  stage->store(2);
  CHECK(wait_for(child) == 0);
}

}  // namespace oncelog::testing
