#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <oncelog/verify.h>

#include "store_arguments.h"

namespace oncelog::tool {

struct VerifyArguments {
  StoreArguments store;
  bool deep = false;
  bool json = false;
};

/// Verifies the store and prints what is wrong, what that means and what to do; progress on standard error when that is
/// a terminal. Returns 0 when it is sound and 1 when not. Errors: oncelog::Error, ClosedOutput.
int run_verify(const VerifyArguments& arguments);

/// The problems for a person, a paragraph each, and as JSON. `directory` takes the place of STORE in what to do.
std::string problems_text(const std::vector<Problem>& problems, const std::filesystem::path& directory);
nlohmann::ordered_json problems_json(const std::vector<Problem>& problems, const std::filesystem::path& directory);

/// Shows progress on one line of standard error, when that is a terminal, and clears it at the end.
class ProgressLine {
 public:
  explicit ProgressLine(const char* command);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();

  /// To be called with each step; empty where nothing is shown.
  VerifyProgressHook hook();

 private:
  void show(const VerifyProgress& progress);

  const char* command_;
  bool terminal_;
  std::string shown_;
};

}  // namespace oncelog::tool
