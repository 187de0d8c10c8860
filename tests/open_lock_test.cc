#include "shared/open_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>
#include <vector>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

/// A directory with the two files of a store, both empty.
struct Files {
  Files() {
    make("data.mdb");
    make("lock.mdb");
  }
  void make(const char* name) const { std::ofstream(dir / name).flush(); }
  void replace(const char* name) const {
    // In one step: what is missing for a moment is no store for that moment.
    make("new");
    std::filesystem::rename(dir / "new", dir / name);
  }
  TempDir dir;
};

struct Opening {
  explicit Opening(const std::filesystem::path& directory) : lock(directory) {
    REQUIRE(lock.acquire());
    alone = lock.join();
  }
  OpenLock lock;
  bool alone = false;
};

/// In another process: 0 when it can open the store beside others, 1 when it is alone, 2 when it is refused.
int open_elsewhere(const std::filesystem::path& directory) {
  return wait_for(spawn([&] {
    try {
      Opening other(directory);
      other.lock.pair();
      return other.alone ? 1 : 0;
    } catch (const Error& error) {
      return error.code() == ErrorCode::in_use ? 2 : 3;
    }
  }));
}

}  // namespace

TEST_CASE("the first user of a store is alone, later ones are not, and the next one is when all have closed it") {
  const Files files;
  {
    Opening first(files.dir.path());
    CHECK(first.alone);
    first.lock.pair();
    first.lock.unlock();
    CHECK(open_elsewhere(files.dir.path()) == 0);
  }
  CHECK(open_elsewhere(files.dir.path()) == 1);
}

