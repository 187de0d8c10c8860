package oncelog

// #include "native.h"
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// OrphanPolicy is what the owner's death and the lease's expiry do to a claim.
type OrphanPolicy uint8

// The policies.
const (
	FreeAtOnce     OrphanPolicy = C.ONCELOG_FREE_AT_ONCE     // The owner's death frees it at once, and so does the expiry of its lease.
	FreeAfterLease OrphanPolicy = C.ONCELOG_FREE_AFTER_LEASE // The expiry of its lease frees it; the owner's death does not.
	Keep           OrphanPolicy = C.ONCELOG_KEEP             // It stays until an operator frees it, or the host reboots.
)

// Scope is one logical consumer's id space: the same id in two scopes is two messages. Ids are any bytes, 1 to 1024 of
// them. It is usable until its store is closed.
type Scope struct {
	store  *Store
	handle *C.oncelog_scope
	name   string
}

// Scope is the id space of that name, 1 to 255 bytes.
func (s *Store) Scope(name string) (*Scope, error) { return s.ScopeWith(name, FreeAtOnce) }

// ScopeWith is Scope with another policy for the claims that are taken by it.
func (s *Store) ScopeWith(name string, orphans OrphanPolicy) (*Scope, error) {
	if !s.life.enter() {
		return nil, ErrClosed
	}
	defer s.life.leave()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	key := scopeKey{name, orphans}
	if known := s.scopes[key]; known != nil {
		return known, nil
	}
	answer := C.native_scope(s.handle, name, C.oncelog_orphan_policy(orphans))
	if err := failure(answer.error); err != nil {
		return nil, err
	}
	scope := &Scope{s, (*C.oncelog_scope)(answer.handle), name}
	s.scopes[key] = scope
	return scope, nil
}

// Name is the scope's name.
func (s *Scope) Name() string { return s.name }

// Contains reports whether the id was processed within the retention. Another goroutine may mark the id right after:
// only Mark and Begin decide who processes it.
func (s *Scope) Contains(id string) (bool, error) {
	if !s.store.life.enter() {
		return false, ErrClosed
	}
	defer s.store.life.leave()
	answer := C.native_contains(s.handle, id)
	return answer.flag != 0, failure(answer.error)
}

// ContainsCorrelated is Contains for an id that was processed as part of this correlation.
func (s *Scope) ContainsCorrelated(id, correlation string) (bool, error) {
	answer, err := s.store.call(func() C.native_answer {
		return C.native_contains_correlated(s.handle, id, correlation)
	})
	return answer.flag != 0, err
}

// Find is the record of an id that was processed within the retention, or nil.
func (s *Scope) Find(id string) (*Record, error) {
	answer, err := s.store.call(func() C.native_answer { return C.native_find(s.handle, id) })
	if err != nil {
		return nil, err
	}
	defer C.oncelog_free(answer.handle)
	return recordOf((*C.oncelog_record)(answer.handle)), nil
}

// Mark marks the id as processed unless it is already: for each id exactly one caller gets Fresh within the retention.
// Attributes may be nil. Scope::mark in oncelog/scope.h says whether the id is marked after an error of the library.
func (s *Scope) Mark(ctx context.Context, id string, attributes *Attributes, ack Ack) (Marked, error) {
	if err := ctx.Err(); err != nil {
		return Marked{}, err
	}
	flat := flattenOne(attributes)
	if !s.store.waits(ack) {
		return s.mark(id, flat, ack)
	}
	return await(ctx, func() (Marked, error) { return s.mark(id, flat, ack) }, nil)
}

func (s *Scope) mark(id string, flat flatAttributes, ack Ack) (Marked, error) {
	if !s.store.life.enter() {
		return Marked{}, ErrClosed
	}
	defer s.store.life.leave()
	answer := C.native_mark(s.handle, id, bytesAt(flat.texts), flat.at(), C.oncelog_ack(ack))
	if err := failure(answer.error); err != nil {
		return Marked{}, err
	}
	return Marked{Verdict(answer.verdict), answer.flag != 0, LSN(answer.number)}, nil
}

