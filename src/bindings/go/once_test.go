package oncelog_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oncelog.dev/oncelog"
)

func never(context.Context) ([]byte, error) { panic("it was run") }

func gives(result string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(result), nil }
}

func TestALaterCallerGetsTheFirstOnesResult(t *testing.T) {
	_, orders := openScope(t)
	with := oncelog.OnceOptions{Attributes: &oncelog.Attributes{Fingerprint: 7, Correlation: "order 1"}, Ack: oncelog.AckDisk}
	first := must[oncelog.OnceResult](t)(orders.Once(background, "o-1", with, gives("page\x007")))
	same(t, "the first", oncelog.OnceResult{Verdict: oncelog.Fresh, Ran: true, Result: []byte("page\x007"), LSN: first.LSN}, first)
	again := must[oncelog.OnceResult](t)(orders.Once(background, "o-1", with, never))
	same(t, "another", oncelog.OnceResult{Verdict: oncelog.Duplicate, Result: []byte("page\x007"), LSN: first.LSN}, again)
	same(t, "the record", "order 1", must[*oncelog.Record](t)(orders.Find("o-1")).Correlation)
	with.Attributes.Fingerprint = 8
	other := must[oncelog.OnceResult](t)(orders.Once(background, "o-1", with, never))
	same(t, "another payload", oncelog.OnceResult{Verdict: oncelog.Conflict, LSN: first.LSN}, other)
}

func TestAFailureOfTheWorkFreesTheID(t *testing.T) {
	_, orders := openScope(t)
	failed := errors.New("no paper")
	_, err := orders.Once(background, "o-2", oncelog.OnceOptions{}, func(context.Context) ([]byte, error) { return nil, failed })
	same(t, "the work's error", failed, err)
	func() {
		defer func() { same(t, "the panic", "it was run", recover()) }()
		_, _ = orders.Once(background, "o-2", oncelog.OnceOptions{}, never)
	}()
	same(t, "ran", true, must[oncelog.OnceResult](t)(orders.Once(background, "o-2", oncelog.OnceOptions{}, gives("done"))).Ran)
	for _, wrong := range []oncelog.OnceOptions{
		{Lease: -1 * time.Second}, {MaxRuntime: -1 * time.Second}, {Attributes: &oncelog.Attributes{Result: []byte("r")}},
	} {
		if _, err := orders.Once(background, "o-3", wrong, gives("")); !errors.Is(err, oncelog.ErrInvalidArgument) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	same(t, "free", true, must[bool](t)(orders.WaitUntilFree(background, "o-3", 0)))
}

func TestAnotherOnesRunIsWaitedFor(t *testing.T) {
	_, orders := openScope(t)
	var runs atomic.Int32
	entered, leave := make(chan struct{}), make(chan struct{})
	work := func(context.Context) ([]byte, error) {
		runs.Add(1)
		close(entered)
		<-leave
		return []byte("once"), nil
	}
	var group sync.WaitGroup
	for i := 0; i < 3; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			once, err := orders.Once(background, "o-4", oncelog.OnceOptions{Patience: oncelog.Forever}, work)
			if err != nil || string(once.Result) != "once" {
				t.Errorf("%+v, %v", once, err)
			}
		}()
	}
	<-entered
	impatient := must[oncelog.OnceResult](t)(orders.Once(background, "o-4", oncelog.OnceOptions{Patience: -1}, never))
	same(t, "without patience", oncelog.OnceResult{Verdict: oncelog.InProgress}, impatient)
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := orders.Once(ctx, "o-4", oncelog.OnceOptions{}, never)
	same(t, "without time", context.Canceled, err)
	close(leave)
	group.Wait()
	same(t, "runs", int32(1), runs.Load())
}

func TestWorkThatIsDoneIsMarkedThoughItsContextHasEnded(t *testing.T) {
	store, orders := openScope(t)
	store.WaitAsForAServer()
	ctx, cancel := context.WithCancel(background)
	once := must[oncelog.OnceResult](t)(orders.Once(ctx, "o-5", oncelog.OnceOptions{}, func(given context.Context) ([]byte, error) {
		cancel()
		return []byte("done"), nil
	}))
	same(t, "the verdict", oncelog.Fresh, once.Verdict)
	same(t, "marked", true, must[bool](t)(orders.Contains("o-5")))
}

func TestARunThatHasLostItsIDSaysSo(t *testing.T) {
	_, orders := openScope(t)
	lose := func(result []byte) oncelog.OnceResult {
		return must[oncelog.OnceResult](t)(orders.Once(background, "o-6", oncelog.OnceOptions{}, func(context.Context) ([]byte, error) {
			must[bool](t)(orders.Release("o-6"))
			if result != nil {
				must[oncelog.Marked](t)(orders.Mark(background, "o-6", &oncelog.Attributes{Result: result}, oncelog.AckHost))
			}
			return []byte("dropped"), nil
		}))
	}
	same(t, "lost", oncelog.OnceResult{Verdict: oncelog.InProgress, Ran: true}, lose(nil))
	late := lose([]byte("other's"))
	same(t, "late", oncelog.OnceResult{Verdict: oncelog.Duplicate, Ran: true, Result: []byte("other's"), LSN: late.LSN}, late)
}

