#include <native/handles.h>

#include <structmember.h>

/// The class that the package's Scope derives from: mark() and contains() of an id alone are done without a frame of
/// Python's, which would cost as much as the call. Every other call, and what is to be done in a child of fork(), is
/// left to `_mark` and `_contains` of the derived class.
typedef struct {
  PyObject_HEAD PyObject* raw;  ///< A Scope of this module; of a closed store, something else.
} CallsObject;

/// Calls a method of the derived class with the same arguments.
static PyObject* forwarded(CallsObject* self, PyObject* const* given, Py_ssize_t count, PyObject* names,
                           PyObject* method) {
  const Py_ssize_t all = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
  PyObject** const arguments = PyMem_Malloc((size_t)(all + 1) * sizeof *arguments);
  if (arguments == NULL) return PyErr_NoMemory();
  arguments[0] = (PyObject*)self;
  for (Py_ssize_t i = 0; i < all; ++i) arguments[i + 1] = given[i];
  PyObject* const answer = PyObject_VectorcallMethod(method, arguments, (size_t)(count + 1), names);
  PyMem_Free(arguments);
  return answer;
}

/// The scope, which stays while the call uses it; null where the derived class has to be asked.
static ScopeObject* plain_scope(const CallsObject* self, Py_ssize_t count, PyObject* names) {
  if (count != 1 || names != NULL || self->raw == NULL || !Py_IS_TYPE(self->raw, &ScopeType)) return NULL;
  return (ScopeObject*)Py_NewRef(self->raw);
}

static PyObject* calls_mark(CallsObject* self, PyObject* const* given, Py_ssize_t count, PyObject* names) {
  static PyObject* method = NULL;
  if (method == NULL && (method = PyUnicode_InternFromString("_mark")) == NULL) return NULL;
  ScopeObject* const scope = plain_scope(self, count, names);
  if (scope == NULL) return forwarded(self, given, count, names, method);
  int forked = 0;
  PyObject* const marked = mark_plainly(scope, given[0], &forked);
  Py_DECREF(scope);
  return forked ? forwarded(self, given, count, names, method) : marked;
}

static PyObject* calls_contains(CallsObject* self, PyObject* const* given, Py_ssize_t count, PyObject* names) {
  static PyObject* method = NULL;
  if (method == NULL && (method = PyUnicode_InternFromString("_contains")) == NULL) return NULL;
  ScopeObject* const scope = plain_scope(self, count, names);
  if (scope == NULL) return forwarded(self, given, count, names, method);
  int forked = 0;
  PyObject* const known = contains_plainly(scope, given[0], &forked);
  Py_DECREF(scope);
  return forked ? forwarded(self, given, count, names, method) : known;
}

static void calls_free(CallsObject* self) {
  Py_XDECREF(self->raw);
  Py_TYPE(self)->tp_free((PyObject*)self);
}

static PyMethodDef calls_methods[] = {
    {"mark", (PyCFunction)(void (*)(void))calls_mark, METH_FASTCALL | METH_KEYWORDS,
     "Marks the id as processed unless it is already: exactly one caller gets FRESH within the retention."},
    {"contains", (PyCFunction)(void (*)(void))calls_contains, METH_FASTCALL | METH_KEYWORDS,
     "Whether the id was processed within the retention; with `correlation`, as a part of that. Takes no lock."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef calls_members[] = {
    {"_raw", T_OBJECT_EX, offsetof(CallsObject, raw), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject CallsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "oncelog._oncelog.Calls",
    .tp_basicsize = sizeof(CallsObject),
    .tp_dealloc = (destructor)(void (*)(void))calls_free,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_methods = calls_methods,
    .tp_members = calls_members,
    .tp_new = PyType_GenericNew,
};
