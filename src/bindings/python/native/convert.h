#ifndef ONCELOG_PYTHON_CONVERT_H
#define ONCELOG_PYTHON_CONVERT_H

/// What passes between Python and the C interface: texts, attributes, records, errors. Every function needs the GIL,
/// and returns null or -1 with an exception set where it fails. Texts are views into the Python object that was given,
/// which the caller keeps alive.

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <oncelog/c.h>

#if PY_VERSION_HEX < 0x030A0000  // Python 3.9 has none.
static inline PyObject* Py_NewRef(PyObject* object) {
  Py_INCREF(object);
  return object;
}
#endif

/// Runs a call of the library's while other threads have the GIL.
#define WITHOUT_GIL(...)                \
  do {                                  \
    Py_BEGIN_ALLOW_THREADS __VA_ARGS__; \
    Py_END_ALLOW_THREADS                \
  } while (0)

/// What the package's Python part has handed in, see oncelog_python_setup().
typedef struct {
  PyObject* errors;       ///< A dict: code -> class of exception, called with the sentence, the path and the code.
  PyObject* verdicts[5];  ///< The members of Verdict by number.
  PyTypeObject* marked;   ///< A named tuple (verdict, lsn, redelivered).
  PyTypeObject* record;   ///< A named tuple, in the order of record_of().
  PyTypeObject* held;     ///< A named tuple: a claim that is held, in the order of claim_info_of().
  PyTypeObject* problem;  ///< A named tuple (kind, where, sentence, meaning, remedy).
} PythonTypes;

extern PythonTypes python_types;

/// setup(errors, verdicts, marked, record, held, problem): called once, by the package.
PyObject* oncelog_python_setup(PyObject* module, PyObject* arguments);

/// Sets the exception for a code that is not ONCELOG_OK, frees the error, and returns null.
PyObject* raised(oncelog_code code, oncelog_error* error);

/// A str as UTF-8, or bytes as they are.
int text_of(PyObject* given, const char* what, oncelog_text* text);
/// None, or a tuple (correlation, result, source_name, source_partition, source_offset, fingerprint, sent_at_us).
/// Returns `attributes` or null through `used`: null for None.
int attributes_of(PyObject* given, oncelog_attributes* attributes, const oncelog_attributes** used);
/// An int within [least, most].
int integer_of(PyObject* given, const char* what, long long least, long long most, long long* number);
/// An int within 64 bits without a sign.
int lsn_of(PyObject* given, uint64_t* lsn);

/// What a call that answers yes or no has answered, or what raised() does.
PyObject* bool_of(oncelog_code code, oncelog_error* error, int answer);
PyObject* verdict_of(oncelog_verdict verdict);
PyObject* record_of(const oncelog_record* record);
PyObject* claim_info_of(const oncelog_claim_info* claim);
PyObject* problem_of(const oncelog_problem* problem);
/// (deadline_us, process)
PyObject* owner_of(const oncelog_owner* owner);
/// A named tuple of these fields. Takes the reference to `fields`, which may be null after a failure.
PyObject* named_tuple(PyTypeObject* type, PyObject* fields);

/// Whether a method was called with as many arguments as it takes.
int takes(const char* method, Py_ssize_t given, Py_ssize_t expected);

#endif
