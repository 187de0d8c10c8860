#include "id_batches.h"

#include <unistd.h>

#include <cstdint>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "id_extractor.h"
#include "line_reader.h"
#include "output.h"

namespace oncelog::tool {

namespace {

/// The arguments, all of them or none.
void take_arguments(const std::vector<std::string>& given, IdExtractor& extractor,
                    const std::function<void(const IdBatch&)>& consumer) {
  std::vector<std::string_view> ids;
  const std::vector<std::string_view> shown(given.begin(), given.end());
  for (const std::string_view id : shown) {
    if (id.empty()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("id {} is empty, and so is none; leave it out. Nothing was done", ids.size() + 1));
    }
    ids.push_back(extractor.of_line(id));
  }
  consumer({ids, shown});
}

}  // namespace

void for_each_id_batch(const IdArguments& arguments, const StopSignal& stop,
                       const std::function<void(const IdBatch&)>& consumer) {
  const std::vector<std::string>& given = arguments.ids;
  IdExtractor extractor(WholeLine{}, arguments.line_end);
  if (!given.empty() && !(given.size() == 1 && given.front() == "-")) {
    take_arguments(given, extractor, consumer);
    return;
  }

  LineReader reader(STDIN_FILENO, "standard input", stop, {.end = arguments.line_end});
  std::vector<std::string_view> lines;
  std::vector<std::string_view> ids;
  std::uint64_t done = 0;
  while (reader.next(lines)) {
    ids.clear();
    extractor.forget();
    for (std::string_view& line : lines) {
      line.remove_suffix(1);
      if (line.empty()) break;
      ids.push_back(extractor.of_line(line));
    }
    const bool has_empty = ids.size() != lines.size();
    lines.resize(ids.size());
    done += ids.size();
    if (!ids.empty()) consumer({ids, lines});
    if (has_empty) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("line {} of standard input is empty, and so has no id; remove it. The lines before it are "
                      "done",
                      done + 1));
    }
  }
}

int act_on_ids(const IdsOptions& options, const IdWords& words,
               const std::function<bool(const Scope&, std::string_view)>& act,
               const std::function<void(const Store&)>& settle) {
  Output output = standard_output(options.ids.line_end);
  const Store store = open_existing(options.store);
  const Scope scope = store.scope(options.store.scope);
  StopSignal stop;
  bool all = true;
  for_each_id_batch(options.ids, stop, [&](const IdBatch& batch) {
    std::string answers;
    for (std::size_t i = 0; i != batch.ids.size(); ++i) {
      const bool done = act(scope, batch.ids[i]);
      all = all && done;
      answers += done ? words.done : words.otherwise;
      answers += ' ';
      answers += batch.shown[i];
      answers += options.ids.line_end;
    }
    stop.end_at_once();
    settle(store);
    stop.end_in_order();
    output.write(answers);
  });
  if (stop.received() != 0) return 128 + stop.received();
  return all ? 0 : 1;
}

}  // namespace oncelog::tool
