package oncelog

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrNotHeld is the error of releasing a lock that is not held: it was not taken, or it was lost. In the second case
// another one may have worked at the same time.
var ErrNotHeld = errors.New("oncelog: the lock is not held")

// IdempotencyStore is a scope behind the four methods that message handlers are usually written against. A handler that
// can be changed does better with Scope.Begin, which decides and claims in one step: between IsProcessed and
// MarkProcessed another worker may process the same id, unless both hold the same lock.
type IdempotencyStore struct {
	scope *Scope
	ctx   context.Context

	mutex sync.Mutex
	locks map[string]*Lock
}

// NewIdempotencyStore is for the ids of one consumer. The context ends the waits of all methods: the usual interface
// gives none to each. Locks are the store's, so that a key is the same lock in all scopes.
func NewIdempotencyStore(ctx context.Context, store *Store, scope string) (*IdempotencyStore, error) {
	ids, err := store.Scope(scope)
	if err != nil {
		return nil, err
	}
	return &IdempotencyStore{scope: ids, ctx: ctx, locks: map[string]*Lock{}}, nil
}

// IsProcessed reports whether the id was processed within the retention.
func (s *IdempotencyStore) IsProcessed(id string) (bool, error) { return s.scope.Contains(id) }

// MarkProcessed marks the id as processed. An id that is already is no error.
func (s *IdempotencyStore) MarkProcessed(id string) error {
	_, err := s.scope.Mark(s.ctx, id, nil, AckDefault)
	return err
}

// AcquireLock takes the lock of that key for `ttl`, unless another one holds it, and reports whether it was taken. It
// does not wait. The lock is this object's, whichever goroutine took it, until ReleaseLock or the end of the ttl.
func (s *IdempotencyStore) AcquireLock(key string, ttl time.Duration) (bool, error) {
	lock, err := s.scope.store.Lock(s.ctx, key, LockOptions{Lease: ttl})
	if err != nil || !lock.Held() {
		return false, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if lost := s.locks[key]; lost != nil {
		lost.Release()
	}
	s.locks[key] = lock
	return true, nil
}

// ReleaseLock releases the lock of that key. ErrNotHeld says that it is not held any more.
func (s *IdempotencyStore) ReleaseLock(key string) error {
	s.mutex.Lock()
	lock := s.locks[key]
	delete(s.locks, key)
	s.mutex.Unlock()
	if lock == nil {
		return ErrNotHeld
	}
	defer lock.Release()
	// What counts is whether it was lost. The new lease is for the moment until it is released. A lock is also released
	// when the context has ended.
	held, err := lock.Renew(context.Background(), time.Second)
	if err == nil && !held {
		err = ErrNotHeld
	}
	return err
}
