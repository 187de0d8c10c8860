#include "release.h"

namespace oncelog::tool {

int run_release(const IdsOptions& options) {
  return act_on_ids(
      options, {"released", "unclaimed"}, [](const Scope& scope, std::string_view id) { return scope.release(id); },
      [](const Store&) {});  // Claims are never on disk.
}

}  // namespace oncelog::tool
