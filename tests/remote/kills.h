#pragma once

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/remote.h>

#include "shared.h"
#include "support.h"

namespace oncelog::testing {

/// Five hosts that share the ids of a store on a server: processes that are killed and stopped at random, and so is the
/// server, until each id is processed. Each id is offered to two of the hosts.
class Hosts {
 public:
  static constexpr std::size_t kHosts = 5;
  static constexpr std::size_t kMostIds = 100'000;

  /// What the hosts write their effects to, and what they see of each other. The numbers are fencing tokens.
  struct Cell {
    std::atomic<std::uint64_t> granted{0};    // The highest that a host was given for the id.
    std::atomic<std::uint64_t> written{0};    // The highest that has written: the table refuses a lower one.
    std::atomic<std::uint64_t> completed{0};  // The one whose completion was acknowledged.
  };
  struct Board {
    std::array<Cell, kMostIds> cells{};
    std::atomic<std::uint64_t> completed{0};
    std::atomic<std::uint64_t> taken_over{0};  // Claims of ids that another host had claimed and not completed.
    std::atomic<std::uint64_t> refused{0};     // Completions of hosts that had lost their claim.
  };

  Hosts(std::string address, std::size_t ids, std::uint64_t seed)
      : address_(std::move(address)), ids_(ids), random_(seed) {}

  static std::string id_of(std::size_t number) { return fmt::format("message-{}", number); }

  Board& board() const { return *board_; }
  void start_all() {
    for (std::size_t host = 0; host < kHosts; ++host) start(host);
  }
  bool wait_for_completed(std::uint64_t count) const {
    return holds_soon([&] { return board_->completed.load() >= count || one_has_failed(); });
  }
  /// Kills a host, and starts it again. Returns whether it was still at work.
  bool kill_one() {
    const std::size_t host = random_() % kHosts;
    ::kill(processes_[host], SIGKILL);
    const int status = wait_for(processes_[host]);
    REQUIRE((status == -SIGKILL || status == 0));
    start(host);
    return status == -SIGKILL;
  }
  /// Stops a host until another has taken over a claim, as its own once its lease is over. Between two claims it may
  /// hold none: then until the others have done a tenth of the work.
  void stop_one() {
    const std::size_t host = random_() % kHosts;
    const std::uint64_t taken_over = board_->taken_over.load();
    const std::uint64_t completed = std::min<std::uint64_t>(board_->completed.load() + ids_ / 10, ids_);
    ::kill(processes_[host], SIGSTOP);
    CHECK(holds_soon([&] {
      return board_->taken_over.load() > taken_over || board_->completed.load() >= completed || one_has_failed();
    }));
    ::kill(processes_[host], SIGCONT);
  }
  void wait_for_all() {
    for (const pid_t process : processes_) CHECK(wait_for(process) == 0);
  }

 private:
  static constexpr std::chrono::milliseconds kLease{300};

  static bool raise(std::atomic<std::uint64_t>& highest, std::uint64_t token) {
    std::uint64_t before = highest.load();
    while (before < token) {
      if (highest.compare_exchange_weak(before, token)) return true;
    }
    return false;
  }

