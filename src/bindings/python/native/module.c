#include <native/handles.h>

static PyObject* library_version(PyObject* module, PyObject* none) {
  (void)module;
  (void)none;
  return PyUnicode_FromString(oncelog_version());
}

static PyObject* fingerprint(PyObject* module, PyObject* given) {
  (void)module;
  oncelog_text payload;
  if (text_of(given, "a payload", &payload) != 0) return NULL;
  return PyLong_FromUnsignedLongLong(oncelog_fingerprint(payload.data, payload.size));
}

static PyObject* topic_matches(PyObject* module, PyObject* const* given, Py_ssize_t count) {
  (void)module;
  oncelog_text pattern, key;
  if (takes("topic_matches", count, 2) != 0 || text_of(given[0], "a pattern", &pattern) != 0 ||
      text_of(given[1], "a routing key", &key) != 0) {
    return NULL;
  }
  return PyBool_FromLong(oncelog_topic_matches(pattern.data, pattern.size, key.data, key.size));
}

static PyMethodDef functions[] = {
    {"setup", oncelog_python_setup, METH_VARARGS, NULL},
    {"open", (PyCFunction)(void (*)(void))open_store, METH_VARARGS | METH_KEYWORDS, NULL},
    {"restore", restore_store, METH_VARARGS, NULL},
    {"library_version", library_version, METH_NOARGS, NULL},
    {"fingerprint", fingerprint, METH_O, NULL},
    {"topic_matches", (PyCFunction)(void (*)(void))topic_matches, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "oncelog._oncelog",
    .m_size = -1,  // What the package hands in is the process's: no subinterpreters.
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__oncelog(void) {
  PyObject* const module = PyModule_Create(&definition);
  if (module == NULL) return NULL;
  PyTypeObject* const types[] = {&StoreType, &ScopeType,       &ClaimType, &BatchType,
                                 &LockType,  &TransactionType, &CallsType};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; ++i) {
    if (PyModule_AddType(module, types[i]) != 0) {
      Py_DECREF(module);
      return NULL;
    }
  }
  return module;
}
