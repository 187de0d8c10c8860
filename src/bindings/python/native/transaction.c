#include <native/handles.h>

#include <limits.h>

// --- The function of a transaction.

typedef struct {
  PyObject* work;
  PyObject* value;  ///< What it has returned; null where it has raised.
} Work;

static int run_work(oncelog_transaction* transaction, void* user) {
  Work* const todo = user;
  const PyGILState_STATE state = PyGILState_Ensure();
  TransactionObject* const self = PyObject_New(TransactionObject, &TransactionType);
  if (self != NULL) {
    self->transaction = transaction;
    self->thread = PyThread_get_thread_ident();
    self->busy = 0;
    todo->value = PyObject_CallFunctionObjArgs(todo->work, (PyObject*)self, NULL);
    self->transaction = NULL;
    Py_DECREF(self);
  }
  PyGILState_Release(state);
  return todo->value == NULL;
}

PyObject* store_transact(StoreObject* self, PyObject* work) {
  Work todo = {.work = work};
  oncelog_error* error = NULL;
  oncelog_code code;
  WITHOUT_GIL(code = oncelog_transact(self->store, run_work, &todo, &error));
  if (code == ONCELOG_OK) return todo.value;
  Py_XDECREF(todo.value);
  if (!PyErr_Occurred()) return raised(code, error);
  oncelog_error_free(error);  // The function has raised, perhaps what a call of the transaction had failed with.
  return NULL;
}

/// The transaction, or null with an exception.
static oncelog_transaction* usable(const TransactionObject* self) {
  if (self->transaction != NULL && self->thread == PyThread_get_thread_ident() && !self->busy) return self->transaction;
  PyErr_SetString(PyExc_RuntimeError, self->transaction == NULL ? "the transaction has ended"
                                      : self->busy              ? "the transaction is visiting its entries"
                                                   : "a transaction is for the thread that its function runs on");
  return NULL;
}

static PyObject* transaction_mark(TransactionObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_transaction* const transaction = usable(self);
  oncelog_text id;
  oncelog_attributes attributes;
  const oncelog_attributes* used;
  oncelog_marked marked = {.size = sizeof marked};
  oncelog_error* error = NULL;
  oncelog_code code;
  if (transaction == NULL || takes("mark", count, 3) != 0 || text_of(given[1], "an id", &id) != 0 ||
      attributes_of(given[2], &attributes, &used) != 0) {
    return NULL;
  }
  if (!Py_IS_TYPE(given[0], &ScopeType)) return PyErr_Format(PyExc_TypeError, "a scope is needed");
  const oncelog_scope* const scope = ((ScopeObject*)given[0])->scope;
  WITHOUT_GIL(code = oncelog_transaction_mark(transaction, scope, id.data, id.size, used, &marked, &error));
  return code != ONCELOG_OK ? raised(code, error) : marked_of(&marked);
}

static PyObject* transaction_complete(TransactionObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_transaction* const transaction = usable(self);
  oncelog_attributes attributes;
  const oncelog_attributes* used;
  uint8_t owned = 0;
  if (transaction == NULL || takes("complete", count, 2) != 0 || attributes_of(given[1], &attributes, &used) != 0 ||
      complete_within(transaction, given[0], used, &owned) != 0) {
    return NULL;
  }
  return PyBool_FromLong(owned);
}

static int key_of(PyObject* const* given, oncelog_text* table, oncelog_text* key) {
  return text_of(given[0], "a table's name", table) != 0 || text_of(given[1], "a key", key) != 0 ? -1 : 0;
}

