#include "base/descriptors.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

/// The descriptors of this process that name a file in `directory`.
std::vector<int> descriptors_into(const std::filesystem::path& directory) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // The iterator's own.
    const auto target = std::filesystem::read_symlink(entry.path(), gone);
    if (!gone && target.string().starts_with(directory.string())) found.push_back(std::stoi(entry.path().filename()));
  }
  return found;
}

bool exited_with_0(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Whether a shell that this process starts finds no descriptor into `directory`, however it is started.
void expect_none_inherited(const std::filesystem::path& directory) {
  const std::string look = "ls -l /proc/self/fd | grep -F '" + directory.string() + "' && exit 1; exit 0";
  expect(exited_with_0(std::system(look.c_str())), "system() hands none on");
  std::string shell = "sh";
  std::string option = "-c";
  std::string command = look;
  char* const arguments[] = {shell.data(), option.data(), command.data(), nullptr};
  pid_t child = 0;
  expect(::posix_spawnp(&child, "sh", nullptr, nullptr, arguments, environ) == 0, "a shell can be spawned");
  int status = 0;
  expect(::waitpid(child, &status, 0) == child && exited_with_0(status), "posix_spawn() hands none on");
  child = ::fork();
  if (child == 0) {
    ::execvp("sh", arguments);
    ::_exit(127);
  }
  expect(::waitpid(child, &status, 0) == child && exited_with_0(status), "fork() and exec hand none on");
}

}  // namespace

TEST_CASE("no descriptor of a store is 0, 1 or 2, and none is inherited, whichever of these a process has closed") {
  const TempDir dir;
  for (int closed = 0; closed < 8; ++closed) {
    CAPTURE(closed);
    CHECK(wait_for(spawn([&] {
            for (int fd = 0; fd < 3; ++fd) {
              if ((closed >> fd & 1) != 0) ::close(fd);
            }
            const auto path = dir / ("store" + std::to_string(closed));
            const Store store = Store::open(path);
            expect(store.scope("s").mark("a", Ack::disk) == Verdict::fresh, "the store works");
            const auto open = descriptors_into(path);
            expect(!open.empty(), "the store has descriptors");
            for (const int fd : open) {
              expect(fd > 2, "none is a standard stream");
              expect((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "each is close-on-exec");
            }
            // Not while the store's background work opens a file.
            expect(holds_soon([&] {
                     for (int fd = 0; fd < 3; ++fd) {
                       if ((::fcntl(fd, F_GETFD) == -1) != ((closed >> fd & 1) != 0)) return false;
                     }
                     return true;
                   }),
                   "the streams are as they were");
            // A shell needs its streams.
            const int null = ::fcntl(::open("/dev/null", O_RDWR | O_CLOEXEC), F_DUPFD_CLOEXEC, 3);
            for (int fd = 0; fd < 3; ++fd) {
              if ((closed >> fd & 1) != 0) expect(::dup2(null, fd) == fd, "a stream is opened again");
            }
            expect_none_inherited(path);
            return 0;
          })) == 0);
  }
}

TEST_CASE("a stream that the application opens while placeholders are there is left to it") {
  CHECK(wait_for(spawn([] {
          ::close(2);
          {
            const StandardStreamsTaken taken;
            const StandardStreamsTaken again;
            expect(::fcntl(2, F_GETFD) != -1, "it is taken");
            expect(::write(2, "x", 1) == -1, "nothing can be written there");
            const int file = ::open("/dev/null", O_RDWR);
            expect(file > 2 && ::dup2(file, 2) == 2, "it is replaced");
          }
          expect(::write(2, "x", 1) == 1, "it is the application's");
          ::close(2);
          { const StandardStreamsTaken taken; }
          expect(::fcntl(2, F_GETFD) == -1, "it is closed again");
          return 0;
        })) == 0);
}

TEST_CASE("a child of fork() has none of its parent's descriptors, and its parent keeps them") {
  const TempDir dir;
  ParentsDescriptor first;
  ParentsDescriptor second;
  REQUIRE(first.open(dir / "first", O_RDWR | O_CREAT, 0600));
  REQUIRE(second.open(dir / "second", O_RDWR | O_CREAT, 0600));
  const int fds[] = {first.get(), second.get()};
  CHECK(wait_for(spawn([&] {
          expect(!first && !second, "the objects are empty");
          for (const int fd : fds) expect(::fcntl(fd, F_GETFD) == -1, "the descriptor is closed");
          expect(first.open(dir / "first", O_RDWR), "one can be opened again");
          first.reset();
          return 0;
        })) == 0);
  for (const int fd : fds) CHECK(::fcntl(fd, F_GETFD) != -1);
  first.reset();
  CHECK(::fcntl(fds[0], F_GETFD) == -1);
  CHECK(::fcntl(fds[1], F_GETFD) != -1);
}

TEST_CASE("a child that is forked while a file is being opened does not have it either") {
  const TempDir dir;
  const std::string path = dir / "file";
  { REQUIRE(open_descriptor(path, O_RDWR | O_CREAT, 0600)); }
  std::atomic<bool> stop{false};
  std::thread opening([&] {
    while (!stop.load()) {
      ParentsDescriptor file;
      file.open(path, O_RDWR);
    }
  });
  int inherited = 0;
  for (int i = 0; i < 200; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      struct stat file {};
      struct stat opened {};
      ::stat(path.c_str(), &file);
      for (int fd = 3; fd < 64; ++fd) {
        if (::fstat(fd, &opened) == 0 && opened.st_dev == file.st_dev && opened.st_ino == file.st_ino) ::_exit(1);
      }
      ::_exit(0);
    }
    inherited += wait_for(child);
  }
  stop.store(true);
  opening.join();
  CHECK(inherited == 0);
}