TEST_CASE("opening is one process at a time") {
  const Files files;
  struct Counts {
    std::atomic<int> inside{0};
    std::atomic<int> crowded{0};
  };
  const Shared<Counts> counts;
  std::vector<pid_t> children;
  for (int child = 0; child < 4; ++child) {
    children.push_back(spawn([&] {
      for (int i = 0; i < 50; ++i) {
        const Opening opening(files.dir.path());
        if (counts->inside.fetch_add(1) != 0) counts->crowded.fetch_add(1);
        counts->inside.fetch_sub(1);
      }
      return 0;
    }));
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  CHECK(counts->crowded.load() == 0);
}

TEST_CASE("a process that dies releases its locks") {
  const Files files;
  const pid_t child = spawn([&] {
    auto* opening = new Opening(files.dir.path());  // Never destroyed.
    opening->lock.pair();
    return opening->alone ? 0 : 1;
  });
  REQUIRE(wait_for(child) == 0);
  CHECK(open_elsewhere(files.dir.path()) == 1);
}

TEST_CASE("a child of fork() that outlives its parent holds none of its locks") {
  const Files files;
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  pid_t sleeper = 0;
  const Shared<std::atomic<pid_t>> grandchild;
  const pid_t parent = spawn([&] {
    auto* opening = new Opening(files.dir.path());
    opening->lock.pair();
    const pid_t helper = ::fork();
    if (helper == 0) {
      char byte = 0;
      ::close(pipe_ends[1]);
      ::_exit(::read(pipe_ends[0], &byte, 1) == 0 ? 0 : 1);  // Until the test closes the pipe.
    }
    grandchild->store(helper);
    ::raise(SIGKILL);
    return 1;
  });
  CHECK(wait_for(parent) == -SIGKILL);
  sleeper = grandchild->load();
  CHECK(::kill(sleeper, 0) == 0);
  CHECK(open_elsewhere(files.dir.path()) == 1);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST_CASE(
    "a second copy of the library in one process is refused, also while the first is opening or has closed since") {
  const Files files;
  {
    Opening first(files.dir.path());
    OpenLock second(files.dir.path());
    CHECK(error_code_of([&] { second.acquire(); }) == ErrorCode::in_use);
    first.lock.unlock();
    CHECK(error_text_of([&] { OpenLock(files.dir.path()).acquire(); }).find("another copy") != std::string::npos);
    CHECK(open_elsewhere(files.dir.path()) != 1);  // Nothing of the first one's was released by that.
  }
  CHECK(Opening(files.dir.path()).alone);
}

TEST_CASE("a lock.mdb that is deleted or replaced while it is in use keeps others from opening the store") {
  const Files files;
  Opening first(files.dir.path());
  first.lock.pair();
  first.lock.unlock();
  CHECK(open_elsewhere(files.dir.path()) == 0);
  SUBCASE("deleted") {
    std::filesystem::remove(files.dir / "lock.mdb");
  }
  SUBCASE("replaced") {
    files.replace("lock.mdb");
  }
  CHECK(open_elsewhere(files.dir.path()) == 2);
}

TEST_CASE(
    "a data.mdb that is replaced while it is in use keeps others from opening the new one with the same lock.mdb") {
  const Files files;
  Opening first(files.dir.path());
  first.lock.pair();
  first.lock.unlock();
  CHECK(first.lock.is_current());
  files.replace("data.mdb");
  CHECK_FALSE(first.lock.is_current());
  CHECK(open_elsewhere(files.dir.path()) == 2);
}

TEST_CASE("whoever waited for a data.mdb that was replaced meanwhile locks the new one") {
  const Files files;
  Opening first(files.dir.path());
  const pid_t waiting = spawn([&] {
    OpenLock lock(files.dir.path());
    return lock.acquire() && lock.is_current() && lock.join() ? 0 : 1;
  });
  wait_until([&] { return is_in_call(waiting, SYS_fcntl); });
  files.replace("data.mdb");
  first.lock.unlock();
  CHECK(wait_for(waiting) == 0);
}

namespace {

std::atomic<unsigned>* caught = nullptr;  // For the handler.

}  // namespace

// Not under ThreadSanitizer, which has a handler run at the next call that it knows; fcntl is none of these.
TEST_CASE("a wait behind another opener goes on after signals that the process catches" *
          doctest::skip(kThreadSanitizer)) {
  const Files files;
  Opening first(files.dir.path());
  const Shared<std::atomic<unsigned>> count;
  const pid_t waiting = spawn([&] {
    caught = &*count;
    struct sigaction action {};
    action.sa_handler = [](int) { caught->fetch_add(1); };
    action.sa_flags = 0;  // Without SA_RESTART: the call ends with EINTR.
    ::sigaction(SIGALRM, &action, nullptr);
    OpenLock lock(files.dir.path());
    return lock.acquire() && !lock.join() ? 0 : 1;
  });
  const auto has_ended = [&] {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(waiting), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
  };
  for (unsigned signals = 0; signals < 20 && !has_ended(); ++signals) {
    wait_until([&] { return is_in_call(waiting, SYS_fcntl) || has_ended(); });
    ::kill(waiting, SIGALRM);
    wait_until([&] { return count->load() > signals || has_ended(); });
  }
  CHECK_FALSE(has_ended());
  first.lock.unlock();
  CHECK(wait_for(waiting) == 0);
  CHECK(count->load() == 20);
}

TEST_CASE("a store that an earlier version has open is refused, and its note is read") {
  const Files files;
  std::ofstream(files.dir / "oncelog.lock") << "/dev/shm/somewhere";
  {
    Opening opening(files.dir.path());
    CHECK(opening.alone);
    CHECK(opening.lock.used_by_earlier_version());
    CHECK(opening.lock.formerly_noted_live_dir() == "/dev/shm/somewhere");
  }
  const int file = ::open((files.dir / "oncelog.lock").c_str(), O_RDWR | O_CLOEXEC);
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_start = (off_t{1} << 40) + 1;
  lock.l_len = 1;
  REQUIRE(::fcntl(file, F_OFD_SETLK, &lock) == 0);
  CHECK(error_code_of([&] { Opening{files.dir.path()}; }) == ErrorCode::in_use);
  ::close(file);
  Opening opening(files.dir.path());
  opening.lock.forget_earlier_version();
  CHECK_FALSE(std::filesystem::exists(files.dir / "oncelog.lock"));
  CHECK(opening.lock.formerly_noted_live_dir().empty());
}

TEST_CASE("where there is no data.mdb nothing is locked, and nothing is made") {
  const TempDir dir;
  CHECK_FALSE(OpenLock(dir.path()).acquire());
  CHECK_FALSE(OpenLock(dir / "missing").acquire());
  CHECK(std::filesystem::is_empty(dir.path()));
}
