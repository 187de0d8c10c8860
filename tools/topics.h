#pragma once

#include <string>

namespace oncelog::tool {

struct TopicsLintOptions {
  std::string file;  // "-" is standard input.
  bool json = false;
};

/// Reads subscriptions, one a line, as "SERVICE PATTERN" or {"service":"...","pattern":"..."}, and prints each pair of
/// one service's that gets the same message twice, with a routing key that does it. Prints nothing when a line cannot
/// be read. Returns the exit code: 0 when there is no such pair, 1 when there is one, 128 + N after signal N. Keeps all
/// subscriptions in memory and compares each with all others of its service. Errors: oncelog::Error, ClosedOutput.
int run_topics_lint(const TopicsLintOptions& options);

}  // namespace oncelog::tool