// WaitUntilFree waits until the id is unclaimed, for as long as the patience and the context last; it takes no claim. It
// reports whether the id is.
func (s *Scope) WaitUntilFree(ctx context.Context, id string, wait time.Duration) (bool, error) {
	for left := newPatience(wait); ; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		now := left.next()
		answer, err := s.store.call(func() C.native_answer {
			return C.native_wait_until_free(s.handle, id, milliseconds(now))
		})
		if err != nil || answer.flag != 0 || now == 0 {
			return answer.flag != 0, err
		}
	}
}

// Forget is for operators: it makes a processed id fresh again, and reports whether it was a duplicate. AckDefault is
// AckDisk here.
func (s *Scope) Forget(ctx context.Context, id string, ack Ack) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	answer, err := await(ctx, func() (C.native_answer, error) {
		return s.store.call(func() C.native_answer { return C.native_forget(s.handle, id, C.oncelog_ack(ack)) })
	}, nil)
	return answer.flag != 0, err
}

// Release is for operators: it frees a claimed id, whoever holds it, and reports whether somebody did.
func (s *Scope) Release(id string) (bool, error) {
	answer, err := s.store.call(func() C.native_answer { return C.native_release(s.handle, id) })
	return answer.flag != 0, err
}

// ContainsBatch is Contains for many ids in one call: an answer for each, in order.
func (s *Scope) ContainsBatch(ids []string) ([]bool, error) {
	flat := flatten(ids)
	known := make([]bool, len(ids))
	_, err := s.store.call(func() C.native_answer {
		return C.native_contains_batch(s.handle, flat.count(), bytesAt(flat.data), flat.endsAt(), first[C.uint8_t](known))
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

// FindBatch is Find for many ids in one call: for each its record, or nil.
func (s *Scope) FindBatch(ids []string) ([]*Record, error) {
	flat := flatten(ids)
	answer, err := s.store.call(func() C.native_answer {
		return C.native_find_batch(s.handle, flat.count(), bytesAt(flat.data), flat.endsAt())
	})
	if err != nil {
		return nil, err
	}
	defer C.oncelog_free(answer.handle)
	found := make([]*Record, len(ids))
	if answer.handle != nil {
		for i, record := range unsafe.Slice((**C.oncelog_record)(answer.handle), len(ids)) {
			found[i] = recordOf(record)
		}
	}
	return found, nil
}

// MarkBatch is Mark for many ids in one call, in order. There is an element of attributes for each id, or none at all.
// Each id is marked atomically, the batch is not; Scope::mark says what holds after an error.
func (s *Scope) MarkBatch(ctx context.Context, ids []string, attributes []Attributes, ack Ack) ([]Marked, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(attributes) != 0 && len(attributes) != len(ids) {
		return nil, &Error{Code: ErrInvalidArgument, Sentence: "there must be attributes for each id or for none"}
	}
	flat := flatten(ids)
	var with flatAttributes
	for i := range attributes {
		with.add(&attributes[i])
	}
	if !s.store.waits(ack) {
		return s.markBatch(&flat, &with, ack)
	}
	return await(ctx, func() ([]Marked, error) { return s.markBatch(&flat, &with, ack) }, nil)
}

func (s *Scope) markBatch(ids *flatIDs, with *flatAttributes, ack Ack) ([]Marked, error) {
	count := len(ids.ends)
	verdicts, lsns, redelivered := make([]uint8, count), make([]uint64, count), make([]uint8, count)
	answer, err := s.store.call(func() C.native_answer {
		return C.native_mark_batch(s.handle, ids.count(), bytesAt(ids.data), ids.endsAt(), bytesAt(with.texts), with.at(),
			C.oncelog_ack(ack), first[C.oncelog_verdict](verdicts), first[C.uint64_t](lsns), first[C.uint8_t](redelivered))
	})
	if err != nil {
		return nil, err
	}
	if answer.flag != 0 {
		return nil, &Error{Code: ErrOutOfMemory, Sentence: "there is no memory for the attributes of a batch"}
	}
	marked := make([]Marked, count)
	for i := range marked {
		marked[i] = Marked{Verdict(verdicts[i]), redelivered[i] != 0, LSN(lsns[i])}
	}
	return marked, nil
}
