#include <native/handles.h>

#include <limits.h>

/// A function of the caller's that is run once. What it raises stays set in its thread, for the caller of once().
static int run_work(oncelog_once_run* run, void* user) {
  PyObject* const work = user;
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* const value = PyObject_CallNoArgs(work);
  oncelog_text result = {.size = 0};
  oncelog_error* error = NULL;
  int failed = value == NULL || text_of(value, "what the function returns", &result) != 0;
  if (!failed) {
    const oncelog_code code = oncelog_once_set_result(run, result.data, result.size, &error);
    if (code != ONCELOG_OK) {
      raised(code, error);
      failed = 1;
    }
  }
  Py_XDECREF(value);
  PyGILState_Release(state);
  return failed;
}

PyObject* scope_once(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text id;
  oncelog_attributes attributes;
  oncelog_once_options options = {.size = sizeof options};
  long long lease, max_runtime, patience;
  const oncelog_once_result* once = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("once", count, 7) != 0 || text_of(given[0], "an id", &id) != 0 ||
      integer_of(given[2], "lease", LLONG_MIN, LLONG_MAX, &lease) != 0 ||
      attributes_of(given[3], &attributes, &options.attributes) != 0 ||
      integer_of(given[4], "max_runtime", LLONG_MIN, LLONG_MAX, &max_runtime) != 0 ||
      integer_of(given[5], "patience", LLONG_MIN, LLONG_MAX, &patience) != 0) {
    return NULL;
  }
  const int keep_alive = PyObject_IsTrue(given[6]);
  if (keep_alive < 0) return NULL;
  // There zero is the default, which is no length that a caller here may give.
  options.lease_ms = lease == 0 ? -1 : lease;
  options.max_runtime_ms = max_runtime == 0 ? -1 : max_runtime;
  options.patience_ms = patience <= 0 ? -1 : patience;
  options.no_keep_alive = !keep_alive;
  PyObject* const work = given[1];
  WITHOUT_GIL(code = oncelog_once(self->scope, id.data, id.size, &options, run_work, work, &once, &error));
  if (code == ONCELOG_WORK_FAILED) {  // The function has raised.
    oncelog_error_free(error);
    return NULL;
  }
  if (code != ONCELOG_OK) return raised(code, error);
  PyObject* const answer =
      Py_BuildValue("NOy#K", verdict_of(once->verdict), once->ran ? Py_True : Py_False, once->result.data,
                    (Py_ssize_t)once->result.size, (unsigned long long)once->lsn);
  oncelog_free(once);
  return answer;
}
