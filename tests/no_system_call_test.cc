#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <string>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

/// From here on any system call of the calling thread but exit_group ends the process by SIGSYS.
void forbid_system_calls() {
  const std::array<sock_filter, 6> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{4, const_cast<sock_filter*>(program.data())};
  expect(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "privileges can be given up");
  expect(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "system calls can be forbidden");
}

}  // namespace

TEST_CASE("checking, marking and claiming fresh ids makes no system call") {
  const TempDir dir;
  const auto run = [&](int round) {
    const Store store = Store::open(dir / "store", kOptions);
    const Scope scope = store.scope("orders");
    const auto work = [&](int from, int count) {
      std::array<char, 16> id{};
      for (int i = from; i < from + count; ++i) {
        id.fill('x');
        for (int rest = i, at = 0; rest != 0; rest /= 10)
          id[static_cast<std::size_t>(at++)] = static_cast<char>('0' + rest % 10);
        const std::string_view text(id.data(), id.size());
        if (scope.contains(text)) return false;
        Claim claim = scope.begin(text, 1h);
        if (!claim) return false;
        claim.abandon();
        if (i % 2 == 0) {
          if (scope.mark(text) != Verdict::fresh) return false;
        } else {
          claim = scope.begin(text, 1h);
          if (!claim.complete()) return false;
        }
      }
      return true;
    };
    expect(work(1 + 2'000 * round, 100), "it warms up");
    // One thread, which the flusher does not disturb within the hour.
    forbid_system_calls();
    ::syscall(SYS_exit_group, work(1'000 + 2'000 * round, 300) ? 0 : 1);
    return 2;
  };
  // The flusher may just have the mutex now and then, but not every time.
  int status = -1;
  for (int round = 0; status != 0 && round < 20; ++round) status = wait_for(spawn([&] { return run(round); }));
  CHECK(status == 0);
}
#endif