func TestAClaimIsKeptAlive(t *testing.T) {
	_, orders := openScope(t)
	owner := func(id string) *oncelog.Owner { return begin(t, orders, id).Owner }
	claim := must[*oncelog.Claim](t)(orders.Begin(background, "o-7", oncelog.BeginOptions{Lease: 3 * time.Second}))
	same(t, "held", true, must[bool](t)(claim.KeepAlive(background, time.Hour)))
	before := owner("o-7").Deadline
	within(t, "renewing", func() {
		// The deadline is an estimate; a renewal moves it by a third of the lease.
		for owner("o-7").Deadline.Sub(before) < 500*time.Millisecond {
			time.Sleep(time.Millisecond)
		}
	})
	same(t, "held", true, must[bool](t)(claim.KeepAlive(background, time.Millisecond)))
	same(t, "free", true, must[bool](t)(orders.WaitUntilFree(background, "o-7", oncelog.Forever)))
	claim.Abandon()
	same(t, "abandoned", false, must[bool](t)(claim.KeepAlive(background, time.Hour)))
}

func TestEffectsAndMarksCommitTogether(t *testing.T) {
	store, orders := openScope(t)
	claim := begin(t, orders, "t-2")
	var ended *oncelog.Tx
	same(t, "transact", nil, store.Transact(background, func(tx *oncelog.Tx) error {
		ended = tx
		marked := must[oncelog.Marked](t)(tx.Mark(orders, "t-1", &oncelog.Attributes{Result: []byte("r")}))
		same(t, "marked", oncelog.Marked{Verdict: oncelog.Fresh}, marked)
		same(t, "owned", true, must[bool](t)(tx.Complete(claim, nil)))
		for i, key := range []string{"a", "b", "c"} {
			same(t, "put", nil, tx.Put("t", key, []byte("value")[:i]))
		}
		same(t, "empty", []byte{}, must[[]byte](t)(tx.Get("t", "a")))
		same(t, "absent", []byte(nil), must[[]byte](t)(tx.Get("t", "z")))
		same(t, "erased", true, must[bool](t)(tx.Erase("t", "c")))
		same(t, "erased", false, must[bool](t)(tx.Erase("t", "c")))
		var keys []string
		same(t, "scan", nil, tx.Scan("t", "", func(key string, value []byte) bool {
			keys = append(keys, key+"="+string(value))
			if err := tx.Put("t", "d", nil); !errors.Is(err, oncelog.ErrInvalidArgument) {
				t.Errorf("within a visit: %v", err)
			}
			return true
		}))
		same(t, "entries", []string{"a=", "b=v"}, keys)
		elsewhere := make(chan error)
		go func() { elsewhere <- tx.Put("t", "d", nil) }()
		if err := <-elsewhere; !errors.Is(err, oncelog.ErrInvalidArgument) {
			t.Errorf("in another goroutine: %v", err)
		}
		return nil
	}))
	same(t, "held", false, claim.Held())
	same(t, "known", []bool{true, true}, must[[]bool](t)(orders.ContainsBatch([]string{"t-1", "t-2"})))
	same(t, "value", []byte("v"), must[[]byte](t)(store.Get("t", "b")))
	same(t, "absent", []byte(nil), must[[]byte](t)(store.Get("t", "d")))
	var keys []string
	same(t, "scan", nil, store.ScanTable(background, "t", "", func(key string, _ []byte) bool {
		keys = append(keys, key)
		return false
	}))
	same(t, "keys", []string{"a"}, keys)
	if err := ended.Put("t", "d", nil); !errors.Is(err, oncelog.ErrInvalidArgument) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWhatFailsIsRolledBack(t *testing.T) {
	store, orders := openScope(t)
	failed := errors.New("no")
	for name, end := range map[string]func(*oncelog.Tx) error{
		"an error":         func(*oncelog.Tx) error { return failed },
		"a panic":          func(*oncelog.Tx) error { panic(failed) },
		"a call's failure": func(tx *oncelog.Tx) error { _ = tx.Put("", "k", nil); return nil },
	} {
		claim := begin(t, orders, "t-4")
		var got any
		func() {
			defer func() {
				if cause := recover(); cause != nil {
					got = cause
				}
			}()
			ctx, cancel := context.WithCancel(background)
			defer cancel()
			got = store.Transact(ctx, func(tx *oncelog.Tx) error {
				must[oncelog.Marked](t)(tx.Mark(orders, "t-3", nil))
				must[bool](t)(tx.Complete(claim, nil))
				same(t, "put", nil, tx.Put("t", "k", nil))
				return end(tx)
			})
		}()
		if got != failed && !errors.Is(got.(error), oncelog.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, got)
		}
		same(t, name, false, must[bool](t)(orders.Contains("t-3")))
		same(t, name, []byte(nil), must[[]byte](t)(store.Get("t", "k")))
	}
}

func TestAContextEndsTheWaitForAnotherTransaction(t *testing.T) {
	store, _ := openScope(t)
	ctx, cancel := context.WithCancel(background)
	same(t, "the first", nil, store.Transact(background, func(*oncelog.Tx) error {
		waiting := make(chan error)
		go func() { waiting <- store.Transact(ctx, func(*oncelog.Tx) error { panic("it was run") }) }()
		cancel()
		same(t, "the second", context.Canceled, <-waiting)
		return nil
	}))
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := 0; j < 5; j++ {
				same(t, "adding", nil, store.Transact(background, func(tx *oncelog.Tx) error {
					value, err := tx.Get("t", "n")
					if err != nil {
						return err
					}
					return tx.Put("t", "n", append(value, 'x'))
				}))
			}
		}()
	}
	group.Wait()
	same(t, "sum", 20, len(must[[]byte](t)(store.Get("t", "n"))))
}
