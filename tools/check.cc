#include "check.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>

#include "output.h"
#include "stop_signal.h"

namespace oncelog::tool {

int run_check(const CheckOptions& options) {
  Output output = standard_output(options.ids.line_end);
  const Store store = open_for_reading(options.store);
  const Scope scope = store.scope(options.store.scope);
  const StopSignal stop;
  std::string answers;
  bool all_known = true;
  for_each_id_batch(options.ids, stop, [&](const IdBatch& batch) {
    const auto flags = std::make_unique<bool[]>(batch.ids.size());
    const std::span<bool> known(flags.get(), batch.ids.size());
    scope.contains(batch.ids, known);
    all_known = all_known && std::ranges::find(known, false) == known.end();
    if (options.quiet) return;
    answers.clear();
    for (std::size_t i = 0; i != known.size(); ++i) {
      answers += known[i] ? "known " : "unknown ";
      answers += batch.shown[i];
      answers += options.ids.line_end;
    }
    output.write(answers);
  });
  if (stop.received() != 0) return 128 + stop.received();
  return all_known ? 0 : 1;
}

}  // namespace oncelog::tool
