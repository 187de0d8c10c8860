#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <oncelog/oncelog.h>

#include "arguments.h"
#include "command_line.h"
#include "output.h"
#include "printable.h"
#include "stop_signal.h"

namespace oncelog::tool {
namespace {

constexpr int kErrorExit = 2;

int fail(std::string sentence) {
  std::ranges::replace(sentence, '\n', ' ');
  fmt::print(stderr, "oncelog: {}\n", sentence);
  return kErrorExit;
}

/// Takes the command that `lock` or `once` is to run off the arguments: it is that command's own to the byte, and CLI11
/// would make a list of an argument in brackets.
std::vector<std::string> take_command(int& argc, const char* const* argv) {
  const auto* const end = std::find(argv, argv + argc, std::string_view("--"));
  std::vector<std::string> command;
  if (end != argv + argc) command.assign(end + 1, argv + argc);
  argc = static_cast<int>(end - argv);
  return command;
}

int run(int argc, const char* const* argv) {
  std::vector<std::string> to_run;
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "lock" || first == "once") to_run = take_command(argc, argv);
  CLI::App app;
  Run chosen;
  build_command_line(app, chosen, std::move(to_run));
  if (const char* const list = list_of_ids(argc, argv)) {
    return fail(fmt::format("'{}' would be taken for a list; give ids in brackets by standard input", printable(list)));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);
      return std::cout.flush() ? 0 : fail("cannot write to standard output");
    }
    if (app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-') {
      return fail(fmt::format("there is no command '{}'; see oncelog --help", printable(argv[1])));
    }
    std::string name = app.get_name();
    for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
      at = at->get_subcommands().front();
      name += ' ' + at->get_name();
    }
    return fail(fmt::format("{}; see {} --help", error.what(), name));
  }
  return chosen();
}

/// A standard descriptor that the parent closed would be given to the first file that is opened, and the store's files
/// must not become anyone's output. Each is opened the wrong way round, so that its use is an error as before.
void hold_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) < 0) ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace
}  // namespace oncelog::tool

int main(int argc, char** argv) {
  using namespace oncelog::tool;
  hold_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // A file that may not grow further is an error like a full disk.
  try {
    const int code = run(argc, argv);
    // A command under a lock may have an exit code of that kind, which is its own.
    const int signal = StopSignal::received();
    return signal != 0 && code == 128 + signal ? end_by_signal(signal) : code;
  } catch (const ClosedOutput&) {
    return end_by_signal(SIGPIPE);
  } catch (const oncelog::Error& error) {
    return fail(in_flags(error));
  } catch (const std::bad_alloc&) {
    return fail("out of memory; give it more, or look for an endless line in the input");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
