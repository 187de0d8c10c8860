#include "id_batches.h"

#include <unistd.h>

#include "id_extractor.h"
#include "line_reader.h"

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

}  // namespace oncelog::tool
