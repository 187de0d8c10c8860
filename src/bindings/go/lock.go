package oncelog

// #include "native.h"
import "C"

import (
	"context"
	"runtime"
	"time"
	"unsafe"
)

// LockOptions say how Lock takes a lock.
type LockOptions struct {
	Lease    time.Duration // How long the lock lasts unless it is renewed, 1 ms to 100 years.
	Patience time.Duration // How long to wait while another one holds it; 0: not at all. See Forever.
}

// Lock is a named lock of a store. The names live in a namespace of their own.
type Lock struct {
	Token uint64 // The fencing token, to be passed to whatever the work writes to; 0 when nothing was taken.
	Owner *Owner // Who held it, when it was not taken.

	store *Store
	slot  slot
}

func freeLock(handle unsafe.Pointer) { C.oncelog_lock_free((*C.oncelog_lock)(handle)) }

// Lock takes the lock of that name. It never waits for longer than the patience and the context last; Held says whether
// the lock was taken.
func (s *Store) Lock(ctx context.Context, name string, options LockOptions) (*Lock, error) {
	for left := newPatience(options.Patience); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		now := left.next()
		lock, err := s.lockWithin(ctx, name, options.Lease, now)
		if err != nil || lock.Held() || now == 0 {
			return lock, err
		}
	}
}

// lockWithin is Lock for a patience so short that only a server can make it long.
func (s *Store) lockWithin(ctx context.Context, name string, lease, wait time.Duration) (*Lock, error) {
	take := func() (*Lock, error) { return s.lock(name, lease, wait) }
	if s.remote {
		return await(ctx, take, (*Lock).Release)
	}
	lock, err := take()
	if err == nil && ctx.Err() != nil {
		lock.Release()
		return nil, ctx.Err()
	}
	return lock, err
}

func (s *Store) lock(name string, lease, wait time.Duration) (*Lock, error) {
	answer, err := s.call(func() C.native_answer {
		return C.native_lock(s.handle, name, milliseconds(lease), milliseconds(wait))
	})
	if err != nil {
		return nil, err
	}
	handle := (*C.oncelog_lock)(answer.handle)
	lock := &Lock{Token: uint64(C.oncelog_lock_token(handle)), store: s}
	if C.oncelog_lock_held(handle) == 0 {
		lock.Owner = ownerOf(C.native_lock_owner(handle))
		C.oncelog_lock_free(handle)
		return lock, nil
	}
	lock.slot.free, lock.slot.handle = freeLock, answer.handle
	runtime.SetFinalizer(lock, (*Lock).Release)
	return lock, nil
}

// Held reports whether this lock is held: it was taken and not released. It does not detect that the lease has expired:
// call Renew.
func (l *Lock) Held() bool { return l.slot.held() }

// Renew sets the lease to expire `lease` from now, and reports whether the lock is held.
func (l *Lock) Renew(ctx context.Context, lease time.Duration) (bool, error) {
	return l.slot.renew(ctx, l.store.remote, func(handle unsafe.Pointer) C.native_answer {
		return C.native_lock_renew((*C.oncelog_lock)(handle), milliseconds(lease))
	})
}

// Release frees the lock at once. Nothing happens when it is not held.
func (l *Lock) Release() {
	runtime.SetFinalizer(l, nil)
	l.slot.drop()
}
