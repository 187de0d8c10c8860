#include "mark.h"

#include "id_batches.h"
#include "output.h"
#include "stop_signal.h"

namespace oncelog::tool {

int run_mark(const MarkOptions& options) {
  const StopSignal stop;
  const Store store = open_for_marks(options.store);
  const Scope scope = store.scope(options.store.scope);
  Output output = standard_output();
  const bool with_attributes = !options.correlation.empty() || !options.result.empty();
  std::vector<Attributes> attributes;
  std::vector<Marked> verdicts;
  std::string answers;
  for_each_id_batch(options.ids, stop, [&](const IdBatch& batch) {
    verdicts.resize(batch.ids.size());
    if (with_attributes) {
      attributes.assign(batch.ids.size(), {.correlation = options.correlation, .result = options.result});
    }
    scope.mark(batch.ids, attributes, verdicts, options.store.ack);
    if (options.quiet) return;
    answers.clear();
    for (std::size_t i = 0; i != verdicts.size(); ++i) {
      answers += to_string(verdicts[i].verdict);
      answers += ' ';
      answers += batch.shown[i];
      answers += '\n';
    }
    output.write(answers);
  });
  store.sync();  // Closing the store writes as well, but could not tell of an error.
  return stop.received() == 0 ? 0 : 128 + stop.received();
}

}  // namespace oncelog::tool
