#ifndef ONCELOG_PYTHON_HANDLES_H
#define ONCELOG_PYTHON_HANDLES_H

/// The types of `oncelog._oncelog`: each owns one handle of the C interface, and frees it when nothing refers to it any
/// more, so never while a call uses it. Methods take their arguments by position; the package's Python part has the
/// names and defaults. The GIL is released in every call that may wait, also for a server.
///
/// Claims, batches of claims and locks are for one thread at a time: `busy` is set, under the GIL, while a call works
/// without the GIL, and a second call meanwhile raises.

#include <native/convert.h>

typedef struct {
  PyObject_HEAD oncelog_store* store;
} StoreObject;

typedef struct {
  PyObject_HEAD oncelog_scope* scope;
} ScopeObject;

typedef struct {
  PyObject_HEAD oncelog_claim* claim;
  int busy;
} ClaimObject;

typedef struct {
  PyObject_HEAD oncelog_claim_batch* batch;
  int busy;
} BatchObject;

typedef struct {
  PyObject_HEAD oncelog_lock* lock;
  int busy;
} LockObject;

extern PyTypeObject StoreType, ScopeType, ClaimType, BatchType, LockType, CallsType;

/// Each takes the handle, which it frees where it fails.
PyObject* new_scope(oncelog_scope* scope);
PyObject* new_claim(oncelog_claim* claim);
PyObject* new_batch(oncelog_claim_batch* batch);
PyObject* new_lock(oncelog_lock* lock);

/// Of an id alone. In a child of fork() nothing is raised, and `forked` is set.
PyObject* mark_plainly(ScopeObject* scope, PyObject* id, int* forked);
PyObject* contains_plainly(ScopeObject* scope, PyObject* id, int* forked);

/// open(address, ...) and restore(backup, directory, allow_foreign_owner) of the module.
PyObject* open_store(PyObject* module, PyObject* arguments, PyObject* names);
PyObject* restore_store(PyObject* module, PyObject* arguments);

#endif