static PyObject* transaction_put(TransactionObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_transaction* const transaction = usable(self);
  oncelog_text table, key, value;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (transaction == NULL || takes("put", count, 3) != 0 || key_of(given, &table, &key) != 0 ||
      text_of(given[2], "a value", &value) != 0) {
    return NULL;
  }
  WITHOUT_GIL(code = oncelog_transaction_put(transaction, table.data, table.size, key.data, key.size, value.data,
                                             value.size, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  Py_RETURN_NONE;
}

static PyObject* transaction_get(TransactionObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_transaction* const transaction = usable(self);
  oncelog_text table, key;
  const void* value = NULL;
  size_t size = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (transaction == NULL || takes("get", count, 2) != 0 || key_of(given, &table, &key) != 0) return NULL;
  WITHOUT_GIL(
      code = oncelog_transaction_get(transaction, table.data, table.size, key.data, key.size, &value, &size, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  return value == NULL ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize(value, (Py_ssize_t)size);
}

static PyObject* transaction_erase(TransactionObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_transaction* const transaction = usable(self);
  oncelog_text table, key;
  uint8_t was_there = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (transaction == NULL || takes("erase", count, 2) != 0 || key_of(given, &table, &key) != 0) return NULL;
  WITHOUT_GIL(
      code = oncelog_transaction_erase(transaction, table.data, table.size, key.data, key.size, &was_there, &error));
  return bool_of(code, error, was_there);
}

// --- Visits of a table's entries, which run without the GIL and take it for each.

typedef struct {
  PyObject* visit;  ///< False as its answer ends the visits.
  int failed;       ///< An exception is set in this thread.
} Visit;

static int visit_entry(const void* key, size_t key_bytes, const void* value, size_t value_bytes, void* user) {
  Visit* const visit = user;
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* const answer = PyObject_CallFunction(visit->visit, "y#y#", key, (Py_ssize_t)key_bytes,
                                                 value == NULL ? "" : value, (Py_ssize_t)value_bytes);
  const int end = answer == NULL || answer == Py_False;
  Py_XDECREF(answer);
  if (PyErr_Occurred() || PyErr_CheckSignals() != 0) visit->failed = 1;
  PyGILState_Release(state);
  return visit->failed || end;
}

static PyObject* visits_over(const Visit* visit, oncelog_code code, oncelog_error* error) {
  if (visit->failed) {
    oncelog_error_free(error);
    return NULL;
  }
  if (code != ONCELOG_OK) return raised(code, error);
  Py_RETURN_NONE;
}

static PyObject* transaction_scan(TransactionObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_transaction* const transaction = usable(self);
  oncelog_text table, from;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (transaction == NULL || takes("scan", count, 3) != 0 || key_of(given, &table, &from) != 0) return NULL;
  Visit visit = {.visit = given[2]};
  self->busy = 1;
  WITHOUT_GIL(code = oncelog_transaction_scan(transaction, table.data, table.size, from.data, from.size, visit_entry,
                                              &visit, &error));
  self->busy = 0;
  return visits_over(&visit, code, error);
}

PyObject* store_get(StoreObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text table, key;
  const void* value = NULL;
  size_t size = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("get", count, 2) != 0 || key_of(given, &table, &key) != 0) return NULL;
  WITHOUT_GIL(code = oncelog_get(self->store, table.data, table.size, key.data, key.size, &value, &size, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  if (value == NULL) Py_RETURN_NONE;
  PyObject* const bytes = PyBytes_FromStringAndSize(value, (Py_ssize_t)size);
  oncelog_free(value);
  return bytes;
}

PyObject* store_scan_table(StoreObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_text table, from;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("scan_table", count, 3) != 0 || key_of(given, &table, &from) != 0) return NULL;
  Visit visit = {.visit = given[2]};
  WITHOUT_GIL(code = oncelog_scan_table(self->store, table.data, table.size, from.data, from.size, visit_entry, &visit,
                                        &error));
  return visits_over(&visit, code, error);
}

static void transaction_free(PyObject* self) {
  PyObject_Free(self);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef transaction_methods[] = {
    {"mark", FAST(transaction_mark), NULL},
    {"complete", FAST(transaction_complete), NULL},
    {"put", FAST(transaction_put), NULL},
    {"get", FAST(transaction_get), NULL},
    {"erase", FAST(transaction_erase), NULL},
    {"scan", FAST(transaction_scan), NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject TransactionType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Transaction",
    .tp_basicsize = sizeof(TransactionObject),
    .tp_dealloc = transaction_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = transaction_methods,
};
