package oncelog

// #include "native.h"
import "C"

import (
	"time"
	"unsafe"
)

// bytesAt is where the bytes are, or nil where there are none.
func bytesAt(bytes []byte) unsafe.Pointer {
	if len(bytes) == 0 {
		return nil
	}
	return unsafe.Pointer(&bytes[0])
}

// flatIDs is the ids of a batch without a pointer in it: all of them in one buffer, and where each ends.
type flatIDs struct {
	data []byte
	ends []uint64
}

func flatten(ids []string) flatIDs {
	bytes := 0
	for _, id := range ids {
		bytes += len(id)
	}
	flat := flatIDs{make([]byte, 0, bytes), make([]uint64, len(ids))}
	for i, id := range ids {
		flat.data = append(flat.data, id...)
		flat.ends[i] = uint64(len(flat.data))
	}
	return flat
}

func (f *flatIDs) count() C.size_t { return C.size_t(len(f.ends)) }

func (f *flatIDs) endsAt() *C.uint64_t { return first[C.uint64_t](f.ends) }

// flatAttributes is the attributes of some messages without a pointer in them. They are a copy, so that a call may go on
// after the caller has got its slices back.
type flatAttributes struct {
	texts []byte
	each  []C.native_attributes
}

// at is what C gets: nil where there are none.
func (f *flatAttributes) at() *C.native_attributes { return first[C.native_attributes](f.each) }

func (f *flatAttributes) add(a *Attributes) {
	f.texts = append(f.texts, a.Correlation...)
	flat := C.native_attributes{correlation_end: C.uint64_t(len(f.texts))}
	f.texts = append(f.texts, a.Result...)
	flat.result_end = C.uint64_t(len(f.texts))
	f.texts = append(f.texts, a.Source.Name...)
	flat.source_end = C.uint64_t(len(f.texts))
	flat.source_offset = C.uint64_t(a.Source.Offset)
	flat.source_partition = C.uint64_t(a.Source.Partition)
	flat.fingerprint = C.uint64_t(a.Fingerprint)
	if !a.SentAt.IsZero() {
		flat.sent_at_us = C.int64_t(a.SentAt.UnixMicro())
	}
	f.each = append(f.each, flat)
}

func flattenOne(a *Attributes) (flat flatAttributes) {
	if a != nil {
		flat.add(a)
	}
	return flat
}

// first is where a slice begins, seen as C's elements of the same size, or nil for an empty one.
func first[To, From any](slice []From) *To {
	if len(slice) == 0 {
		return nil
	}
	return (*To)(unsafe.Pointer(&slice[0]))
}

// milliseconds rounds up, so that no wait or lease is shorter than what was asked for.
func milliseconds(d time.Duration) C.int64_t {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return C.int64_t(ms)
}
