#include "share.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "meter.h"

namespace oncelog::bench {
namespace {

/// Where the numbers of a worker's own ids begin, from those of the shared ones.
constexpr std::uint64_t kOwn = std::uint64_t{1} << 38;

void answer(const std::string& line) {
  std::cout << line << std::endl;
}

void run_share(Session& session, std::istream& order) {
  unsigned who = 0;
  std::size_t count = 0;
  std::int64_t limit_ms = 0;
  order >> who >> count >> limit_ms;
  const WorkShare share(Numbers::processes, who, count);
  answer("ready");
  std::string go;
  std::getline(std::cin, go);
  const WorkShare::Done done = share.run(session, std::chrono::milliseconds{limit_ms});
  answer(fmt::format("{} {} {}", done.operations, done.fresh, done.seconds));
}

[[noreturn]] void run_crash(Session& session, std::istream& order) {
  std::size_t count = 0;
  std::int64_t limit_ms = 0;
  order >> count >> limit_ms;
  const Ids ids(static_cast<std::uint64_t>(Numbers::crash), count);
  Meter meter{std::chrono::milliseconds{limit_ms}};
  const std::size_t done = meter.singles(ids.size(), [&](std::size_t i) { return session.mark(ids[i]); });
  answer(fmt::format("{}", done));
  ::kill(::getpid(), SIGKILL);
  ::pause();
  std::abort();  // Never reached.
}

}  // namespace

WorkShare::WorkShare(Numbers numbers, unsigned who, std::size_t count)
    : own_(static_cast<std::uint64_t>(numbers) + kOwn * (who + 1), count),
      shared_(static_cast<std::uint64_t>(numbers), count) {}

WorkShare::Done WorkShare::run(Session& session, std::chrono::nanoseconds limit) const {
  constexpr std::size_t kLook = 64;  // Reading the clock takes as long as some marks.
  Done done;
  const Clock::time_point begin = Clock::now();
  for (; done.operations < own_.size(); ++done.operations) {
    const std::size_t i = done.operations;
    if (i % kLook == 0 && Clock::now() - begin >= limit) break;
    done.fresh += session.mark(i % kSharedEach == 0 ? shared_[i] : own_[i]);
  }
  done.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return done;
}

std::size_t WorkShare::expected_fresh(const Done& one, const Done& other) {
  const std::size_t both = std::min(one.operations, other.operations);
  return one.operations + other.operations - (both + kSharedEach - 1) / kSharedEach;
}

int run_worker(Peer& peer, const std::string& directory, std::size_t ids) {
  peer.attach(directory, ids);
  const auto session = peer.session(Sync::background);
  std::string line;
  std::getline(std::cin, line);
  std::istringstream order(line);
  std::string what;
  order >> what;
  if (what == "crash") run_crash(*session, order);
  if (what != "share") throw std::runtime_error("not an order: " + line);
  run_share(*session, order);
  return 0;
}

}  // namespace oncelog::bench
