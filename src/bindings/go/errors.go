package oncelog

// #include "native.h"
import "C"

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an Error is. The codes are errors themselves, to be given to errors.Is.
type Code int32

// The codes, as oncelog::ErrorCode, which says what to do.
const (
	ErrInvalidArgument Code = C.ONCELOG_INVALID_ARGUMENT  // An argument is outside its range, or the call is not possible here.
	ErrNotFound        Code = C.ONCELOG_NOT_FOUND         // There is no store, and the options forbid creating one.
	ErrNotAStore       Code = C.ONCELOG_NOT_A_STORE       // The path holds something that is not an oncelog store.
	ErrNewerFormat     Code = C.ONCELOG_NEWER_FORMAT      // The store was written by a later format version.
	ErrOptionsMismatch Code = C.ONCELOG_OPTIONS_MISMATCH  // An option contradicts the store, or this process's first handle on it.
	ErrLiveDirMismatch Code = C.ONCELOG_LIVE_DIR_MISMATCH // The store is open with another LiveDir.
	ErrInUse           Code = C.ONCELOG_IN_USE            // Something else uses the store in a way that excludes this.
	ErrNoPermission    Code = C.ONCELOG_NO_PERMISSION     // The directory or a file in it cannot be written, or has a foreign owner.
	ErrUnsupported     Code = C.ONCELOG_UNSUPPORTED       // The file system, the server, the engine or the library cannot do it.
	ErrReadOnly        Code = C.ONCELOG_READ_ONLY         // A write was asked of a store that was opened with ReadOnly.
	ErrFull            Code = C.ONCELOG_FULL              // The disk, the map or a structure's limit is full.
	ErrTooManyReaders  Code = C.ONCELOG_TOO_MANY_READERS  // More threads read at once than MaxReaders.
	ErrCorrupt         Code = C.ONCELOG_CORRUPT           // Stored bytes contradict their checksum or their format.
	ErrForked          Code = C.ONCELOG_FORKED            // The store was used in a child of the process that opened it.
	ErrIO              Code = C.ONCELOG_IO                // Any other failure of the operating system, of LMDB or of a server.
	ErrOutOfMemory     Code = C.ONCELOG_OUT_OF_MEMORY     // Memory could not be had.
	ErrException       Code = C.ONCELOG_EXCEPTION         // An exception of C++ that is no error of oncelog.
)

// ErrClosed is the error of every call on a Store after Close, and of every call on its scopes.
var ErrClosed = errors.New("oncelog: the store is closed")

// Error is the code's name, such as "options_mismatch".
func (c Code) Error() string { return C.GoString(C.oncelog_code_name(C.oncelog_code(c))) }

// Error is what went wrong in a call. errors.Is(err, oncelog.ErrFull) asks for its code.
type Error struct {
	Code     Code
	Sentence string // One sentence that names the path concerned and, where there is one, the way out.
	Path     string // The file or directory concerned; empty when there is none.
}

// Error is the sentence.
func (e *Error) Error() string { return fmt.Sprintf("oncelog: %s", e.Sentence) }

// Is reports whether the target is this error's code.
func (e *Error) Is(target error) bool {
	code, isCode := target.(Code)
	return isCode && code == e.Code
}

// failure is what a call answered as an error of Go, and frees it.
func failure(e *C.oncelog_error) error {
	if e == nil {
		return nil
	}
	defer C.oncelog_error_free(e)
	return &Error{
		Code:     Code(C.oncelog_error_code(e)),
		Sentence: C.GoString(C.oncelog_error_sentence(e)),
		Path:     C.GoString(C.oncelog_error_path(e)),
	}
}
