#include "mark.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "output.h"
#include "stop_signal.h"

namespace oncelog::tool {

int run_mark(const MarkOptions& options) {
  Output output = standard_output(options.ids.line_end);
  const Store store = open_for_marks(options.store);
  const Scope scope = store.scope(options.store.scope);
  StopSignal stop;
  const bool with_attributes = !options.correlation.empty() || !options.result.empty();
  std::vector<Attributes> attributes;
  std::vector<Marked> verdicts;
  std::string answers;
  bool all_fresh = true;
  for_each_id_batch(options.ids, stop, [&](const IdBatch& batch) {
    verdicts.resize(batch.ids.size());
    if (with_attributes) {
      attributes.assign(batch.ids.size(), {.correlation = options.correlation, .result = options.result});
    }
    scope.mark(batch.ids, attributes, verdicts, options.store.ack);
    all_fresh = all_fresh && std::ranges::count(verdicts, Verdict::fresh, &Marked::verdict) == std::ssize(verdicts);
    if (options.quiet) return;
    answers.clear();
    for (std::size_t i = 0; i != verdicts.size(); ++i) {
      answers += to_string(verdicts[i].verdict);
      answers += ' ';
      answers += batch.shown[i];
      answers += options.ids.line_end;
    }
    output.write(answers);
  });
  stop.end_at_once();
  store.sync();  // Closing the store writes as well, but could not report an error.
  if (stop.received() != 0) return 128 + stop.received();
  return all_fresh || !options.exit_code ? 0 : 1;
}

}  // namespace oncelog::tool
