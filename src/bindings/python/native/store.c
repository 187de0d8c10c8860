#include <native/handles.h>

#include <limits.h>

// --- Opening.

/// A path or an address as a C string, or null with an exception. The caller frees `bytes`.
static const char* path_of(PyObject* given, PyObject** bytes) {
  if (!PyUnicode_FSConverter(given, bytes)) return NULL;  // Refuses a NUL within.
  return PyBytes_AS_STRING(*bytes);
}

/// Fills in the options that are given by name, all of them optional.
static int options_of(PyObject* arguments, PyObject* names, PyObject** address, PyObject** live, PyObject** near,
                      oncelog_options* options) {
  static char* keywords[] = {"address",
                             "retention_ms",
                             "buckets",
                             "ack",
                             "never_create",
                             "read_only",
                             "allow_foreign_owner",
                             "allow_network_filesystem",
                             "max_bytes",
                             "live_dir",
                             "expected_ids",
                             "flush_interval_ms",
                             "ring_bytes",
                             "map_bytes",
                             "max_claims",
                             "max_readers",
                             "timeout_ms",
                             "connections",
                             "near_directory",
                             "near_staleness_ms",
                             NULL};
  long long retention = 0, flush_interval = 0, timeout = 0, near_staleness = 0;
  unsigned long long max_bytes = 0, expected_ids = 0, ring_bytes = 0, map_bytes = 0;
  int never_create = 0, read_only = 0, foreign_owner = 0, network = 0;
  unsigned int buckets = 0, max_claims = 0, max_readers = 0, connections = 0;
  unsigned char ack = 0;
  PyObject *live_given = Py_None, *near_given = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, names, "O|$LIbppppKOKLKKIILIOL", keywords, address, &retention, &buckets,
                                   &ack, &never_create, &read_only, &foreign_owner, &network, &max_bytes, &live_given,
                                   &expected_ids, &flush_interval, &ring_bytes, &map_bytes, &max_claims, &max_readers,
                                   &timeout, &connections, &near_given, &near_staleness)) {
    return -1;
  }
  *options = (oncelog_options){
      .size = sizeof *options,
      .retention_ms = retention,
      .buckets = buckets,
      .ack = ack,
      .never_create = (uint8_t)never_create,
      .read_only = (uint8_t)read_only,
      .allow_foreign_owner = (uint8_t)foreign_owner,
      .allow_network_filesystem = (uint8_t)network,
      .max_bytes = max_bytes,
      .expected_ids = expected_ids,
      .flush_interval_ms = flush_interval,
      .ring_bytes = ring_bytes,
      .map_bytes = map_bytes,
      .max_claims = max_claims,
      .max_readers = max_readers,
      .timeout_ms = timeout,
      .connections = connections,
      .near_staleness_ms = near_staleness,
  };
  if (live_given != Py_None && (options->live_dir = path_of(live_given, live)) == NULL) return -1;
  if (near_given != Py_None && (options->near_directory = path_of(near_given, near)) == NULL) return -1;
  return 0;
}

static PyObject* new_store(oncelog_store* store) {
  StoreObject* const self = PyObject_New(StoreObject, &StoreType);
  if (self == NULL) {
    oncelog_store_free(store);
    return NULL;
  }
  self->store = store;
  return (PyObject*)self;
}

PyObject* open_store(PyObject* module, PyObject* arguments, PyObject* names) {
  (void)module;
  oncelog_options options;
  PyObject *address = NULL, *bytes = NULL, *live = NULL, *near = NULL, *opened = NULL;
  const char* path = NULL;
  if (options_of(arguments, names, &address, &live, &near, &options) == 0) path = path_of(address, &bytes);
  if (path != NULL) {
    oncelog_store* store = NULL;
    oncelog_error* error = NULL;
    oncelog_code code;
    WITHOUT_GIL(code = oncelog_open(path, &options, &store, &error));
    opened = code != ONCELOG_OK ? raised(code, error) : new_store(store);
  }
  Py_XDECREF(bytes);
  Py_XDECREF(live);
  Py_XDECREF(near);
  return opened;
}

PyObject* restore_store(PyObject* module, PyObject* arguments) {
  (void)module;
  PyObject *backup = NULL, *directory = NULL;
  int foreign_owner = 0;
  uint64_t below = 0, bytes = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (!PyArg_ParseTuple(arguments, "O&O&p", PyUnicode_FSConverter, &backup, PyUnicode_FSConverter, &directory,
                        &foreign_owner)) {
    return NULL;
  }
  const char* const from = PyBytes_AS_STRING(backup);
  const char* const to = PyBytes_AS_STRING(directory);
  WITHOUT_GIL(code = oncelog_restore(from, to, foreign_owner, &below, &bytes, &error));
  Py_DECREF(backup);
  Py_DECREF(directory);
  if (code != ONCELOG_OK) return raised(code, error);
  return Py_BuildValue("KK", (unsigned long long)below, (unsigned long long)bytes);
}

