#include "arguments.h"

#include <array>
#include <cctype>
#include <chrono>
#include <cstdint>

#include "size.h"
#include "timestamp.h"

namespace oncelog::tool {
namespace {

void add_size(CLI::App& command, const std::string& name, std::optional<std::uint64_t>& target,
              const std::string& help) {
  command
      .add_option_function<std::string>(
          name, [name, &target](const std::string& text) { target = parse_size(text, name); }, help)
      ->type_name("SIZE");
}

}  // namespace

void add_time(CLI::App& command, const std::string& name, std::optional<Time>& target, const std::string& help) {
  command
      .add_option_function<std::string>(
          name,
          [name, &target](const std::string& text) {
            const auto now = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
            target = parse_time(text, now, name);
          },
          help)
      ->type_name("TIME");
}

void add_store(CLI::App& command, StoreArguments& store, std::string_view by_root) {
  command
      .add_option_function<std::string>(
          "--store",
          [&store](const std::string& directory) {
            if (directory.empty()) throw Error(ErrorCode::invalid_argument, "--store is empty; name a directory");
            store.directory = directory;
          },
          "the store's directory, or the address of one that hosts share: see remote")
      ->required()
      ->type_name("DIR");
  command
      .add_option("--live-dir", store.live_dir,
                  "where its shared memory is to be; where it is already, or where the store chooses, when not given")
      ->type_name("DIR");
  add_size(command, "--map-bytes", store.map_bytes,
           "address space for data.mdb, which cannot grow beyond it; less where 'ulimit -v' is low");
  command.add_option("--max-readers", store.max_readers, "threads, over all processes, that may read at once");
  command.add_flag("--allow-foreign-owner", store.allow_foreign_owner,
                   fmt::format("open a store of another user, who could make it crash this command; as root without "
                               "this, {}",
                               by_root));
  command.add_flag("--allow-network-filesystem", store.allow_network_filesystem,
                   "open a store on NFS, SMB and the like, where its promises cannot be kept");
}

void add_scope(CLI::App& command, StoreArguments& store) {
  command.add_option("--scope", store.scope, "whose ids these are, e.g. the service's name")->capture_default_str();
}

void add_ack(CLI::App& command, StoreArguments& store) {
  add_choice<Ack>(
      command, "--ack", store.ack, {{"disk", Ack::disk}, {"host", Ack::host}},
      "what the marks of one read survive before more is read: 'host' the death of every process, 'disk' the death of "
      "the machine; host by default");
}

void add_making(CLI::App& command, StoreArguments& store) {
  add_duration(command, "--retention", store.retention, "how long an id stays a duplicate; 24h for a new store");
  command.add_option("--buckets", store.buckets, "time slices of the retention, 2 to 14; 8 for a new store");
  command.add_option("--expected-ids", store.expected_ids,
                     "ids per retention, to size index and filter; they grow by themselves");
  add_duration(command, "--flush-interval", store.flush_interval, "about how long a mark waits for its fsync; 50ms");
  add_size(command, "--ring-bytes", store.ring_bytes, "shared memory for what is not on disk yet; 16M for a new store");
  command.add_option("--max-claims", store.max_claims,
                     "claims and locks that may be held at once; 32768 for a new store");
  add_size(command, "--max-bytes", store.max_bytes,
           "the most that data.mdb may take: the oldest ids are forgotten before their time; kept in the store, 0 for "
           "no cap");
}

void add_null(CLI::App& command, char& line_end, const std::string& help) {
  command.add_flag_callback(
      "-z,--null", [&line_end] { line_end = '\0'; }, help);
}

void add_ids(CLI::App& command, IdArguments& ids) {
  command.add_option("id", ids.ids, "the ids; none, or -, for one per line of standard input");
  add_null(command, ids.line_end, "ids from standard input, and answers, end with NUL instead of a newline");
}

std::string in_flags(const Error& error) {
  // The names in Options that are not plain words.
  constexpr std::array<std::string_view, 10> kOptions{"allow_foreign_owner",
                                                      "allow_network_filesystem",
                                                      "expected_ids",
                                                      "flush_interval",
                                                      "live_dir",
                                                      "map_bytes",
                                                      "max_bytes",
                                                      "max_claims",
                                                      "max_readers",
                                                      "ring_bytes"};
  const auto is_part_of_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '/' || c == '.';
  };
  std::string sentence = error.what();
  // Not within the path that most sentences begin with.
  const std::string path = error.path().string();
  const std::size_t begin = !path.empty() && sentence.starts_with(path) ? path.size() : 0;
  for (const std::string_view option : kOptions) {
    for (std::size_t at = begin; (at = sentence.find(option, at)) != std::string::npos;) {
      const std::size_t end = at + option.size();
      if ((at != 0 && is_part_of_word(sentence[at - 1])) ||
          (end != sentence.size() && is_part_of_word(sentence[end]))) {
        at = end;
        continue;
      }
      std::string flag = "--" + std::string(option);
      std::ranges::replace(flag, '_', '-');
      sentence.replace(at, option.size(), flag);
      at += flag.size();
    }
  }
  return sentence;
}

const char* list_of_ids(int argc, const char* const* argv) {
  constexpr std::array<std::string_view, 4> kTakeIds{"mark", "check", "forget", "release"};
  constexpr std::array<std::string_view, 5> kTakeNoValue{"--null", "--quiet", "--exit-code", "--allow-foreign-owner",
                                                         "--allow-network-filesystem"};
  if (argc < 2 || std::ranges::find(kTakeIds, std::string_view(argv[1])) == kTakeIds.end()) return nullptr;
  bool only_ids = false;  // After "--".
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    const std::string_view before(argv[i - 1]);
    only_ids = only_ids || before == "--";
    const bool is_value = !only_ids && before.starts_with("--") && before.find('=') == std::string_view::npos &&
                          std::ranges::find(kTakeNoValue, before) == kTakeNoValue.end();
    if (argument.size() >= 2 && argument.front() == '[' && argument.back() == ']' && !is_value) return argv[i];
  }
  return nullptr;
}

}  // namespace oncelog::tool
