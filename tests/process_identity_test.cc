#include "base/process_identity.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <limits>
#include <locale>
#include <string>
#include <thread>

#include "shared.h"
#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

/// What a child tells of itself before it waits to be killed.
struct Told {
  ProcessIdentity identity;
  std::atomic<bool> ready{false};
};

/// A child that tells who it is and then waits until it is killed.
pid_t waiting_child(
    const Shared<Told>& told, void (*wait)() = [] { ::pause(); }) {
  const pid_t child = spawn([&]() -> int {
    told->identity = ProcessIdentity::self();
    told->ready.store(true);
    for (;;) wait();
  });
  wait_until([&] { return told->ready.load(); });
  return child;
}

void kill_unreaped(pid_t child) {
  REQUIRE(::kill(child, SIGKILL) == 0);
  siginfo_t ended;
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT) == 0);
}

}  // namespace

TEST_CASE("a process is alive to itself, and always the same") {
  const ProcessIdentity self = ProcessIdentity::self();
  CHECK(self.pid == ::getpid());
  CHECK(self.start_ticks > 0);
  CHECK(self.alive());
  CHECK(self == ProcessIdentity::self());
}

TEST_CASE("a child is another process, alive until it is killed, and dead while nobody has waited for it and after") {
  const Shared<Told> told;
  const pid_t child = waiting_child(told);
  CHECK(told->identity.pid == child);
  CHECK(told->identity != ProcessIdentity::self());
  CHECK(told->identity.alive());
  kill_unreaped(child);
  CHECK_FALSE(told->identity.alive());
  CHECK(wait_for(child) == -SIGKILL);
  CHECK_FALSE(told->identity.alive());
}

TEST_CASE("a process that is stopped is alive") {
  const Shared<Told> told;
  const pid_t child = waiting_child(told);
  REQUIRE(::kill(child, SIGSTOP) == 0);
  siginfo_t stopped;
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &stopped, WSTOPPED | WNOWAIT) == 0);
  CHECK(told->identity.alive());
  REQUIRE(::kill(child, SIGKILL) == 0);
  wait_for(child);
  CHECK_FALSE(told->identity.alive());
}

TEST_CASE("a process that was given the number of an ended one is not that one") {
  ProcessIdentity earlier = ProcessIdentity::self();
  --earlier.start_ticks;
  CHECK_FALSE(earlier.alive());
}

TEST_CASE("a number that no process has is dead") {
  CHECK_FALSE(ProcessIdentity{std::numeric_limits<std::int32_t>::max(), 1}.alive());
}

TEST_CASE("a process whose first thread has ended is alive until the last one has") {
  const Shared<Told> told;
  const pid_t child = waiting_child(told, [] {
    std::thread([] {
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);  // Of this thread alone, and without unwinding into the test.
  });
  const auto first_thread_ended = [&] {
    std::ifstream file("/proc/" + std::to_string(child) + "/stat");
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    return text.find(") Z ") != std::string::npos;
  };
  wait_until(first_thread_ended);
  CHECK(told->identity.alive());
  kill_unreaped(child);
  CHECK_FALSE(told->identity.alive());
  wait_for(child);
}

TEST_CASE("a program's name that looks like the fields behind it deceives nobody") {
  const ProcessIdentity self = ProcessIdentity::self();
  const Shared<Told> told;
  const pid_t child = spawn([&]() -> int {
    ::prctl(PR_SET_NAME, ") Z 1 (1 1) 7");
    expect(self.alive(), "the parent is alive");
    told->identity = ProcessIdentity::self();
    told->ready.store(true);
    for (;;) ::pause();
  });
  wait_until([&] { return told->ready.load(); });
  CHECK(told->identity.pid == child);
  CHECK(told->identity.start_ticks >= self.start_ticks);
  CHECK(told->identity.alive());
  REQUIRE(::kill(child, SIGKILL) == 0);
  CHECK(wait_for(child) == -SIGKILL);
}

TEST_CASE("the application's locale changes nothing") {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return ' '; }
    std::string do_grouping() const override { return "\3"; }
  };
  const ProcessIdentity self = ProcessIdentity::self();
  const Shared<Told> told;
  const pid_t child = waiting_child(told);
  const std::locale before = std::locale::global(std::locale(std::locale(), new Grouped));
  CHECK(ProcessIdentity::self() == self);
  CHECK(told->identity.alive());
  kill_unreaped(child);
  CHECK_FALSE(told->identity.alive());
  std::locale::global(before);
  wait_for(child);
}

TEST_CASE("a process that /proc does not show is alive for all that") {
  const Shared<Told> told;
  const pid_t child = waiting_child(told);
  const TempDir empty;
  constexpr int kNotAllowed = 77;
  const auto alive_in_jail = [&] {
    return wait_for(spawn([&]() -> int {
      if (::chroot(empty.path().c_str()) != 0) return kNotAllowed;
      return told->identity.alive() ? 1 : 0;
    }));
  };
  const int alive = alive_in_jail();
  REQUIRE(::kill(child, SIGKILL) == 0);
  wait_for(child);
  if (alive == kNotAllowed) {
    MESSAGE("only root may leave /proc behind");
    return;
  }
  CHECK(alive == 1);
  CHECK(alive_in_jail() == 0);
}
