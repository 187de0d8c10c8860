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

/// What the function of a transaction gets. For the thread that the function runs on, and until it returns.
typedef struct {
  PyObject_HEAD oncelog_transaction* transaction;  ///< Null once the function has returned.
  unsigned long thread;
  int busy;
} TransactionObject;

extern PyTypeObject StoreType, ScopeType, ClaimType, BatchType, LockType, TransactionType, CallsType;

/// Each takes the handle, which it frees where it fails.
PyObject* new_scope(oncelog_scope* scope);
PyObject* new_claim(oncelog_claim* claim);
PyObject* new_batch(oncelog_claim_batch* batch);
PyObject* new_lock(oncelog_lock* lock);

/// Of an id alone. In a child of fork() nothing is raised, and `forked` is set.
PyObject* mark_plainly(ScopeObject* scope, PyObject* id, int* forked);
PyObject* contains_plainly(ScopeObject* scope, PyObject* id, int* forked);

/// Scope.once(id, work, lease, attributes, max_runtime, patience, keep_alive): (verdict, ran, result, lsn).
PyObject* scope_once(ScopeObject* self, PyObject* const* given, Py_ssize_t count);
/// Store.transact(work), .get(table, key) and .scan_table(table, start, visit).
PyObject* store_transact(StoreObject* self, PyObject* work);
PyObject* store_get(StoreObject* self, PyObject* const* given, Py_ssize_t count);
PyObject* store_scan_table(StoreObject* self, PyObject* const* given, Py_ssize_t count);
/// A claim is completed in a transaction. Returns -1 with an exception set where that fails.
int complete_within(oncelog_transaction* transaction, PyObject* claim, const oncelog_attributes* attributes,
                    uint8_t* owned);
/// A mark's answer as the package has it.
PyObject* marked_of(const oncelog_marked* marked);

/// open(address, ...) and restore(backup, directory, allow_foreign_owner) of the module.
PyObject* open_store(PyObject* module, PyObject* arguments, PyObject* names);
PyObject* restore_store(PyObject* module, PyObject* arguments);

#endif
