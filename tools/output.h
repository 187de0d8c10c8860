#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace oncelog::tool {

/// Thrown when whoever read an output has closed it (EPIPE): no error to report, but the end of the work.
struct ClosedOutput {};

/// Writes to a descriptor what is spread over memory without copying it: add() notes views, merging neighbours (a run
/// of passed lines of one input buffer is one write), flush() hands them to the kernel. The bytes must stay where they
/// are until flush(). One thread. Errors: ClosedOutput; Error with code full or io.
class Output {
 public:
  /// Writes to an open descriptor, which it does not close; `name` is what errors call it.
  Output(int descriptor, std::string name);
  /// Appends to a file, creating it where there is none.
  explicit Output(const std::filesystem::path& file);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void add(std::string_view bytes);
  void flush();
  /// Has a file's bytes on disk; nothing to do for a pipe, a terminal and the like.
  void sync();

  void write(std::string_view bytes) {
    add(bytes);
    flush();
  }

 private:
  std::size_t write_some(std::span<const std::string_view> runs);

  int descriptor_;
  bool owned_;
  std::string name_;
  std::vector<std::string_view> runs_;
};

/// Standard output.
Output standard_output();

}  // namespace oncelog::tool
