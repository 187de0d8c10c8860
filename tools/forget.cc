#include "forget.h"

namespace oncelog::tool {

int run_forget(const IdsOptions& options) {
  return act_on_ids(
      options, {"forgotten", "unknown"},
      [](const Scope& scope, std::string_view id) { return scope.forget(id, Ack::host); },
      [](const Store& store) { store.sync(); });
}

}  // namespace oncelog::tool
