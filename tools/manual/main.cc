#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "command_line.h"
#include "completion.h"
#include "pages.h"
#include "words.h"

/// Writes the manual's pages and the completion for three shells into a folder, from the command line that oncelog
/// itself parses. The build runs it; it is not installed.
///   oncelog-manual FOLDER
namespace oncelog::tool {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + file.string());
}

/// Of SOURCE_DATE_EPOCH, so that a build can be repeated, or else of today.
std::string date() {
  const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
  const std::time_t time = epoch == nullptr ? std::time(nullptr) : std::time_t{std::stoll(epoch)};
  std::tm day{};
  char month[16];
  if (::gmtime_r(&time, &day) == nullptr || std::strftime(month, sizeof month, "%B", &day) == 0) {
    throw std::runtime_error("SOURCE_DATE_EPOCH is no time");
  }
  return fmt::format("{} {}, {}", month, day.tm_mday, day.tm_year + 1900);
}

void write_all(const fs::path& folder) {
  CLI::App app;
  Run chosen;
  build_command_line(app, chosen, {});
  // The folder's time tells the build that it is new, and a command that is no more leaves no page.
  const fs::path pages = folder / "man1";
  fs::remove_all(pages);
  fs::create_directories(pages);
  const std::string today = date();
  for (const CLI::App* command : tree_of(app)) write(pages / (page_name(*command) + ".1"), page(*command, today));
  write(folder / "oncelog", bash_completion(app));
  write(folder / "_oncelog", zsh_completion(app));
  write(folder / "oncelog.fish", fish_completion(app));
}

}  // namespace
}  // namespace oncelog::tool

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: oncelog-manual FOLDER\n");
    return 2;
  }
  try {
    oncelog::tool::write_all(argv[1]);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "oncelog-manual: {}\n", error.what());
    return 2;
  }
}
