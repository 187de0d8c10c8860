#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace oncelog::tool {

/// Thrown when the reader of an output has closed it (EPIPE): not an error to report, but the end of the work.
struct ClosedOutput {};

/// Writes lines to a descriptor, without copying what is spread over memory: add() notes views, merging neighbours (a
/// run of passed lines of one input buffer is one write), flush() hands them to the kernel. The bytes must stay where
/// they are until flush(). One thread. Errors: ClosedOutput; Error with code full or io.
///
/// In a regular file, lines are whole: what is written between two flushes is whole lines, a line that another program
/// has left without its end is given it first, and a flush that fails (a full disk) takes back what it has written.
/// That may not be possible when a program that ignores record locks appends meanwhile, or when the file may not be
/// read. Users of this class take turns, also as processes, by a record lock on the file: 5 system calls for each
/// flush.
class Output {
 public:
  /// Writes to an open descriptor, which it does not close; `name` is what errors call it.
  Output(int descriptor, std::string name, char line_end = '\n');
  /// Appends to a file, creating it where there is none.
  explicit Output(const std::filesystem::path& file, char line_end = '\n');
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void add(std::string_view bytes);
  void flush();
  /// Syncs a file's bytes to disk; does nothing for a pipe, a terminal and the like.
  void sync();

  void write(std::string_view bytes) {
    add(bytes);
    flush();
  }

  /// Whether both are one file or pipe, where what each writes would get between the other's. Terminals, /dev/null and
  /// other devices do not count.
  bool is_same_as(const Output& other) const;

  /// Whether it is the regular file that `input` reads, to which what is written would come in again, without end.
  bool is_read_by(int input) const;

 private:
  void look_at_file();
  off_t position() const;
  bool ends_in_a_line(off_t end) const;
  int write_all(std::size_t& written);
  ssize_t write_some(std::span<const std::string_view> runs);
  void take_back(off_t begin, std::size_t written);
  [[noreturn]] void fail(int error) const;

  int descriptor_;
  bool owned_;
  std::string name_;
  char line_end_;
  bool regular_ = false;
  bool appends_ = false;
  int reader_ = -1;  // On the same file, to see how it ends; -1 when it may not be read.
  std::vector<std::string_view> runs_;
};

/// Throws Error::io for a call on a file that has just failed, with what errno says.
[[noreturn]] void fail_on(const std::filesystem::path& file, const char* call);

/// Standard output.
Output standard_output(char line_end = '\n');

}  // namespace oncelog::tool
