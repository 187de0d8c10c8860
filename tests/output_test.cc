#include "output.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <oncelog/error.h>

#include "support.h"

using namespace oncelog::tool;
using oncelog::testing::TempDir;

namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void put(const std::filesystem::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary) << text;
}

/// No file of this process grows beyond so many bytes while this lives: a disk that is full there.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_;
};

/// Standard output as a shell's redirection makes it: opened by someone else.
class Redirected {
 public:
  Redirected(const std::filesystem::path& file, int flags) : descriptor(::open(file.c_str(), flags | O_CREAT, 0666)) {
    REQUIRE(descriptor >= 0);
  }
  ~Redirected() { ::close(descriptor); }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

  const int descriptor;
};

/// Leaves what a process that is killed in the middle of its write leaves: while it writes, it has the record lock.
void tear(const std::filesystem::path& file) {
  const Redirected torn(file, O_WRONLY | O_APPEND);
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  REQUIRE(::fcntl(torn.descriptor, F_SETLKW, &whole) == 0);
  REQUIRE(::write(torn.descriptor, "torn", 4) == 4);
}

oncelog::ErrorCode failure_of(Output& output) {
  try {
    output.flush();
  } catch (const oncelog::Error& error) {
    return error.code();
  }
  return {};
}

}  // namespace

TEST_CASE("a foreign line without an end is ended before more is written, however the file was opened") {
  const TempDir folder;
  put(folder / "file", "old entry");
  {
    Output output(folder / "file");
    output.write("x\n");
    std::ofstream(folder / "file", std::ios::app) << "another's";
    output.write("y\n");
  }
  CHECK(content(folder / "file") == "old entry\nx\nanother's\ny\n");

  put(folder / "appended", "old");
  const Redirected appended(folder / "appended", O_WRONLY | O_APPEND);
  Output(appended.descriptor, "appended").write("x\n");
  CHECK(content(folder / "appended") == "old\nx\n");

  const Redirected anew(folder / "anew", O_WRONLY | O_TRUNC);
  REQUIRE(::write(anew.descriptor, "head", 4) == 4);
  Output(anew.descriptor, "anew").write("x\n");
  CHECK(content(folder / "anew") == "head\nx\n");

  put(folder / "null", std::string("a\0b", 3));
  Output(folder / "null", '\0').write(std::string_view("c\0", 2));
  CHECK(content(folder / "null") == std::string("a\0b\0c\0", 6));
}

TEST_CASE("a flush that fails takes back what it has written, so that only whole lines stay") {
  const TempDir folder;
  const std::string lines = "first line\nsecond line\nthird line\n";

  SUBCASE("appending") {
    put(folder / "file", "kept\nold");
    Output output(folder / "file");
    output.add(lines);
    {
      const FileLimit limit(30);
      CHECK(failure_of(output) == oncelog::ErrorCode::full);
    }
    CHECK(content(folder / "file") == "kept\nold");
    output.write(lines);
    CHECK(content(folder / "file") == "kept\nold\n" + lines);
  }
  SUBCASE("from the beginning") {
    const Redirected file(folder / "file", O_WRONLY | O_TRUNC);
    Output output(file.descriptor, "file");
    output.write("kept\n");
    output.add(lines);
    {
      const FileLimit limit(20);
      CHECK(failure_of(output) == oncelog::ErrorCode::full);
    }
    CHECK(content(folder / "file") == "kept\n");
    output.write(lines);
    CHECK(content(folder / "file") == "kept\n" + lines);
  }
  SUBCASE("over older content, which is another's to the end") {
    put(folder / "file", std::string(50, 'o'));
    const Redirected file(folder / "file", O_RDWR);
    Output output(file.descriptor, "file");
    output.write(lines);
    CHECK(content(folder / "file").size() == 50);
  }
}

TEST_CASE("processes that append to one file write whole lines, and end those that one of them was killed in") {
  const TempDir folder;
  constexpr int kWriters = 4;
  constexpr int kFlushes = 40;
  constexpr int kLines = 1500;  // More runs than one system call takes.
  pid_t writers[kWriters];
  for (int writer = 0; writer != kWriters; ++writer) {
    writers[writer] = ::fork();
    if (writers[writer] != 0) continue;
    const std::string line =
        std::string(100 + static_cast<std::size_t>(writer), static_cast<char>('a' + writer)) + '\n';
    const std::string same = line;  // Elsewhere, so that each line is a run of its own.
    Output output(folder / "file");
    for (int i = 0; i != kFlushes; ++i) {
      for (int run = 0; run != kLines; ++run) output.add(run % 2 == 0 ? line : same);
      output.flush();
      if (i == kFlushes / 2) tear(folder / "file");
    }
    ::_exit(0);
  }
  for (const pid_t writer : writers) {
    int status = 0;
    REQUIRE(::waitpid(writer, &status, 0) == writer);
    CHECK(status == 0);
  }
  std::ifstream in(folder / "file");
  std::string line;
  int whole = 0;
  int torn = 0;
  while (std::getline(in, line)) {
    if (line.starts_with("torn")) {  // More than one where another's came before the next flush.
      torn += static_cast<int>(line.size() / 4);
      continue;
    }
    const auto writer = static_cast<std::size_t>(line[0] - 'a');
    REQUIRE(line == std::string(100 + writer, line[0]));
    ++whole;
  }
  CHECK(torn == kWriters);
  CHECK(whole == kWriters * kFlushes * kLines);
}

TEST_CASE("outputs to one file are the same, those to one device are not") {
  const TempDir folder;
  const Output one(folder / "file");
  CHECK(one.is_same_as(Output(folder / "." / "file")));
  CHECK_FALSE(one.is_same_as(Output(folder / "other")));
  CHECK_FALSE(Output("/dev/null").is_same_as(Output("/dev/null")));
}
