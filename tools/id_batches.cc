#include "id_batches.h"

#include <unistd.h>

#include "id_extractor.h"
#include "line_reader.h"
#include "output.h"

namespace oncelog::tool {

void for_each_id_batch(std::span<const std::string> arguments, const StopSignal& stop,
                       const std::function<void(const IdBatch&)>& consumer) {
  const bool from_input = arguments.empty() || (arguments.size() == 1 && arguments.front() == "-");
  if (!from_input) {
    const std::vector<std::string_view> ids(arguments.begin(), arguments.end());
    consumer({ids, ids});
    return;
  }

  LineReader reader(STDIN_FILENO, "standard input", stop);
  IdExtractor extractor(WholeLine{});
  std::vector<std::string_view> lines;
  std::vector<std::string_view> ids;
  while (reader.next(lines)) {
    ids.clear();
    extractor.forget();
    for (std::string_view& line : lines) {
      ids.push_back(*extractor.extract(line));
      line.remove_suffix(1);
    }
    consumer({ids, lines});
  }
}

int act_on_ids(const IdsOptions& options, const IdWords& words,
               const std::function<bool(const Scope&, std::string_view)>& act,
               const std::function<void(const Store&)>& settle) {
  const StopSignal stop;
  const Store store = open_existing(options.store);
  const Scope scope = store.scope(options.store.scope);
  Output output = standard_output();
  bool all = true;
  for_each_id_batch(options.ids, stop, [&](const IdBatch& batch) {
    std::string answers;
    for (std::size_t i = 0; i != batch.ids.size(); ++i) {
      const bool done = act(scope, batch.ids[i]);
      all = all && done;
      answers += done ? words.done : words.otherwise;
      answers += ' ';
      answers += batch.shown[i];
      answers += '\n';
    }
    settle(store);
    output.write(answers);
  });
  if (stop.received() != 0) return 128 + stop.received();
  return all ? 0 : 1;
}

}  // namespace oncelog::tool