  bool one_has_failed() const {
    return std::ranges::any_of(processes_, [](pid_t process) {
      siginfo_t info{};
      return ::waitid(P_PID, static_cast<id_t>(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
             !(info.si_code == CLD_EXITED && info.si_status == 0);
    });
  }

  void start(std::size_t host) {
    const std::uint64_t seed = random_();
    processes_[host] = spawn([this, host, seed] {
      work(host, seed);
      return 0;
    });
  }

  void work(std::size_t host, std::uint64_t seed) const;
  bool process(const Scope& scope, std::size_t number, bool slow) const;

  const std::string address_;
  const std::size_t ids_;
  std::mt19937_64 random_;
  const Shared<Board> board_;
  std::array<pid_t, kHosts> processes_{};
};

/// All ids that are offered to this host, in an order of its own within a window, so that hosts meet.
inline void Hosts::work(std::size_t host, std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  const Store store = oncelog::remote::open(
      address_, {.retention = std::chrono::hours{1}, .ack = Ack::disk, .timeout = std::chrono::minutes{2}});
  const Scope scope = store.scope("orders");
  std::vector<std::size_t> window;
  for (std::size_t next = 0; next < ids_ || !window.empty();) {
    while (window.size() < 64 && next < ids_) {
      if (next % kHosts == host || (next + 1) % kHosts == host) window.push_back(next);
      ++next;
    }
    const std::size_t at = random() % window.size();
    if (!process(scope, window[at], random() % 4096 == 0)) continue;
    window[at] = window.back();
    window.pop_back();
  }
}

/// Returns whether the id is processed, by whomever.
inline bool Hosts::process(const Scope& scope, std::size_t number, bool slow) const {
  Cell& cell = board_->cells[number];
  const std::string id = id_of(number);
  const std::uint64_t granted = cell.granted.load();
  const std::uint64_t completed = cell.completed.load();
  if (completed != 0 && number % 64 != 0) return true;  // Most of what a host before this one has done.
  Claim claim = scope.begin(id, kLease);
  if (claim == Verdict::in_progress) return false;
  if (claim == Verdict::duplicate) {
    // Its acknowledgement may have died with its host.
    const std::uint64_t token = std::stoull(claim.record().value().result);
    std::uint64_t none = 0;
    if (cell.completed.compare_exchange_strong(none, token)) board_->completed.fetch_add(1);
    expect(cell.completed.load() == token, "the record is the one whose completion was acknowledged: " + id);
    return true;
  }
  expect(claim == Verdict::fresh && completed == 0, "no id is fresh that was completed: " + id);
  const std::uint64_t token = claim.token();
  expect(token > granted, "tokens grow: " + id);
  const bool highest = raise(cell.granted, token);
  expect(highest || cell.granted.load() != token, "a token is given once: " + id);
  if (granted != 0) board_->taken_over.fetch_add(1);
  if (slow) scope.wait_until_free(id, std::chrono::minutes{2});  // Its lease is over then.
  raise(cell.written, token);
  const bool lost = cell.granted.load() > token;
  if (!claim.complete({.result = std::to_string(token)})) {
    board_->refused.fetch_add(1);
    return false;
  }
  expect(!lost, "a claim that another host had taken over is not completed: " + id);
  std::uint64_t none = 0;
  const bool first = cell.completed.compare_exchange_strong(none, token);
  expect(first || none == token, "an id is completed once: " + id);
  if (first) board_->completed.fetch_add(1);
  return true;
}

/// `Server` is killed and started again, beside the hosts. `full` ids, or a tenth where tests are to be short.
template <typename Server>
void process_while_hosts_and_server_die(Server& server, const std::string& address, std::size_t full) {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const std::size_t ids = long_mode() ? Hosts::kMostIds : scaled(full, full / 10);
  const std::uint64_t troubles = long_mode() ? 100 : scaled(20, 8);
  const oncelog::remote::Options options{.retention = std::chrono::hours{1}};
  oncelog::remote::open(address, options);  // Made before there are processes to kill in the midst of it.
  Hosts hosts(address, ids, seed);
  hosts.start_all();
  std::uint64_t killed = 0;
  for (std::uint64_t i = 1; i <= troubles; ++i) {
    REQUIRE(hosts.wait_for_completed(i * ids / (troubles + 1)));
    if (i % 4 == 0) {
      server.kill();
      server.start();
    } else if (i % 4 == 1) {
      hosts.stop_one();
    } else {
      killed += hosts.kill_one();
    }
  }
  hosts.wait_for_all();

  CHECK(killed != 0);
  CHECK(hosts.board().completed.load() == ids);
  const Store store = oncelog::remote::open(address, options);
  CHECK(store.claims().empty());
  const Scope scope = store.scope("orders");
  for (std::size_t number = 0; number < ids; ++number) {
    const Hosts::Cell& cell = hosts.board().cells[number];
    const auto record = scope.find(Hosts::id_of(number));
    REQUIRE(record);
    REQUIRE(record->result == std::to_string(cell.completed.load()));
    REQUIRE(cell.written.load() == cell.completed.load());
  }
  MESSAGE(ids << " ids, " << killed << " kills of hosts and " << hosts.board().refused.load()
              << " late completions refused, from seed " << seed);
}

}  // namespace oncelog::testing
