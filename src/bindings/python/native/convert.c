#include <native/convert.h>

#include <limits.h>

PythonTypes python_types;

PyObject* oncelog_python_setup(PyObject* module, PyObject* arguments) {
  (void)module;
  PyObject *errors, *verdicts, *marked, *record, *held, *problem;
  if (!PyArg_ParseTuple(arguments, "O!O!O!O!O!O!", &PyDict_Type, &errors, &PyTuple_Type, &verdicts, &PyType_Type,
                        &marked, &PyType_Type, &record, &PyType_Type, &held, &PyType_Type, &problem)) {
    return NULL;
  }
  if (PyTuple_GET_SIZE(verdicts) != 5) {
    PyErr_SetString(PyExc_ValueError, "there are five verdicts");
    return NULL;
  }
  if (python_types.errors != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the package oncelog is loaded already");
    return NULL;
  }
  // Kept for as long as the process lives.
  for (Py_ssize_t i = 0; i < 5; ++i) python_types.verdicts[i] = Py_NewRef(PyTuple_GET_ITEM(verdicts, i));
  python_types.marked = (PyTypeObject*)Py_NewRef((PyObject*)marked);
  python_types.record = (PyTypeObject*)Py_NewRef((PyObject*)record);
  python_types.held = (PyTypeObject*)Py_NewRef((PyObject*)held);
  python_types.problem = (PyTypeObject*)Py_NewRef((PyObject*)problem);
  python_types.errors = Py_NewRef(errors);
  Py_RETURN_NONE;
}

PyObject* raised(oncelog_code code, oncelog_error* error) {
  if (code == ONCELOG_OUT_OF_MEMORY) {
    oncelog_error_free(error);
    return PyErr_NoMemory();
  }
  PyObject* const number = PyLong_FromLong(code);
  PyObject* const sentence = PyUnicode_DecodeUTF8(oncelog_error_sentence(error),
                                                  (Py_ssize_t)strlen(oncelog_error_sentence(error)), "surrogateescape");
  PyObject* const path = PyUnicode_DecodeFSDefault(oncelog_error_path(error));
  oncelog_error_free(error);
  if (number != NULL && sentence != NULL && path != NULL) {
    PyObject* type = python_types.errors == NULL ? NULL : PyDict_GetItemWithError(python_types.errors, number);
    if (type == NULL && !PyErr_Occurred()) type = PyExc_RuntimeError;
    PyObject* const exception = type == NULL ? NULL : PyObject_CallFunctionObjArgs(type, sentence, path, number, NULL);
    if (exception != NULL) PyErr_SetObject(type, exception);
    Py_XDECREF(exception);
  }
  Py_XDECREF(number);
  Py_XDECREF(sentence);
  Py_XDECREF(path);
  return NULL;
}

int text_of(PyObject* given, const char* what, oncelog_text* text) {
  Py_ssize_t size = 0;
  if (PyUnicode_Check(given)) {
    text->data = PyUnicode_AsUTF8AndSize(given, &size);
    if (text->data == NULL) return -1;
  } else if (PyBytes_Check(given)) {
    text->data = PyBytes_AS_STRING(given);
    size = PyBytes_GET_SIZE(given);
  } else {
    PyErr_Format(PyExc_TypeError, "%s must be str or bytes, not %.100s", what, Py_TYPE(given)->tp_name);
    return -1;
  }
  text->size = (size_t)size;
  return 0;
}

int integer_of(PyObject* given, const char* what, long long least, long long most, long long* number) {
  int overflow = 0;
  *number = PyLong_AsLongLongAndOverflow(given, &overflow);
  if (*number == -1 && PyErr_Occurred()) return -1;
  if (overflow != 0 || *number < least || *number > most) {
    PyErr_Format(PyExc_OverflowError, "%s must be within %lld and %lld", what, least, most);
    return -1;
  }
  return 0;
}

