#include "arguments.h"

#include <chrono>

#include "timestamp.h"

namespace oncelog::tool {

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

void add_store(CLI::App& command, StoreArguments& store) {
  command
      .add_option_function<std::string>(
          "--store",
          [&store](const std::string& directory) {
            if (directory.empty()) throw Error(ErrorCode::invalid_argument, "--store is empty; name a directory");
            store.directory = directory;
          },
          "the store's directory")
      ->required()
      ->type_name("DIR");
  command.add_option("--live-dir", store.live_dir, "where its shared memory is, when not in the store")
      ->type_name("DIR");
}

void add_scope(CLI::App& command, StoreArguments& store) {
  command.add_option("--scope", store.scope, "whose ids these are, e.g. the service's name")->capture_default_str();
}

void add_marking(CLI::App& command, StoreArguments& store) {
  add_choice<Ack>(
      command, "--ack", store.ack, {{"disk", Ack::disk}, {"host", Ack::host}},
      "what the marks of one read survive before more is read: 'host' the death of every process, 'disk' the death of "
      "the machine; host by default");
  add_duration(command, "--retention", store.retention, "how long an id stays a duplicate; 24h for a new store");
  command.add_option("--buckets", store.buckets, "time slices of the retention, 2 to 14; 8 for a new store");
  command.add_option("--expected-ids", store.expected_ids,
                     "ids per retention, to size a new store; it grows by itself");
  add_duration(command, "--flush-interval", store.flush_interval, "the longest that a mark waits for its fsync; 50ms");
}

void add_ids(CLI::App& command, std::vector<std::string>& ids) {
  command.add_option("id", ids, "the ids; none, or -, for one per line of standard input");
}

}  // namespace oncelog::tool
