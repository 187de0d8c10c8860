package oncelog_test

import (
	"errors"
	"testing"
	"time"

	"oncelog.dev/oncelog"
)

// What handlers are written against.
type idempotencyStore interface {
	IsProcessed(id string) (bool, error)
	MarkProcessed(id string) error
	AcquireLock(key string, ttl time.Duration) (bool, error)
	ReleaseLock(key string) error
}

func newIdempotencyStore(t *testing.T, store *oncelog.Store) idempotencyStore {
	return must[*oncelog.IdempotencyStore](t)(oncelog.NewIdempotencyStore(background, store, "orders"))
}

func TestAnIdempotencyStoreKnowsWhatWasMarked(t *testing.T) {
	ids := newIdempotencyStore(t, openStore(t, nil))
	same(t, "before", false, must[bool](t)(ids.IsProcessed("m-1")))
	same(t, "marking", nil, ids.MarkProcessed("m-1"))
	same(t, "marking again", nil, ids.MarkProcessed("m-1"))
	same(t, "after", true, must[bool](t)(ids.IsProcessed("m-1")))
	same(t, "an empty id", true, errors.Is(ids.MarkProcessed(""), oncelog.ErrInvalidArgument))
}

func TestAnIdempotencyStoresLockIsHeldOnce(t *testing.T) {
	store := openStore(t, nil)
	one, other := newIdempotencyStore(t, store), newIdempotencyStore(t, store)
	same(t, "the first", true, must[bool](t)(one.AcquireLock("k", time.Hour)))
	same(t, "the second", false, must[bool](t)(other.AcquireLock("k", time.Hour)))
	same(t, "the same again", false, must[bool](t)(one.AcquireLock("k", time.Hour)))
	same(t, "releasing another's", oncelog.ErrNotHeld, other.ReleaseLock("k"))
	same(t, "releasing", nil, one.ReleaseLock("k"))
	same(t, "releasing twice", oncelog.ErrNotHeld, one.ReleaseLock("k"))
	same(t, "when it is free", true, must[bool](t)(other.AcquireLock("k", time.Hour)))
}

func TestALockThatWasLostIsNotHeld(t *testing.T) {
	store := openStore(t, nil)
	one, other := newIdempotencyStore(t, store), newIdempotencyStore(t, store)
	for _, taker := range []idempotencyStore{other, one} {
		same(t, "the first", true, must[bool](t)(one.AcquireLock("k", time.Millisecond)))
		within(t, "the ttl", func() {
			for !must[bool](t)(taker.AcquireLock("k", time.Hour)) {
			}
		})
		if taker == other {
			same(t, "releasing what was lost", oncelog.ErrNotHeld, one.ReleaseLock("k"))
		}
		// Neither of these has released what the taker holds now.
		same(t, "a third", false, must[bool](t)(newIdempotencyStore(t, store).AcquireLock("k", time.Hour)))
		same(t, "releasing", nil, taker.ReleaseLock("k"))
	}
}