int lsn_of(PyObject* given, uint64_t* lsn) {
  *lsn = PyLong_AsUnsignedLongLong(given);
  return *lsn == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

int attributes_of(PyObject* given, oncelog_attributes* attributes, const oncelog_attributes** used) {
  *used = NULL;
  if (given == Py_None) return 0;
  if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 7) {
    PyErr_SetString(PyExc_TypeError, "attributes must be None or a tuple of 7");
    return -1;
  }
  *attributes = (oncelog_attributes){.size = sizeof *attributes};
  long long partition = 0;
  long long sent_at = 0;
  if (text_of(PyTuple_GET_ITEM(given, 0), "correlation", &attributes->correlation) != 0 ||
      text_of(PyTuple_GET_ITEM(given, 1), "result", &attributes->result) != 0 ||
      text_of(PyTuple_GET_ITEM(given, 2), "the source's name", &attributes->source_name) != 0 ||
      integer_of(PyTuple_GET_ITEM(given, 3), "the source's partition", 0, UINT32_MAX, &partition) != 0 ||
      lsn_of(PyTuple_GET_ITEM(given, 4), &attributes->source_offset) != 0 ||
      lsn_of(PyTuple_GET_ITEM(given, 5), &attributes->fingerprint) != 0 ||
      integer_of(PyTuple_GET_ITEM(given, 6), "sent_at", LLONG_MIN, LLONG_MAX, &sent_at) != 0) {
    return -1;
  }
  attributes->source_partition = (uint32_t)partition;
  attributes->sent_at_us = sent_at;
  *used = attributes;
  return 0;
}

PyObject* named_tuple(PyTypeObject* type, PyObject* fields) {
  if (fields == NULL) return NULL;
  PyObject* const arguments = PyTuple_Pack(1, fields);
  Py_DECREF(fields);
  if (arguments == NULL) return NULL;
  // Straight to where a named tuple's own constructor ends: a third of its cost.
  PyObject* const tuple = PyTuple_Type.tp_new(type, arguments, NULL);
  Py_DECREF(arguments);
  return tuple;
}

PyObject* bool_of(oncelog_code code, oncelog_error* error, int answer) {
  return code != ONCELOG_OK ? raised(code, error) : PyBool_FromLong(answer);
}

PyObject* verdict_of(oncelog_verdict verdict) {
  if (verdict < 5) return Py_NewRef(python_types.verdicts[verdict]);
  return PyErr_Format(PyExc_RuntimeError, "liboncelog answers a verdict %d, which this package does not know", verdict);
}

/// A scope's name: nothing says that it is UTF-8.
static PyObject* name_of(oncelog_text name) {
  return PyUnicode_DecodeUTF8(name.data, (Py_ssize_t)name.size, "surrogateescape");
}

PyObject* record_of(const oncelog_record* r) {
  PyObject* const scope = name_of(r->scope);
  if (scope == NULL) return NULL;
  return named_tuple(
      python_types.record,
      Py_BuildValue("Ny#y#y#y#IKKLKO", scope, r->id.data, (Py_ssize_t)r->id.size, r->correlation.data,
                    (Py_ssize_t)r->correlation.size, r->result.data, (Py_ssize_t)r->result.size, r->source_name.data,
                    (Py_ssize_t)r->source_name.size, (unsigned int)r->source_partition,
                    (unsigned long long)r->source_offset, (unsigned long long)r->fingerprint,
                    (long long)r->processed_at_us, (unsigned long long)r->lsn, r->forgotten ? Py_True : Py_False));
}

PyObject* claim_info_of(const oncelog_claim_info* c) {
  PyObject* const scope = name_of(c->scope);
  if (scope == NULL) return NULL;
  return named_tuple(python_types.held,
                     Py_BuildValue("Ny#LKiOi", scope, c->id.data, (Py_ssize_t)c->id.size, (long long)c->deadline_us,
                                   (unsigned long long)c->token, (int)c->process, c->owner_alive ? Py_True : Py_False,
                                   (int)c->orphans));
}

PyObject* problem_of(const oncelog_problem* p) {
  return named_tuple(python_types.problem,
                     Py_BuildValue("sssss", p->kind, p->where, p->sentence, p->meaning, p->remedy));
}

PyObject* owner_of(const oncelog_owner* owner) {
  return Py_BuildValue("Li", (long long)owner->deadline_us, (int)owner->process);
}

int takes(const char* method, Py_ssize_t given, Py_ssize_t expected) {
  if (given == expected) return 0;
  PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", method, expected, given);
  return -1;
}
