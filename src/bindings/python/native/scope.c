#include <native/handles.h>
#include <native/ids.h>

#include <limits.h>

PyObject* new_scope(oncelog_scope* scope) {
  ScopeObject* const self = PyObject_New(ScopeObject, &ScopeType);
  if (self == NULL) {
    oncelog_scope_free(scope);
    return NULL;
  }
  self->scope = scope;
  return (PyObject*)self;
}

static void scope_free(ScopeObject* self) {
  oncelog_scope* const scope = self->scope;
  // The last handle on a store closes it, which waits for the disk.
  WITHOUT_GIL(oncelog_scope_free(scope));
  PyObject_Free(self);
}

static PyObject* scope_contains(ScopeObject* self, PyObject* given) {
  oncelog_text id;
  uint8_t known = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (text_of(given, "an id", &id) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_contains(self->scope, id.data, id.size, &known, &error));
  return bool_of(code, error, known);
}

static PyObject* scope_contains_correlated(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text id, correlation;
  uint8_t known = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("contains_correlated", count, 2) != 0 || text_of(given[0], "an id", &id) != 0 ||
      text_of(given[1], "correlation", &correlation) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_contains_correlated(self->scope, id.data, id.size, correlation.data, correlation.size,
                                                 &known, &error));
  return bool_of(code, error, known);
}

static PyObject* scope_find(ScopeObject* self, PyObject* given) {
  oncelog_text id;
  const oncelog_record* record = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (text_of(given, "an id", &id) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_find(self->scope, id.data, id.size, &record, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  if (record == NULL) Py_RETURN_NONE;
  PyObject* const found = record_of(record);
  oncelog_free(record);
  return found;
}

PyObject* marked_of(const oncelog_marked* marked) {
  PyObject* const verdict = verdict_of(marked->verdict);
  PyObject* const lsn = PyLong_FromUnsignedLongLong(marked->lsn);
  // As a named tuple's own constructor ends, at a third of its cost.
  PyObject* const tuple = verdict != NULL && lsn != NULL ? python_types.marked->tp_alloc(python_types.marked, 3) : NULL;
  if (tuple == NULL) {
    Py_XDECREF(verdict);
    Py_XDECREF(lsn);
    return NULL;
  }
  PyTuple_SET_ITEM(tuple, 0, verdict);
  PyTuple_SET_ITEM(tuple, 1, lsn);
  PyTuple_SET_ITEM(tuple, 2, Py_NewRef(marked->redelivered ? Py_True : Py_False));
  return tuple;
}

/// What failed: in a child of fork() nothing, for the caller to do it once more.
static PyObject* raised_unless_forked(oncelog_code code, oncelog_error* error, int* forked) {
  if (code != ONCELOG_FORKED) return raised(code, error);
  oncelog_error_free(error);
  *forked = 1;
  return NULL;
}

PyObject* mark_plainly(ScopeObject* scope, PyObject* id, int* forked) {
  oncelog_text text;
  oncelog_marked marked = {.size = sizeof marked};
  oncelog_error* error = NULL;
  oncelog_code code;
  if (text_of(id, "an id", &text) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_mark(scope->scope, text.data, text.size, NULL, ONCELOG_ACK_DEFAULT, &marked, &error));
  return code != ONCELOG_OK ? raised_unless_forked(code, error, forked) : marked_of(&marked);
}

PyObject* contains_plainly(ScopeObject* scope, PyObject* id, int* forked) {
  oncelog_text text;
  uint8_t known = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (text_of(id, "an id", &text) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_contains(scope->scope, text.data, text.size, &known, &error));
  return code != ONCELOG_OK ? raised_unless_forked(code, error, forked) : PyBool_FromLong(known);
}

static PyObject* scope_mark(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text id;
  oncelog_attributes attributes;
  const oncelog_attributes* used;
  long long ack;
  oncelog_marked marked = {.size = sizeof marked};
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("mark", count, 3) != 0 || text_of(given[0], "an id", &id) != 0 ||
      attributes_of(given[1], &attributes, &used) != 0 || integer_of(given[2], "ack", 0, UINT8_MAX, &ack) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_mark(self->scope, id.data, id.size, used, (oncelog_ack)ack, &marked, &error));
  return code != ONCELOG_OK ? raised(code, error) : marked_of(&marked);
}

static PyObject* scope_begin(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text id;
  oncelog_attributes attributes;
  const oncelog_attributes* used;
  long long lease, patience;
  oncelog_claim* claim = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("begin", count, 4) != 0 || text_of(given[0], "an id", &id) != 0 ||
      integer_of(given[1], "lease", LLONG_MIN, LLONG_MAX, &lease) != 0 ||
      attributes_of(given[2], &attributes, &used) != 0 ||
      integer_of(given[3], "patience", LLONG_MIN, LLONG_MAX, &patience) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_begin(self->scope, id.data, id.size, lease, used, patience, &claim, &error));
  return code != ONCELOG_OK ? raised(code, error) : new_claim(claim);
}

static PyObject* scope_wait_until_free(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text id;
  long long patience;
  uint8_t unclaimed = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("wait_until_free", count, 2) != 0 || text_of(given[0], "an id", &id) != 0 ||
      integer_of(given[1], "patience", LLONG_MIN, LLONG_MAX, &patience) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_wait_until_free(self->scope, id.data, id.size, patience, &unclaimed, &error));
  return bool_of(code, error, unclaimed);
}

static PyObject* scope_forget(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text id;
  long long ack;
  uint8_t known = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("forget", count, 2) != 0 || text_of(given[0], "an id", &id) != 0 ||
      integer_of(given[1], "ack", 0, UINT8_MAX, &ack) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_forget(self->scope, id.data, id.size, (oncelog_ack)ack, &known, &error));
  return bool_of(code, error, known);
}

