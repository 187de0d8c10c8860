#include <native/handles.h>

#include <limits.h>

/// A second thread, while a first one's call works without the GIL.
static int is_busy(int busy) {
  if (!busy) return 0;
  PyErr_SetString(PyExc_RuntimeError, "another thread is using this claim or lock; it is for one thread at a time");
  return 1;
}

/// WITHOUT_GIL for a call on a claim or lock.
#define WHILE_BUSY(self, ...) \
  do {                        \
    (self)->busy = 1;         \
    WITHOUT_GIL(__VA_ARGS__); \
    (self)->busy = 0;         \
  } while (0)

// --- Claims.

PyObject* new_claim(oncelog_claim* claim) {
  ClaimObject* const self = PyObject_New(ClaimObject, &ClaimType);
  if (self == NULL) {
    oncelog_claim_free(claim);
    return NULL;
  }
  self->claim = claim;
  self->busy = 0;
  return (PyObject*)self;
}

static void claim_free(ClaimObject* self) {
  oncelog_claim* const claim = self->claim;
  // The last handle on a store closes it, which waits for the disk.
  WITHOUT_GIL(oncelog_claim_free(claim));
  PyObject_Free(self);
}

static PyObject* claim_complete(ClaimObject* self, PyObject* const* given, Py_ssize_t count) {
  oncelog_attributes attributes;
  const oncelog_attributes* used;
  long long ack;
  uint8_t in_time = 0;
  uint64_t lsn = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (takes("complete", count, 2) != 0 || attributes_of(given[0], &attributes, &used) != 0 ||
      integer_of(given[1], "ack", 0, UINT8_MAX, &ack) != 0 || is_busy(self->busy)) {
    return NULL;
  }
  WHILE_BUSY(self, code = oncelog_claim_complete(self->claim, used, (oncelog_ack)ack, &in_time, &lsn, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  return Py_BuildValue("OK", in_time ? Py_True : Py_False, (unsigned long long)lsn);
}

static PyObject* claim_renew(ClaimObject* self, PyObject* given) {
  long long lease;
  uint8_t held = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (integer_of(given, "lease", LLONG_MIN, LLONG_MAX, &lease) != 0 || is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, code = oncelog_claim_renew(self->claim, lease, &held, &error));
  return bool_of(code, error, held);
}

static PyObject* claim_keep_alive(ClaimObject* self, PyObject* given) {
  long long most;
  uint8_t held = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (integer_of(given, "most", LLONG_MIN, LLONG_MAX, &most) != 0 || is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, code = oncelog_claim_keep_alive(self->claim, most, &held, &error));
  return bool_of(code, error, held);
}

static PyObject* claim_abandon(ClaimObject* self, PyObject* none) {
  (void)none;
  if (is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, oncelog_claim_abandon(self->claim));
  Py_RETURN_NONE;
}

static PyObject* claim_verdict(ClaimObject* self, void* closure) {
  (void)closure;
  return is_busy(self->busy) ? NULL : verdict_of(oncelog_claim_verdict(self->claim));
}

static PyObject* claim_held(ClaimObject* self, void* closure) {
  (void)closure;
  return is_busy(self->busy) ? NULL : PyBool_FromLong(oncelog_claim_held(self->claim));
}

static PyObject* claim_token(ClaimObject* self, void* closure) {
  (void)closure;
  return is_busy(self->busy) ? NULL : PyLong_FromUnsignedLongLong(oncelog_claim_token(self->claim));
}

static PyObject* claim_redelivered(ClaimObject* self, void* closure) {
  (void)closure;
  return is_busy(self->busy) ? NULL : PyBool_FromLong(oncelog_claim_redelivered(self->claim));
}

static PyObject* claim_record(ClaimObject* self, void* closure) {
  (void)closure;
  if (is_busy(self->busy)) return NULL;
  const oncelog_record* const record = oncelog_claim_record(self->claim);
  if (record == NULL) Py_RETURN_NONE;
  return record_of(record);
}

static PyObject* claim_owner(ClaimObject* self, void* closure) {
  (void)closure;
  oncelog_owner owner = {.size = sizeof owner};
  if (is_busy(self->busy)) return NULL;
  if (!oncelog_claim_owner(self->claim, &owner)) Py_RETURN_NONE;
  return owner_of(&owner);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL
#define GET(name, function) \
  { name, (getter)(void (*)(void))(function), NULL, NULL, NULL }

static PyMethodDef claim_methods[] = {
    {"complete", FAST(claim_complete), NULL},
    {"renew", (PyCFunction)(void (*)(void))claim_renew, METH_O, NULL},
    {"keep_alive", (PyCFunction)(void (*)(void))claim_keep_alive, METH_O, NULL},
    {"abandon", (PyCFunction)(void (*)(void))claim_abandon, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef claim_properties[] = {
    GET("verdict", claim_verdict),         GET("held", claim_held),     GET("token", claim_token),
    GET("redelivered", claim_redelivered), GET("record", claim_record), GET("owner", claim_owner),
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject ClaimType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Claim",
    .tp_basicsize = sizeof(ClaimObject),
    .tp_dealloc = (destructor)(void (*)(void))claim_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = claim_methods,
    .tp_getset = claim_properties,
};

int complete_within(oncelog_transaction* transaction, PyObject* given, const oncelog_attributes* attributes,
                    uint8_t* owned) {
  if (!Py_IS_TYPE(given, &ClaimType)) {
    PyErr_SetString(PyExc_TypeError, "a claim is needed");
    return -1;
  }
  ClaimObject* const claim = (ClaimObject*)given;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (is_busy(claim->busy)) return -1;
  WHILE_BUSY(claim, code = oncelog_transaction_complete(transaction, claim->claim, attributes, owned, &error));
  if (code == ONCELOG_OK) return 0;
  raised(code, error);
  return -1;
}

// --- Claims of many ids.

PyObject* new_batch(oncelog_claim_batch* batch) {
  BatchObject* const self = PyObject_New(BatchObject, &BatchType);
  if (self == NULL) {
    oncelog_claim_batch_free(batch);
    return NULL;
  }
  self->batch = batch;
  self->busy = 0;
  return (PyObject*)self;
}

static void batch_free(BatchObject* self) {
  oncelog_claim_batch* const batch = self->batch;
  WITHOUT_GIL(oncelog_claim_batch_free(batch));
  PyObject_Free(self);
}

static PyObject* batch_verdicts(BatchObject* self, PyObject* none) {
  (void)none;
  if (is_busy(self->busy)) return NULL;
  size_t count = 0;
  const oncelog_verdict* const verdicts = oncelog_claim_batch_verdicts(self->batch, &count);
  return PyByteArray_FromStringAndSize((const char*)verdicts, (Py_ssize_t)count);
}

static PyObject* batch_complete(BatchObject* self, PyObject* none) {
  (void)none;
  size_t late = 0;
  uint64_t newest = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, code = oncelog_claim_batch_complete(self->batch, &late, &newest, &error));
  if (code != ONCELOG_OK) return raised(code, error);
  return Py_BuildValue("nK", (Py_ssize_t)late, (unsigned long long)newest);
}

static PyObject* batch_abandon_from(BatchObject* self, PyObject* given) {
  long long position;
  if (integer_of(given, "position", 0, LLONG_MAX, &position) != 0 || is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, oncelog_claim_batch_abandon_from(self->batch, (size_t)position));
  Py_RETURN_NONE;
}

static PyObject* batch_abandon(BatchObject* self, PyObject* none) {
  (void)none;
  if (is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, oncelog_claim_batch_abandon(self->batch));
  Py_RETURN_NONE;
}

static PyMethodDef batch_methods[] = {
    {"verdicts", (PyCFunction)(void (*)(void))batch_verdicts, METH_NOARGS, NULL},
    {"complete", (PyCFunction)(void (*)(void))batch_complete, METH_NOARGS, NULL},
    {"abandon_from", (PyCFunction)(void (*)(void))batch_abandon_from, METH_O, NULL},
    {"abandon", (PyCFunction)(void (*)(void))batch_abandon, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject BatchType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Batch",
    .tp_basicsize = sizeof(BatchObject),
    .tp_dealloc = (destructor)(void (*)(void))batch_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = batch_methods,
};

// --- Locks.

PyObject* new_lock(oncelog_lock* lock) {
  LockObject* const self = PyObject_New(LockObject, &LockType);
  if (self == NULL) {
    oncelog_lock_free(lock);
    return NULL;
  }
  self->lock = lock;
  self->busy = 0;
  return (PyObject*)self;
}

static void lock_free(LockObject* self) {
  oncelog_lock* const lock = self->lock;
  WITHOUT_GIL(oncelog_lock_free(lock));
  PyObject_Free(self);
}

static PyObject* lock_renew(LockObject* self, PyObject* given) {
  long long lease;
  uint8_t held = 0;
  oncelog_error* error = NULL;
  oncelog_code code;
  if (integer_of(given, "lease", LLONG_MIN, LLONG_MAX, &lease) != 0 || is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, code = oncelog_lock_renew(self->lock, lease, &held, &error));
  return bool_of(code, error, held);
}

static PyObject* lock_release(LockObject* self, PyObject* none) {
  (void)none;
  if (is_busy(self->busy)) return NULL;
  WHILE_BUSY(self, oncelog_lock_release(self->lock));
  Py_RETURN_NONE;
}

static PyObject* lock_held(LockObject* self, void* closure) {
  (void)closure;
  return is_busy(self->busy) ? NULL : PyBool_FromLong(oncelog_lock_held(self->lock));
}

static PyObject* lock_token(LockObject* self, void* closure) {
  (void)closure;
  return is_busy(self->busy) ? NULL : PyLong_FromUnsignedLongLong(oncelog_lock_token(self->lock));
}

static PyObject* lock_owner(LockObject* self, void* closure) {
  (void)closure;
  oncelog_owner owner = {.size = sizeof owner};
  if (is_busy(self->busy)) return NULL;
  if (!oncelog_lock_owner(self->lock, &owner)) Py_RETURN_NONE;
  return owner_of(&owner);
}

static PyMethodDef lock_methods[] = {
    {"renew", (PyCFunction)(void (*)(void))lock_renew, METH_O, NULL},
    {"release", (PyCFunction)(void (*)(void))lock_release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_properties[] = {
    GET("held", lock_held),
    GET("token", lock_token),
    GET("owner", lock_owner),
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject LockType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Lock",
    .tp_basicsize = sizeof(LockObject),
    .tp_dealloc = (destructor)(void (*)(void))lock_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = lock_methods,
    .tp_getset = lock_properties,
};
