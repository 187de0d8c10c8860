#include <oncelog/once.h>

#include <chrono>
#include <string>
#include <utility>

#include "base/error.h"
#include "bindings/c/handles.h"

using namespace oncelog::internal::c;
using std::chrono::milliseconds;

struct oncelog_once_run {
  std::string result;
};

namespace {

oncelog::OnceOptions once_options(const oncelog_once_options* given) {
  oncelog::OnceOptions options;
  if (given == nullptr) return options;
  const oncelog_once_options known = known_part(given, "oncelog_once_options");
  check_reserved(known.reserved, sizeof known.reserved, "oncelog_once_options");
  if (known.no_keep_alive > 1) oncelog::internal::refuse("oncelog_once_options.no_keep_alive is neither 0 nor 1");
  if (known.patience_ms < -1) oncelog::internal::refuse("oncelog_once_options.patience_ms is less than -1");
  if (known.lease_ms != 0) options.lease = milliseconds{known.lease_ms};
  if (known.max_runtime_ms != 0) options.max_runtime = milliseconds{known.max_runtime_ms};
  if (known.patience_ms != 0) options.patience = milliseconds{known.patience_ms < 0 ? 0 : known.patience_ms};
  options.keep_alive = known.no_keep_alive == 0;
  options.attributes = attributes_of(known.attributes);
  return options;
}

}  // namespace

oncelog_code oncelog_once_set_result(oncelog_once_run* run, const void* result, size_t result_bytes,
                                     oncelog_error** error) {
  return call(error, [&] {
    need(run, "run");
    run->result = text(result, result_bytes, "result");
  });
}

oncelog_code oncelog_once(const oncelog_scope* scope, const void* id, size_t id_bytes,
                          const oncelog_once_options* options, oncelog_once_work work, void* user,
                          const oncelog_once_result** result, oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(reinterpret_cast<const void*>(work), "work");
    need(result, "result");
    const auto run_work = [&] {
      oncelog_once_run run;
      if (const int returned = work(&run, user); returned != 0) throw FunctionFailed(ONCELOG_WORK_FAILED, returned);
      return std::move(run.result);
    };
    *result = block_of(scope->scope.once(text(id, id_bytes, "id"), once_options(options), run_work));
  });
}