static PyObject* scope_release(ScopeObject* self, PyObject* given) {
  oncelog_text id;
  uint8_t claimed = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (text_of(given, "an id", &id) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_release(self->scope, id.data, id.size, &claimed, &error));
  return bool_of(code, error, claimed);
}

// --- Batches: what they answer comes as bytearrays, which the package turns into lists or arrays.

static PyObject* scope_contains_batch(ScopeObject* self, PyObject* given) {
  PythonIds ids;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (ids_of(given, &ids) != 0) return NULL;
  PyObject* known = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)ids.ids.count);
  if (known != NULL) {
    uint8_t* const out = (uint8_t*)PyByteArray_AS_STRING(known);
    WITHOUT_GIL(code = oncelog_contains_batch(self->scope, &ids.ids, out, &error));
    if (code != ONCELOG_OK) {
      Py_CLEAR(known);
      raised(code, error);
    }
  }
  ids_free(&ids);
  return known;
}

static PyObject* records_of(const oncelog_record* const* records, size_t count) {
  PyObject* const list = PyList_New((Py_ssize_t)count);
  if (list == NULL) return NULL;
  for (size_t i = 0; i < count; ++i) {
    PyObject* const record = records[i] == NULL ? Py_NewRef(Py_None) : record_of(records[i]);
    if (record == NULL) {
      Py_DECREF(list);
      return NULL;
    }
    PyList_SET_ITEM(list, (Py_ssize_t)i, record);
  }
  return list;
}

static PyObject* scope_find_batch(ScopeObject* self, PyObject* given) {
  PythonIds ids;
  const oncelog_record* const* records = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (ids_of(given, &ids) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_find_batch(self->scope, &ids.ids, &records, &error));
  const size_t count = ids.ids.count;
  ids_free(&ids);
  if (code != ONCELOG_OK) return raised(code, error);
  PyObject* const list = records_of(records, count);
  oncelog_free(records);
  return list;
}

static PyObject* scope_mark_batch(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  PythonIds ids;
  long long ack;
  oncelog_error* error = NULL;
  oncelog_code code = ONCELOG_OUT_OF_MEMORY;
  if (takes("mark_batch", count, 2) != 0 || integer_of(given[1], "ack", 0, UINT8_MAX, &ack) != 0 ||
      ids_of(given[0], &ids) != 0) {
    return NULL;
  }
  const Py_ssize_t size = (Py_ssize_t)ids.ids.count;
  PyObject* const verdicts = PyByteArray_FromStringAndSize(NULL, size);
  PyObject* const lsns = PyByteArray_FromStringAndSize(NULL, size * (Py_ssize_t)sizeof(uint64_t));
  PyObject* const redelivered = PyByteArray_FromStringAndSize(NULL, size);
  if (verdicts != NULL && lsns != NULL && redelivered != NULL) {
    // Nobody else knows of them yet.
    uint8_t* const verdicts_out = (uint8_t*)PyByteArray_AS_STRING(verdicts);
    uint64_t* const lsns_out = (uint64_t*)(void*)PyByteArray_AS_STRING(lsns);
    uint8_t* const redelivered_out = (uint8_t*)PyByteArray_AS_STRING(redelivered);
    WITHOUT_GIL(code = oncelog_mark_batch(self->scope, &ids.ids, NULL, (oncelog_ack)ack, verdicts_out, lsns_out,
                                          redelivered_out, &error));
  }
  ids_free(&ids);
  if (code == ONCELOG_OK) return Py_BuildValue("NNN", verdicts, lsns, redelivered);
  Py_XDECREF(verdicts);
  Py_XDECREF(lsns);
  Py_XDECREF(redelivered);
  return raised(code, error);
}

static PyObject* scope_begin_batch(ScopeObject* self, PyObject* const* given, Py_ssize_t count) {
  PythonIds ids;
  long long lease;
  oncelog_claim_batch* batch = NULL;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("begin_batch", count, 2) != 0 || integer_of(given[1], "lease", LLONG_MIN, LLONG_MAX, &lease) != 0 ||
      ids_of(given[0], &ids) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_begin_batch(self->scope, &ids.ids, lease, &batch, &error));
  ids_free(&ids);
  return code != ONCELOG_OK ? raised(code, error) : new_batch(batch);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef scope_methods[] = {
    {"contains", (PyCFunction)(void (*)(void))scope_contains, METH_O, NULL},
    {"contains_correlated", FAST(scope_contains_correlated), NULL},
    {"find", (PyCFunction)(void (*)(void))scope_find, METH_O, NULL},
    {"mark", FAST(scope_mark), NULL},
    {"begin", FAST(scope_begin), NULL},
    {"once", FAST(scope_once), NULL},
    {"wait_until_free", FAST(scope_wait_until_free), NULL},
    {"forget", FAST(scope_forget), NULL},
    {"release", (PyCFunction)(void (*)(void))scope_release, METH_O, NULL},
    {"contains_batch", (PyCFunction)(void (*)(void))scope_contains_batch, METH_O, NULL},
    {"find_batch", (PyCFunction)(void (*)(void))scope_find_batch, METH_O, NULL},
    {"mark_batch", FAST(scope_mark_batch), NULL},
    {"begin_batch", FAST(scope_begin_batch), NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject ScopeType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Scope",
    .tp_basicsize = sizeof(ScopeObject),
    .tp_dealloc = (destructor)(void (*)(void))scope_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = scope_methods,
};
