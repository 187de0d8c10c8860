#include "verify.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "output.h"
#include "printable.h"
#include "remote_store.h"

namespace oncelog::tool {
namespace {

using Json = nlohmann::ordered_json;

/// What to do, with the store's name in the commands.
std::string remedy_of(const Problem& problem, const std::filesystem::path& directory) {
  constexpr std::string_view kPlaceholder = "--store STORE";
  std::string remedy = problem.remedy;
  if (const auto at = remedy.find(kPlaceholder); at != std::string::npos) {
    remedy.replace(at, kPlaceholder.size(), "--store " + directory.string());
  }
  return remedy;
}

std::string to_text(const VerifyReport& report, const std::filesystem::path& directory) {
  std::string text = problems_text(report.problems, directory);
  if (report.problem_count > report.problems.size()) {
    fmt::format_to(std::back_inserter(text), "and {} more\n\n", report.problem_count - report.problems.size());
  }
  fmt::format_to(
      std::back_inserter(text), "{}: {} records in {} blocks below LSN {}, {} pages of data.mdb of which {} are free",
      report.sound() ? "sound"
                     : fmt::format("{} problem{}", report.problem_count, report.problem_count == 1 ? "" : "s"),
      report.records, report.blocks, report.end.value, report.pages, report.free_pages);
  if (report.deep) {
    fmt::format_to(std::back_inserter(text), "; {} live records looked up in filter and index", report.looked_up);
  }
  return text + '\n';
}

Json to_json(const VerifyReport& report, const std::filesystem::path& directory) {
  return {{"sound", report.sound()},
          {"problem_count", report.problem_count},
          {"problems", problems_json(report.problems, directory)},
          {"records", report.records},
          {"blocks", report.blocks},
          {"log_bytes", report.log_bytes},
          {"end", report.end.value},
          {"pages", report.pages},
          {"free_pages", report.free_pages},
          {"deep", report.deep},
          {"looked_up", report.looked_up}};
}

}  // namespace

std::string problems_text(const std::vector<Problem>& problems, const std::filesystem::path& directory) {
  std::string text;
  for (const Problem& problem : problems) {
    fmt::format_to(std::back_inserter(text), "{}: {}\n  answers: {}\n  to do:   {}\n\n", printable(problem.where),
                   printable(problem.sentence), printable(problem.meaning), printable(remedy_of(problem, directory)));
  }
  return text;
}

Json problems_json(const std::vector<Problem>& problems, const std::filesystem::path& directory) {
  Json all = Json::array();
  for (const Problem& problem : problems) {
    all.push_back({{"kind", to_string(problem.kind)},
                   {"where", printable(problem.where)},
                   {"sentence", printable(problem.sentence)},
                   {"meaning", printable(problem.meaning)},
                   {"remedy", printable(remedy_of(problem, directory))}});
  }
  return all;
}

int run_verify(const VerifyArguments& arguments) {
  refuse_address("verify", arguments.store.directory);
  VerifyOptions options;
  options.deep = arguments.deep;
  options.live_dir = arguments.store.live_dir;
  options.allow_foreign_owner = arguments.store.allow_foreign_owner;
  options.allow_network_filesystem = arguments.store.allow_network_filesystem;
  options.map_bytes = arguments.store.map_bytes;
  options.max_readers = arguments.store.max_readers;
  Output output = standard_output();
  act_as_owner(arguments.store);
  VerifyReport report;
  {
    ProgressLine progress("verify");
    report = verify(arguments.store.directory, options, progress.hook());
  }
  const auto& directory = arguments.store.directory;
  // Names in the store may be any bytes.
  output.write(arguments.json ? to_json(report, directory).dump(-1, ' ', false, Json::error_handler_t::replace) + '\n'
                              : to_text(report, directory));
  return report.sound() ? 0 : 1;
}

ProgressLine::ProgressLine(const char* command) : command_(command), terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (!shown_.empty()) fmt::print(stderr, "\r\x1b[K");
}

VerifyProgressHook ProgressLine::hook() {
  if (!terminal_) return {};
  return [this](const VerifyProgress& progress) { show(progress); };
}

void ProgressLine::show(const VerifyProgress& progress) {
  const std::uint64_t percent =
      progress.total == 0 ? 0 : std::min<std::uint64_t>(100, progress.done * 100 / progress.total);
  std::string line = fmt::format("oncelog {}: {} {}%", command_, progress.stage, percent);
  if (line == shown_) return;
  shown_ = std::move(line);
  fmt::print(stderr, "\r\x1b[K{}", shown_);
}

}  // namespace oncelog::tool
