#include <native/ids.h>

static int ids_of_sequence(PyObject* given, PythonIds* ids) {
  // A tuple of its own: another thread may change a list while the GIL is released.
  ids->kept = PySequence_Tuple(given);
  if (ids->kept == NULL) return -1;
  const size_t count = (size_t)PyTuple_GET_SIZE(ids->kept);
  // One block: the pointers, then the lengths.
  void** const block = PyMem_Calloc(count + 1, sizeof(void*) + sizeof(size_t));
  if (block == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  const void** const pointers = (const void**)block;
  size_t* const lengths = (size_t*)(block + count + 1);
  ids->ids.pointers = pointers;
  ids->ids.lengths = lengths;
  ids->ids.count = count;
  for (size_t i = 0; i < count; ++i) {
    oncelog_text text;
    if (text_of(PyTuple_GET_ITEM(ids->kept, (Py_ssize_t)i), "an id", &text) != 0) return -1;
    pointers[i] = text.data;
    lengths[i] = text.size;
  }
  return 0;
}

/// Whether a format of the buffer protocol is that of bytes of a fixed width, such as "36s".
static int is_fixed_bytes(const char* format) {
  if (format == NULL) return 0;
  while (*format >= '0' && *format <= '9') ++format;
  return format[0] == 's' && format[1] == '\0';
}

static int ids_of_buffer(PyObject* given, PythonIds* ids) {
  if (PyObject_GetBuffer(given, &ids->buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) return -1;
  const Py_buffer* const b = &ids->buffer;
  ids->ids.data = b->buf;
  if (b->ndim == 1 && is_fixed_bytes(b->format)) {
    ids->ids.count = (size_t)b->shape[0];
    ids->ids.width = (size_t)b->itemsize;
    ids->ids.padded = 1;
    return 0;
  }
  if (b->ndim == 2 && b->itemsize == 1 && b->format != NULL && strcmp(b->format, "B") == 0) {
    ids->ids.count = (size_t)b->shape[0];
    ids->ids.width = (size_t)b->shape[1];
    return 0;
  }
  PyErr_Format(
      PyExc_TypeError,
      "an array of ids has fixed-width bytes (dtype \"S36\", for example by .astype(\"S\")), or rows of uint8; "
      "this one has %d dimensions of the format %s",
      b->ndim, b->format == NULL ? "B" : b->format);
  return -1;
}

int ids_of(PyObject* given, PythonIds* ids) {
  *ids = (PythonIds){.ids = {.size = sizeof ids->ids}};
  int failed;
  if (PyBytes_Check(given) || PyUnicode_Check(given)) {
    PyErr_SetString(PyExc_TypeError, "ids must be a sequence or an array of ids, not one id");
    failed = -1;
  } else {
    failed = PyObject_CheckBuffer(given) ? ids_of_buffer(given, ids) : ids_of_sequence(given, ids);
  }
  if (failed) ids_free(ids);
  return failed;
}

void ids_free(PythonIds* ids) {
  PyMem_Free((void*)ids->ids.pointers);
  if (ids->buffer.obj != NULL) PyBuffer_Release(&ids->buffer);
  Py_CLEAR(ids->kept);
  ids->ids.pointers = NULL;
}
