#ifndef ONCELOG_PYTHON_IDS_H
#define ONCELOG_PYTHON_IDS_H

/// The ids of a batch, out of a sequence of str and bytes, or out of a contiguous array that has the buffer protocol:
/// of fixed-width bytes (numpy's "S36"; NULs at their ends are not part of an id), or of two dimensions of single bytes
/// (each row is an id as it is). Nothing is copied. The GIL may be released while they are used: what they point into
/// is kept until ids_free().

#include <native/convert.h>

typedef struct {
  oncelog_ids ids;
  PyObject* kept;    ///< A tuple of the ids, or null.
  Py_buffer buffer;  ///< buffer.obj is null where there is none.
} PythonIds;

/// Returns -1 with an exception set where it fails; nothing is to be freed then.
int ids_of(PyObject* given, PythonIds* ids);
void ids_free(PythonIds* ids);

#endif
