#pragma once

#include <sys/types.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace oncelog::bench {

/// This program, started again with other arguments. Lines go both ways. It is killed with this object when it still
/// runs.
class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  void write_line(const std::string& line);
  /// Nothing at the end of its output.
  std::optional<std::string> read_line();
  /// Waits for its end. Returns its exit code, or 128 and the number of the signal that has ended it.
  int wait();

 private:
  pid_t pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace oncelog::bench
