#include "release.h"

#include "id_batches.h"
#include "output.h"
#include "stop_signal.h"

namespace oncelog::tool {

int run_release(const ReleaseOptions& options) {
  const StopSignal stop;
  const Store store = open_existing(options.store);
  const Scope scope = store.scope(options.store.scope);
  Output output = standard_output();
  bool all = true;
  for_each_id_batch(options.ids, stop, [&](const IdBatch& batch) {
    std::string answers;
    for (std::size_t i = 0; i != batch.ids.size(); ++i) {
      const bool released = scope.release(batch.ids[i]);
      all = all && released;
      answers += released ? "released " : "unclaimed ";
      answers += batch.shown[i];
      answers += '\n';
    }
    output.write(answers);
  });
  if (stop.received() != 0) return 128 + stop.received();
  return all ? 0 : 1;
}

}  // namespace oncelog::tool
