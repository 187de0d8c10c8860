package oncelog

// #include "native.h"
import "C"

import (
	"context"
	"runtime/cgo"
	"sync/atomic"
	"unsafe"
)

// Tx is what the function of Store.Transact gets: effects and marks that commit together. It is for the goroutine that
// the function runs on, until it returns. A call that fails makes it unusable: nothing is committed then.
type Tx struct {
	handle *C.oncelog_transaction // Nil once the function has returned.
	thread uintptr
	visits bool
}

var errTx = &Error{
	Code:     ErrInvalidArgument,
	Sentence: "the transaction has ended, visits its entries, or is used by another goroutine than its function's",
}

// call runs a call of C. A goroutine that C has called stays on its thread.
func (tx *Tx) call(run func() C.native_answer) (C.native_answer, error) {
	if tx.thread != uintptr(C.native_thread()) || tx.handle == nil || tx.visits {
		return C.native_answer{}, errTx
	}
	answer := run()
	return answer, failure(answer.error)
}

// transact is one call of Transact. Either the function begins, or the context ends the wait for it: whoever is first.
type transact struct {
	work     func(*Tx) error
	decided  atomic.Bool
	err      error
	panicked any
}

// Transact runs work and commits what it did with the Tx, synced. Where work returns an error or panics, nothing is
// committed, and that is what Transact returns or panics with. One transaction runs at a time over all processes, so be
// brief; within work, calls of this store that write to the disk themselves (Sync, WaitDurable, a new scope, Transact) are
// refused. The context ends the wait for another transaction; once work runs, Transact waits for it and the commit.
func (s *Store) Transact(ctx context.Context, work func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &transact{work: work}
	if ctx.Done() == nil {
		return t.run(s)
	}
	done := make(chan error, 1)
	go func() { done <- t.call(s) }()
	select {
	case err := <-done:
		return t.end(err)
	case <-ctx.Done():
		if t.decided.CompareAndSwap(false, true) {
			return ctx.Err() // Nothing is committed: the function is not called any more.
		}
		return t.end(<-done)
	}
}

func (t *transact) run(s *Store) error { return t.end(t.call(s)) }

func (t *transact) call(s *Store) error {
	user := cgo.NewHandle(t)
	defer user.Delete()
	_, err := s.call(func() C.native_answer { return C.native_transact(s.handle, C.uintptr_t(user)) })
	return err
}

// end is what Transact returns, once C's frames are left.
func (t *transact) end(err error) error {
	if t.panicked != nil {
		panic(t.panicked)
	}
	if t.err != nil {
		return t.err
	}
	return err
}

// Mark is Scope.Mark with the commit. The LSN of what is fresh is not known yet: 0.
func (tx *Tx) Mark(scope *Scope, id string, attributes *Attributes) (Marked, error) {
	flat := flattenOne(attributes)
	answer, err := tx.call(func() C.native_answer {
		return C.native_transaction_mark(tx.handle, scope.handle, id, bytesAt(flat.texts), flat.at())
	})
	if err != nil {
		return Marked{}, err
	}
	return Marked{Verdict(answer.verdict), answer.flag != 0, LSN(answer.number)}, nil
}

// Complete ends a claim with this commit. It reports false when the claim was lost, and nothing will be marked for it.
// Otherwise the transaction owns it, so that a rollback frees the id.
func (tx *Tx) Complete(claim *Claim, attributes *Attributes) (bool, error) {
	flat := flattenOne(attributes)
	handle := (*C.oncelog_claim)(claim.slot.take())
	if handle == nil {
		return false, errNotHeld
	}
	held := true
	defer func() { claim.slot.put(held) }()
	answer, err := tx.call(func() C.native_answer {
		answer := C.native_transaction_complete(tx.handle, handle, bytesAt(flat.texts), flat.at())
		held = answer.verdict != 0
		return answer
	})
	return answer.flag != 0, err
}

// Put sets the value of a key in a table of the caller's: 1 to 63 bytes for its name, 1 to 447 for the key.
func (tx *Tx) Put(table, key string, value []byte) error {
	_, err := tx.call(func() C.native_answer {
		return C.native_transaction_put(tx.handle, table, key, bytesAt(value), C.size_t(len(value)))
	})
	return err
}

// Get is what the table holds under the key, this transaction's own writes included; nil when there is no such key.
func (tx *Tx) Get(table, key string) ([]byte, error) {
	answer, err := tx.call(func() C.native_answer { return C.native_transaction_get(tx.handle, table, key) })
	if err != nil {
		return nil, err
	}
	return valueAt(answer.handle, answer.count), nil
}

// Erase removes a key, and reports whether it was there.
func (tx *Tx) Erase(table, key string) (bool, error) {
	answer, err := tx.call(func() C.native_answer { return C.native_transaction_erase(tx.handle, table, key) })
	return answer.flag != 0, err
}

// Scan visits the entries from key `from` on, in the order of their keys' bytes, until the visitor returns false. The Tx
// cannot be used meanwhile.
func (tx *Tx) Scan(table, from string, each func(key string, value []byte) bool) error {
	v := entryVisit{each: each}
	return v.run(func(user C.uintptr_t) error {
		_, err := tx.call(func() C.native_answer {
			tx.visits = true
			defer func() { tx.visits = false }()
			return C.native_transaction_scan(tx.handle, table, from, user)
		})
		return err
	})
}

// Get is the value of a table's key as of the newest commit; nil when there is no such key. It takes no lock.
func (s *Store) Get(table, key string) ([]byte, error) {
	answer, err := s.call(func() C.native_answer { return C.native_get(s.handle, table, key) })
	if err != nil {
		return nil, err
	}
	defer C.oncelog_free(answer.handle)
	return valueAt(answer.handle, answer.count), nil
}

// ScanTable visits the entries of a table from key `from` on, as of one commit, until the visitor returns false or the
// context ends. It pins that commit's pages meanwhile.
func (s *Store) ScanTable(ctx context.Context, table, from string, each func(key string, value []byte) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := entryVisit{each: func(key string, value []byte) bool { return ctx.Err() == nil && each(key, value) }}
	err := v.run(func(user C.uintptr_t) error {
		_, err := s.call(func() C.native_answer { return C.native_scan_table(s.handle, table, from, user) })
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// valueAt copies a value of C's, of which null is none.
func valueAt(value unsafe.Pointer, size C.size_t) []byte {
	if value == nil {
		return nil
	}
	return append([]byte{}, unsafe.Slice((*byte)(value), int(size))...)
}

// entryVisit is a visitor of entries, and what it has panicked with.
type entryVisit struct {
	each     func(key string, value []byte) bool
	panicked any
}

func (v *entryVisit) run(call func(C.uintptr_t) error) error {
	user := cgo.NewHandle(v)
	defer user.Delete()
	err := call(C.uintptr_t(user))
	if v.panicked != nil {
		panic(v.panicked)
	}
	return err
}