static void store_free(StoreObject* self) {
  oncelog_store* const store = self->store;
  // The last handle on a store closes it, which waits for the disk.
  WITHOUT_GIL(oncelog_store_free(store));
  PyObject_Free(self);
}

// --- What is on disk.

static PyObject* store_durable(StoreObject* self, PyObject* none) {
  (void)none;
  uint64_t lsn = 0;
  oncelog_error* error = NULL;
  // Some nanoseconds, on a shared store as well: nothing to release the GIL for.
  const oncelog_code code = oncelog_durable(self->store, &lsn, &error);
  return code != ONCELOG_OK ? raised(code, error) : PyLong_FromUnsignedLongLong(lsn);
}

static PyObject* store_wait(StoreObject* self, PyObject* given) {
  uint64_t lsn;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (lsn_of(given, &lsn) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_wait(self->store, lsn, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  Py_RETURN_NONE;
}

static PyObject* store_sync(StoreObject* self, PyObject* none) {
  (void)none;
  oncelog_error* error = NULL;
  oncelog_code code;
  WITHOUT_GIL(code = oncelog_sync(self->store, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  Py_RETURN_NONE;
}

static PyObject* store_known_since(StoreObject* self, PyObject* none) {
  (void)none;
  int64_t time = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  WITHOUT_GIL(code = oncelog_known_since(self->store, &time, &error));
  return code != ONCELOG_OK ? raised(code, error) : PyLong_FromLongLong(time);
}

// --- Scopes and locks.

static PyObject* store_scope(StoreObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text name;
  long long orphans;
  oncelog_scope* scope = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("scope", count, 2) != 0 || text_of(given[0], "a scope's name", &name) != 0 ||
      integer_of(given[1], "orphans", 0, UINT8_MAX, &orphans) != 0) {
    return NULL;
  }
  const oncelog_scope_options options = {.size = sizeof options, .orphans = (oncelog_orphan_policy)orphans};
  WITHOUT_GIL(code = oncelog_store_scope(self->store, name.data, name.size, &options, &scope, &error));
  return code != ONCELOG_OK ? raised(code, error) : new_scope(scope);
}

static PyObject* store_scopes(StoreObject* self, PyObject* none) {
  (void)none;
  const oncelog_text* names = NULL;
  size_t count = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  WITHOUT_GIL(code = oncelog_store_scopes(self->store, &names, &count, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  PyObject* list = PyList_New((Py_ssize_t)count);
  for (size_t i = 0; list != NULL && i < count; ++i) {
    PyObject* const name = PyUnicode_DecodeUTF8(names[i].data, (Py_ssize_t)names[i].size, "surrogateescape");
    if (name != NULL) {
      PyList_SET_ITEM(list, (Py_ssize_t)i, name);
    } else {
      Py_CLEAR(list);
    }
  }
  oncelog_free(names);
  return list;
}

static PyObject* store_lock(StoreObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text name;
  long long lease, patience;
  oncelog_lock* lock = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("lock", count, 3) != 0 || text_of(given[0], "a lock's name", &name) != 0 ||
      integer_of(given[1], "lease", LLONG_MIN, LLONG_MAX, &lease) != 0 ||
      integer_of(given[2], "patience", LLONG_MIN, LLONG_MAX, &patience) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_lock_acquire(self->store, name.data, name.size, lease, patience, &lock, &error));
  return code != ONCELOG_OK ? raised(code, error) : new_lock(lock);
}

// --- What operators ask for. Visitors run without the GIL, and take it for each item.

typedef struct {
  PyObject* list;   ///< Where items go, or null.
  PyObject* visit;  ///< What is called with each, or null; false as an answer ends the visits.
  int failed;       ///< An exception is set in this thread.
} Visit;

/// Takes the reference to `item`, which may be null after a failure. The GIL is held. Returns nonzero to end.
static int visited(Visit* visit, PyObject* item) {
  int go_on = 0;
  if (item != NULL && visit->list != NULL) go_on = PyList_Append(visit->list, item) == 0;
  if (item != NULL && visit->visit != NULL) {
    PyObject* const answer = PyObject_CallFunctionObjArgs(visit->visit, item, NULL);
    go_on = answer != NULL && answer != Py_False;
    Py_XDECREF(answer);
  }
  Py_XDECREF(item);
  if (PyErr_Occurred() || PyErr_CheckSignals() != 0) visit->failed = 1;
  return visit->failed || !go_on;
}

static int visit_record(const oncelog_record* record, void* user) {
  const PyGILState_STATE state = PyGILState_Ensure();
  const int end = visited(user, record_of(record));
  PyGILState_Release(state);
  return end;
}

static int visit_claim(const oncelog_claim_info* claim, void* user) {
  const PyGILState_STATE state = PyGILState_Ensure();
  const int end = visited(user, claim_info_of(claim));
  PyGILState_Release(state);
  return end;
}

static int visit_problem(const oncelog_problem* problem, void* user) {
  const PyGILState_STATE state = PyGILState_Ensure();
  const int end = visited(user, problem_of(problem));
  PyGILState_Release(state);
  return end;
}

/// What a visiting method returns: its list, or None. Takes the list.
static PyObject* visits_over(Visit* visit, oncelog_code code, oncelog_error* error) {
  if (!visit->failed && code == ONCELOG_OK) return visit->list != NULL ? visit->list : Py_NewRef(Py_None);
  Py_XDECREF(visit->list);
  if (!visit->failed) return raised(code, error);
  oncelog_error_free(error);
  return NULL;
}

static PyObject* store_claims(StoreObject* self, PyObject* none) {
  (void)none;
  Visit visit = {.list = PyList_New(0)};
  oncelog_error* error = NULL;
  oncelog_code code;
  if (visit.list == NULL) return NULL;
  WITHOUT_GIL(code = oncelog_claims(self->store, visit_claim, &visit, &error));
  return visits_over(&visit, code, error);
}

static PyObject* store_scan(StoreObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_scan_range range = {.size = sizeof range};
  long long since, until;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("scan", count, 4) != 0 || text_of(given[1], "a scope's name", &range.scope) != 0 ||
      integer_of(given[2], "since", LLONG_MIN, LLONG_MAX, &since) != 0 ||
      integer_of(given[3], "until", LLONG_MIN, LLONG_MAX, &until) != 0) {
    return NULL;
  }
  range.since_us = since;
  range.until_us = until;
  Visit visit = {.visit = given[0]};
  WITHOUT_GIL(code = oncelog_scan(self->store, &range, visit_record, &visit, &error));
  return visits_over(&visit, code, error);
}

static PyObject* store_correlated(StoreObject* self, PyObject* given) {
  oncelog_text correlation;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (text_of(given, "correlation", &correlation) != 0) return NULL;
  Visit visit = {.list = PyList_New(0)};
  if (visit.list == NULL) return NULL;
  WITHOUT_GIL(code = oncelog_correlated(self->store, correlation.data, correlation.size, visit_record, &visit, &error));
  return visits_over(&visit, code, error);
}

static PyObject* store_verify(StoreObject* self, PyObject* given) {
  const int deep = PyObject_IsTrue(given);
  uint64_t problems = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (deep < 0) return NULL;
  Visit visit = {.list = PyList_New(0)};
  if (visit.list == NULL) return NULL;
  WITHOUT_GIL(code = oncelog_verify(self->store, deep, visit_problem, &visit, &problems, &error));
  PyObject* const list = visits_over(&visit, code, error);
  return list == NULL ? NULL : Py_BuildValue("KN", (unsigned long long)problems, list);
}

static PyObject* store_expire(StoreObject* self, PyObject* none) {
  (void)none;
  uint64_t buckets = 0, blocks = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  WITHOUT_GIL(code = oncelog_expire(self->store, &buckets, &blocks, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  return Py_BuildValue("KK", (unsigned long long)buckets, (unsigned long long)blocks);
}

static PyObject* store_metrics(StoreObject* self, PyObject* given) {
  const int host_only = PyObject_IsTrue(given);
  const char* text = NULL;
  size_t size = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (host_only < 0) return NULL;
  WITHOUT_GIL(
      code = oncelog_metrics(self->store, host_only ? ONCELOG_HOST : ONCELOG_HOST_AND_PROCESS, &text, &size, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  PyObject* const metrics = PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "surrogateescape");
  oncelog_free(text);
  return metrics;
}

static PyObject* store_backup(StoreObject* self, PyObject* given) {
  PyObject* directory = NULL;
  uint64_t below = 0, bytes = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  const char* const path = path_of(given, &directory);
  if (path == NULL) return NULL;
  WITHOUT_GIL(code = oncelog_backup(self->store, path, &below, &bytes, &error));
  Py_DECREF(directory);
  if (code != ONCELOG_OK) return raised(code, error);
  return Py_BuildValue("KK", (unsigned long long)below, (unsigned long long)bytes);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL
#define ONE(function) (PyCFunction)(void (*)(void))(function), METH_O
#define NONE(function) (PyCFunction)(void (*)(void))(function), METH_NOARGS

static PyMethodDef store_methods[] = {
    {"durable", NONE(store_durable), NULL},
    {"wait", ONE(store_wait), NULL},
    {"sync", NONE(store_sync), NULL},
    {"known_since", NONE(store_known_since), NULL},
    {"scope", FAST(store_scope), NULL},
    {"scopes", NONE(store_scopes), NULL},
    {"lock", FAST(store_lock), NULL},
    {"claims", NONE(store_claims), NULL},
    {"scan", FAST(store_scan), NULL},
    {"correlated", ONE(store_correlated), NULL},
    {"verify", ONE(store_verify), NULL},
    {"expire", NONE(store_expire), NULL},
    {"metrics", ONE(store_metrics), NULL},
    {"backup", ONE(store_backup), NULL},
    {"transact", ONE(store_transact), NULL},
    {"get", FAST(store_get), NULL},
    {"scan_table", FAST(store_scan_table), NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject StoreType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Store",
    .tp_basicsize = sizeof(StoreObject),
    .tp_dealloc = (destructor)(void (*)(void))store_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = store_methods,
};
