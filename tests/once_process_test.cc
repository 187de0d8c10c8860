#include <signal.h>

#include <array>
#include <atomic>
#include <random>
#include <string>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kProcesses = 3;
constexpr std::size_t kMostIds = 20'000;
const Options kOptions{.expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 64 << 10};

/// What all processes write down.
struct Board {
  std::atomic<std::uint64_t> runs{0};                            // Numbers the runs.
  std::array<std::atomic<std::uint64_t>, kMostIds> result_of{};  // The run that somebody was told of.
  std::atomic<std::uint64_t> answers{0};                         // Callers who were given a result.
};

std::string id_of(std::size_t number) {
  return "message-" + std::to_string(number);
}

/// Asks for each id once, in the order in which all processes do, so that they meet.
void ask(const Store& store, Board& board, std::size_t count) {
  const Scope scope = store.scope("orders");
  for (std::size_t id = 0; id < count; ++id) {
    const OnceResult given = scope.once(id_of(id), {.lease = 1h, .patience = 1h},
                                        [&] { return std::to_string(board.runs.fetch_add(1) + 1); });
    expect(given.verdict == (given.ran ? Verdict::fresh : Verdict::duplicate), "there is a result");
    const std::uint64_t run = std::stoull(given.result);
    std::uint64_t before = 0;
    expect(board.result_of[id].compare_exchange_strong(before, run) || before == run,
           "all callers are given the result of one run of id " + std::to_string(id));
    board.answers.fetch_add(1);
  }
}

}  // namespace

TEST_CASE("each id's work is done once, and once more at most for each process that was killed") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Shared<Board> board;
  const std::size_t count = scaled(kMostIds, 2'000);
  const std::uint64_t kills = scaled(60, 8);
  std::array<pid_t, kProcesses> processes{};
  const auto start = [&](pid_t& process) {
    process = spawn([&] {
      ask(Store::open(dir / "store", kOptions), *board, count);
      return 0;
    });
  };
  for (pid_t& process : processes) start(process);
  std::uint64_t killed = 0;
  for (std::uint64_t i = 1; i <= kills; ++i) {
    // Kills are spread over the work, however fast it is done.
    REQUIRE(holds_soon([&] { return board->runs.load() >= i * count / (kills + 1); }));
    pid_t& process = processes[random() % kProcesses];
    ::kill(process, SIGKILL);
    const int status = wait_for(process);
    REQUIRE((status == -SIGKILL || status == 0));  // It may just have finished.
    killed += status == -SIGKILL;
    start(process);
  }
  for (const pid_t process : processes) CHECK(wait_for(process) == 0);

  CHECK(killed != 0);
  CHECK(board->runs.load() >= count);
  CHECK(board->runs.load() <= count + killed);  // A process has one run at a time.
  CHECK(board->answers.load() >= kProcesses * count);
  const Store store = Store::open(dir / "store", kOptions);
  CHECK(store.claims().empty());
  for (std::size_t id = 0; id < count; ++id) {
    const auto record = store.scope("orders").find(id_of(id));
    REQUIRE(record);
    REQUIRE(record->result == std::to_string(board->result_of[id].load()));
  }
  MESSAGE(count << " ids, " << board->runs.load() << " runs and " << killed << " kills from seed " << seed);
}
