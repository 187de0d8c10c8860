package oncelog

import (
	"context"
	"math"
	"time"
)

// Forever is the patience of a caller whose context alone ends a wait.
const Forever = time.Duration(math.MaxInt64)

// The longest that C waits before the context is looked at again.
const slice = 20 * time.Millisecond

type answer[T any] struct {
	value T
	err   error
}

// await runs a call that may wait, and returns when it has ended or the context has. In the second case the call is
// finished in the background, and `late` gets what it returned, unless that is an error.
func await[T any](ctx context.Context, call func() (T, error), late func(T)) (T, error) {
	if ctx.Done() == nil {
		return call()
	}
	answers := make(chan answer[T], 1)
	go func() {
		value, err := call()
		answers <- answer[T]{value, err}
	}()
	select {
	case got := <-answers:
		return got.value, got.err
	case <-ctx.Done():
		go func() {
			if got := <-answers; got.err == nil && late != nil {
				late(got.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}

// patience counts down what is left of a wait.
type patience struct {
	total time.Duration
	since time.Time
}

func newPatience(total time.Duration) patience { return patience{total, time.Now()} }

// next is how long C may wait now: 0 when nothing is left.
func (p *patience) next() time.Duration {
	left := p.total - time.Since(p.since)
	switch {
	case left <= 0:
		return 0
	case left < slice:
		return left
	}
	return slice
}
