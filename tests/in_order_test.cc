#include "background/in_order.h"

#include <atomic>
#include <vector>

#include "base/crew.h"
#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

TEST_CASE("pieces that wait for their turn are done in the order of their numbers, and others do not wait") {
  constexpr std::uint64_t kPieces = 1000;
  InOrder order;
  std::atomic<std::uint64_t> next{0};
  std::vector<std::uint64_t> done;  // Written in turns.
  run_in_crew(4, "the test", [&] {
    for (std::uint64_t number = next++; number < kPieces; number = next++) {
      InOrder::Piece piece(order, number);
      if (number % 3 == 0) continue;
      if (piece.wait_for_turn()) done.push_back(number);
    }
  });
  std::vector<std::uint64_t> expected;
  for (std::uint64_t number = 0; number < kPieces; ++number) {
    if (number % 3 != 0) expected.push_back(number);
  }
  CHECK(done == expected);
}

TEST_CASE("a piece that fails does not hold up those after it") {
  InOrder order;
  CHECK_THROWS_AS(
      [&] {
        const InOrder::Piece failed(order, 0);
        throw 1;
      }(),
      int);
  InOrder::Piece next(order, 1);
  CHECK(next.wait_for_turn());
}

TEST_CASE("nobody waits for a piece that was given up before it began") {
  InOrder order;
  std::atomic<int> waiting{0};
  std::atomic<int> refused{0};
  run_in_crew(3, "the test", [&] {
    const int number = waiting.fetch_add(1);
    if (number == 0) {
      wait_until([&] { return waiting == 3; });
      return order.give_up();
    }
    InOrder::Piece piece(order, static_cast<std::uint64_t>(number));
    refused += !piece.wait_for_turn();
  });
  CHECK(refused == 2);
}
