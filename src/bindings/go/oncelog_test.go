package oncelog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oncelog.dev/oncelog"
)

var background = context.Background()

func must[T any](t testing.TB) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func openStore(t testing.TB, options *oncelog.Options) *oncelog.Store {
	t.Helper()
	if options == nil {
		options = &oncelog.Options{}
	}
	place := t.TempDir()
	// The shared memory goes with the folder.
	options.LiveDir = place
	store := must[*oncelog.Store](t)(oncelog.Open(background, place, options))
	t.Cleanup(store.Close)
	return store
}

func openScope(t testing.TB) (*oncelog.Store, *oncelog.Scope) {
	t.Helper()
	store := openStore(t, nil)
	return store, must[*oncelog.Scope](t)(store.Scope("orders"))
}

func same(t testing.TB, what string, wanted, got any) {
	t.Helper()
	if !reflect.DeepEqual(wanted, got) {
		t.Errorf("%s: wanted %v, got %v", what, wanted, got)
	}
}

// within fails the test when a wait has not ended long after it should have.
func within(t testing.TB, what string, wait func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); wait() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s has not ended", what)
	}
}

func begin(t testing.TB, scope *oncelog.Scope, id string) *oncelog.Claim {
	t.Helper()
	return must[*oncelog.Claim](t)(scope.Begin(background, id, oncelog.BeginOptions{Lease: time.Hour}))
}

func TestAnIDIsFreshOnce(t *testing.T) {
	_, orders := openScope(t)
	for _, ack := range []oncelog.Ack{oncelog.AckHost, oncelog.AckDisk} {
		id := fmt.Sprintf("m\x00%d", ack)
		first := must[oncelog.Marked](t)(orders.Mark(background, id, nil, ack))
		again := must[oncelog.Marked](t)(orders.Mark(background, id, nil, ack))
		same(t, "the first", oncelog.Fresh, first.Verdict)
		same(t, "the second", oncelog.Marked{Verdict: oncelog.Duplicate, LSN: first.LSN}, again)
		same(t, "contains", true, must[bool](t)(orders.Contains(id)))
	}
	same(t, "another id", false, must[bool](t)(orders.Contains("m")))
}

func TestARecordHoldsAllAttributes(t *testing.T) {
	store, orders := openScope(t)
	attributes := oncelog.Attributes{
		Correlation: "payment 7", Result: []byte("ok\x00"), Source: oncelog.Source{Name: "topic", Partition: 3, Offset: 9},
		Fingerprint: oncelog.Fingerprint([]byte("payload")),
	}
	marked := must[oncelog.Marked](t)(orders.Mark(background, "m-1", &attributes, oncelog.AckDefault))
	record := must[*oncelog.Record](t)(orders.Find("m-1"))
	if time.Since(record.ProcessedAt) > time.Hour || time.Since(record.ProcessedAt) < 0 {
		t.Errorf("processed at %v", record.ProcessedAt)
	}
	wanted := &oncelog.Record{
		Scope: "orders", ID: "m-1", Correlation: "payment 7", Result: []byte("ok\x00"), Source: attributes.Source,
		Fingerprint: attributes.Fingerprint, ProcessedAt: record.ProcessedAt, LSN: marked.LSN,
	}
	same(t, "the record", wanted, record)
	same(t, "no record", (*oncelog.Record)(nil), must[*oncelog.Record](t)(orders.Find("m-2")))
	same(t, "correlated", true, must[bool](t)(orders.ContainsCorrelated("m-1", "payment 7")))
	same(t, "correlated otherwise", false, must[bool](t)(orders.ContainsCorrelated("m-1", "payment 8")))
	again := must[oncelog.Marked](t)(orders.Mark(background, "m-1", &attributes, oncelog.AckDefault))
	same(t, "redelivered", true, again.Redelivered)
	other := oncelog.Attributes{Fingerprint: oncelog.Fingerprint([]byte("another"))}
	conflict := must[oncelog.Marked](t)(orders.Mark(background, "m-1", &other, oncelog.AckDefault))
	same(t, "another payload", oncelog.Conflict, conflict.Verdict)
	old := oncelog.Attributes{SentAt: time.Now().Add(-1000 * time.Hour)}
	tooOld := must[oncelog.Marked](t)(orders.Mark(background, "m-3", &old, oncelog.AckDefault))
	same(t, "a message that is older than the store", oncelog.TooOld, tooOld.Verdict)

	var visited []string
	visitor := func(r *oncelog.Record) bool { visited = append(visited, r.ID); return true }
	same(t, "visiting", nil, store.Correlated(background, "payment 7", visitor))
	same(t, "the correlation", []string{"m-1"}, visited)
}

func TestABatchAnswersAsSingleCallsDo(t *testing.T) {
	_, orders := openScope(t)
	ids := []string{"a", "bb", "a", "ccc"}
	attributes := []oncelog.Attributes{{Correlation: "x", Result: []byte("1")}, {}, {}, {Result: []byte("4"), Correlation: "yz"}}
	for _, ack := range []oncelog.Ack{oncelog.AckHost, oncelog.AckDisk} {
		marked := must[[]oncelog.Marked](t)(orders.MarkBatch(background, ids, attributes, ack))
		wanted := []oncelog.Verdict{oncelog.Fresh, oncelog.Fresh, oncelog.Duplicate, oncelog.Fresh}
		if ack == oncelog.AckDisk {
			wanted = []oncelog.Verdict{oncelog.Duplicate, oncelog.Duplicate, oncelog.Duplicate, oncelog.Duplicate}
		}
		for i, one := range marked {
			same(t, ids[i], wanted[i], one.Verdict)
			same(t, ids[i], must[*oncelog.Record](t)(orders.Find(ids[i])).LSN, one.LSN)
		}
	}
	known := must[[]bool](t)(orders.ContainsBatch([]string{"ccc", "d", "bb"}))
	same(t, "known", []bool{true, false, true}, known)
	found := must[[]*oncelog.Record](t)(orders.FindBatch([]string{"ccc", "d", "a"}))
	same(t, "found", []any{"yz", "4", "x", "1"},
		[]any{found[0].Correlation, string(found[0].Result), found[2].Correlation, string(found[2].Result)})
	same(t, "not found", (*oncelog.Record)(nil), found[1])

	same(t, "no ids", 0, len(must[[]bool](t)(orders.ContainsBatch(nil))))
	same(t, "no ids", 0, len(must[[]*oncelog.Record](t)(orders.FindBatch(nil))))
	same(t, "no ids", 0, len(must[[]oncelog.Marked](t)(orders.MarkBatch(background, nil, nil, oncelog.AckDefault))))
	_, err := orders.MarkBatch(background, ids, attributes[:2], oncelog.AckDefault)
	same(t, "attributes for some", true, errors.Is(err, oncelog.ErrInvalidArgument))
	_, err = orders.MarkBatch(background, []string{"e", ""}, nil, oncelog.AckDefault)
	same(t, "an empty id", true, errors.Is(err, oncelog.ErrInvalidArgument))
	same(t, "the id before it", false, must[bool](t)(orders.Contains("e")))
}

func TestAClaimIsHeldOnce(t *testing.T) {
	_, orders := openScope(t)
	claim := begin(t, orders, "m-1")
	other := begin(t, orders, "m-1")
	same(t, "verdicts", []oncelog.Verdict{oncelog.Fresh, oncelog.InProgress}, []oncelog.Verdict{claim.Verdict, other.Verdict})
	same(t, "held", []bool{true, false}, []bool{claim.Held(), other.Held()})
	same(t, "the owner", os.Getpid(), other.Owner.Process)
	same(t, "renewed", true, must[bool](t)(claim.Renew(background, time.Hour)))
	done := must[oncelog.Completed](t)(claim.Complete(background, &oncelog.Attributes{Result: []byte("r")}, oncelog.AckDisk))
	same(t, "in time", true, done.InTime)
	same(t, "held afterwards", false, claim.Held())
	_, err := claim.Complete(background, nil, oncelog.AckDefault)
	same(t, "completed twice", true, errors.Is(err, oncelog.ErrInvalidArgument))
	later := begin(t, orders, "m-1")
	same(t, "later", oncelog.Duplicate, later.Verdict)
	same(t, "the result", "r", string(later.Record.Result))

	abandoned := begin(t, orders, "m-2")
	abandoned.Abandon()
	abandoned.Abandon()
	again := begin(t, orders, "m-2")
	same(t, "after it was abandoned", oncelog.Fresh, again.Verdict)
	same(t, "released", true, must[bool](t)(orders.Release("m-2")))
	same(t, "renewed after it was lost", false, must[bool](t)(again.Renew(background, time.Hour)))
	late := must[oncelog.Completed](t)(again.Complete(background, nil, oncelog.AckDefault))
	same(t, "completed after it was lost", oncelog.Completed{}, late)
}

func TestABatchOfClaims(t *testing.T) {
	_, orders := openScope(t)
	held := begin(t, orders, "c")
	defer held.Abandon()
	batch := must[*oncelog.ClaimBatch](t)(orders.BeginBatch(background, []string{"a", "b", "c", "d"}, time.Hour))
	wanted := []oncelog.Verdict{oncelog.Fresh, oncelog.Fresh, oncelog.InProgress, oncelog.Fresh}
	same(t, "verdicts", wanted, batch.Verdicts)
	batch.AbandonFrom(2)
	same(t, "verdicts that are left", wanted[:2], batch.Verdicts)
	done := must[oncelog.CompletedBatch](t)(batch.Complete(background))
	same(t, "late", 0, done.Late)
	same(t, "known", []bool{true, true, false, false}, must[[]bool](t)(orders.ContainsBatch([]string{"a", "b", "c", "d"})))
	free := begin(t, orders, "d")
	same(t, "what was abandoned", oncelog.Fresh, free.Verdict)
	free.Abandon()
	empty := must[*oncelog.ClaimBatch](t)(orders.BeginBatch(background, nil, time.Hour))
	empty.Abandon()
}

func TestPatienceEndsWhenTheHolderDoes(t *testing.T) {
	store, orders := openScope(t)
	claim := begin(t, orders, "m-1")
	lock := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	waiting := make(chan struct{})
	go func() { <-waiting; claim.Abandon(); lock.Release() }()
	within(t, "the wait", func() {
		close(waiting)
		free := must[bool](t)(orders.WaitUntilFree(background, "m-1", oncelog.Forever))
		same(t, "free", true, free)
		options := oncelog.BeginOptions{Lease: time.Hour, Patience: oncelog.Forever}
		next := must[*oncelog.Claim](t)(orders.Begin(background, "m-1", options))
		same(t, "the verdict", oncelog.Fresh, next.Verdict)
		next.Abandon()
		taken := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour, Patience: oncelog.Forever}))
		same(t, "the lock", true, taken.Held())
		taken.Release()
	})
}

func TestPatienceEndsByItself(t *testing.T) {
	store, orders := openScope(t)
	defer begin(t, orders, "m-1").Abandon()
	lock := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	defer lock.Release()
	start := time.Now()
	options := oncelog.BeginOptions{Lease: time.Hour, Patience: 50 * time.Millisecond}
	claim := must[*oncelog.Claim](t)(orders.Begin(background, "m-1", options))
	same(t, "the verdict", oncelog.InProgress, claim.Verdict)
	other := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour, Patience: 50 * time.Millisecond}))
	same(t, "the lock", false, other.Held())
	same(t, "its owner", os.Getpid(), other.Owner.Process)
	same(t, "free", false, must[bool](t)(orders.WaitUntilFree(background, "m-1", 50*time.Millisecond)))
	if waited := time.Since(start); waited < 150*time.Millisecond {
		t.Errorf("waited %v only", waited)
	}
}

func TestAContextEndsEveryWait(t *testing.T) {
	store, orders := openScope(t)
	defer begin(t, orders, "m-1").Abandon()
	lock := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	defer lock.Release()
	waits := map[string]func(context.Context) error{
		"Begin": func(ctx context.Context) error {
			_, err := orders.Begin(ctx, "m-1", oncelog.BeginOptions{Lease: time.Hour, Patience: oncelog.Forever})
			return err
		},
		"WaitUntilFree": func(ctx context.Context) error {
			_, err := orders.WaitUntilFree(ctx, "m-1", oncelog.Forever)
			return err
		},
		"Lock": func(ctx context.Context) error {
			_, err := store.Lock(ctx, "l", oncelog.LockOptions{Lease: time.Hour, Patience: oncelog.Forever})
			return err
		},
	}
	for name, wait := range waits {
		ctx, cancel := context.WithTimeout(background, 30*time.Millisecond)
		within(t, name, func() { same(t, name, context.DeadlineExceeded, wait(ctx)) })
		cancel()
		same(t, name+" after the end", context.DeadlineExceeded, wait(ctx))
	}
}

func TestNothingIsDoneOnceTheContextHasEnded(t *testing.T) {
	store, orders := openScope(t)
	claim := begin(t, orders, "held")
	defer claim.Abandon()
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, opened := oncelog.Open(ctx, t.TempDir(), nil)
	_, marked := orders.Mark(ctx, "m-1", nil, oncelog.AckDefault)
	_, batch := orders.MarkBatch(ctx, []string{"m-1"}, nil, oncelog.AckDefault)
	_, begun := orders.Begin(ctx, "m-2", oncelog.BeginOptions{Lease: time.Hour})
	_, batchBegun := orders.BeginBatch(ctx, []string{"m-2"}, time.Hour)
	_, locked := store.Lock(ctx, "l", oncelog.LockOptions{Lease: time.Hour})
	_, forgotten := orders.Forget(ctx, "m-1", oncelog.AckDefault)
	_, completed := claim.Complete(ctx, nil, oncelog.AckDefault)
	_, renewed := claim.Renew(ctx, time.Hour)
	visited := store.Scan(ctx, oncelog.Range{}, func(*oncelog.Record) bool { t.Error("visited"); return true })
	for i, err := range []error{opened, marked, batch, begun, batchBegun, locked, forgotten, completed, renewed, visited,
		store.Sync(ctx), store.WaitDurable(ctx, 1)} {
		same(t, fmt.Sprint("call ", i), context.Canceled, err)
	}
	same(t, "marked", false, must[bool](t)(orders.Contains("m-1")))
	same(t, "still held", true, claim.Held())
	free := begin(t, orders, "m-2")
	same(t, "claimed", oncelog.Fresh, free.Verdict)
	free.Abandon()
}

// Contexts that end at any moment: after an error nothing may be held.
func TestNoClaimOutlivesItsContext(t *testing.T) {
	t.Run("here", func(t *testing.T) {
		store, orders := openScope(t)
		noClaimOutlivesItsContext(t, store, orders)
	})
	t.Run("as at a server", func(t *testing.T) {
		store, orders := openScope(t)
		store.WaitAsForAServer()
		noClaimOutlivesItsContext(t, store, orders)
	})
}

func noClaimOutlivesItsContext(t *testing.T, store *oncelog.Store, orders *oncelog.Scope) {
	var taken, ended atomic.Int64
	var workers sync.WaitGroup
	for worker := 0; worker < 4; worker++ {
		workers.Add(1)
		go func(worker int) {
			defer workers.Done()
			for i := 0; i < 200; i++ {
				ctx, cancel := context.WithTimeout(background, time.Duration(i*(worker+1)%97)*10*time.Microsecond)
				claim, err := orders.Begin(ctx, "m-1", oncelog.BeginOptions{Lease: time.Hour, Patience: oncelog.Forever})
				lock, lockErr := store.Lock(ctx, "l", oncelog.LockOptions{Lease: time.Hour, Patience: oncelog.Forever})
				if err == nil {
					taken.Add(1)
					claim.Abandon()
				} else {
					ended.Add(1)
				}
				if lockErr == nil {
					lock.Release()
				}
				cancel()
			}
		}(worker)
	}
	workers.Wait()
	if taken.Load() == 0 || ended.Load() == 0 {
		t.Fatalf("%d claims were taken and %d contexts ended", taken.Load(), ended.Load())
	}
	// What a server's answer has brought too late is given back in the background.
	const patience = 5 * time.Second
	free := must[bool](t)(orders.WaitUntilFree(background, "m-1", patience))
	same(t, "free", true, free)
	lock := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour, Patience: patience}))
	same(t, "the lock", true, lock.Held())
	lock.Release()
}

func TestCallsInTheBackgroundAnswerAsOthersDo(t *testing.T) {
	store, orders := openScope(t)
	store.WaitAsForAServer()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	claim := must[*oncelog.Claim](t)(orders.Begin(ctx, "m-1", oncelog.BeginOptions{Lease: time.Hour}))
	same(t, "renewed", true, must[bool](t)(claim.Renew(ctx, time.Hour)))
	completed := must[oncelog.Completed](t)(claim.Complete(ctx, &oncelog.Attributes{Result: []byte("r")}, oncelog.AckHost))
	same(t, "completed", true, completed.InTime)
	same(t, "held", false, claim.Held())
	same(t, "the result", "r", string(must[*oncelog.Record](t)(orders.Find("m-1")).Result))
	batch := must[*oncelog.ClaimBatch](t)(orders.BeginBatch(ctx, []string{"m-1", "m-2"}, time.Hour))
	same(t, "verdicts", []oncelog.Verdict{oncelog.Duplicate, oncelog.Fresh}, batch.Verdicts)
	must[oncelog.CompletedBatch](t)(batch.Complete(ctx))
	marked := must[[]oncelog.Marked](t)(orders.MarkBatch(ctx, []string{"m-2", "m-3"}, nil, oncelog.AckHost))
	same(t, "marked", []oncelog.Verdict{oncelog.Duplicate, oncelog.Fresh}, []oncelog.Verdict{marked[0].Verdict, marked[1].Verdict})
	lock := must[*oncelog.Lock](t)(store.Lock(ctx, "l", oncelog.LockOptions{Lease: time.Hour}))
	same(t, "the lock", true, must[bool](t)(lock.Renew(ctx, time.Hour)))
	lock.Release()
}

// What a context has ended in the midst of waiting for the disk is finished, and holds nothing.
func TestACompletionIsFinishedInTheBackground(t *testing.T) {
	_, orders := openScope(t)
	ended := 0
	for i := 0; i < 200; i++ {
		id := fmt.Sprint("m-", i)
		claim := begin(t, orders, id)
		ctx, cancel := context.WithTimeout(background, time.Duration(i)*5*time.Microsecond)
		_, err := claim.Complete(ctx, nil, oncelog.AckDisk)
		if err != nil {
			same(t, "the error", context.DeadlineExceeded, err)
			ended++
			claim.Abandon()
		}
		same(t, "held", false, claim.Held())
		cancel()
		free := must[bool](t)(orders.WaitUntilFree(background, id, 10*time.Second))
		same(t, "free in the end", true, free)
	}
	if ended == 0 {
		t.Fatal("no context has ended in time")
	}
}

func TestALockIsHeldOnce(t *testing.T) {
	store, _ := openScope(t)
	lock := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	other := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	same(t, "held", []bool{true, false}, []bool{lock.Held(), other.Held()})
	same(t, "renewed", []bool{true, false},
		[]bool{must[bool](t)(lock.Renew(background, time.Hour)), must[bool](t)(other.Renew(background, time.Hour))})
	lock.Release()
	lock.Release()
	next := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	if !next.Held() || next.Token <= lock.Token {
		t.Errorf("token %d after %d", next.Token, lock.Token)
	}
	next.Release()
}

func TestErrorsHaveACodeAndASentence(t *testing.T) {
	place := t.TempDir() + "/none"
	_, err := oncelog.Open(background, place, &oncelog.Options{NeverCreate: true})
	var failed *oncelog.Error
	if !errors.Is(err, oncelog.ErrNotFound) || errors.Is(err, oncelog.ErrFull) || !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(failed.Sentence, place) || !strings.Contains(failed.Path, place) {
		t.Errorf("%q does not name %q", failed.Sentence, place)
	}
	same(t, "the code's name", "not_found", oncelog.ErrNotFound.Error())
	_, err = oncelog.Open(background, place+"\x00x", nil)
	same(t, "a NUL in a path", true, errors.Is(err, oncelog.ErrInvalidArgument))
}

func TestAClosedStoreRefusesCalls(t *testing.T) {
	store, orders := openScope(t)
	claim := begin(t, orders, "m-1")
	store.Close()
	store.Close()
	_, contains := orders.Contains("m-1")
	_, marked := orders.Mark(background, "m-2", nil, oncelog.AckDisk)
	_, begun := orders.Begin(background, "m-2", oncelog.BeginOptions{Lease: time.Hour})
	_, scope := store.Scope("orders")
	_, scopes := store.Scopes()
	for i, err := range []error{contains, marked, begun, scope, scopes, store.Sync(background)} {
		same(t, fmt.Sprint("call ", i), oncelog.ErrClosed, err)
	}
	done := must[oncelog.Completed](t)(claim.Complete(background, nil, oncelog.AckDisk))
	same(t, "a claim that was held", true, done.InTime)
}

func TestCloseIsSafeWhileCallsRun(t *testing.T) {
	for round := 0; round < 5; round++ {
		store, orders := openScope(t)
		started := make(chan struct{}, 4)
		var workers sync.WaitGroup
		for worker := 0; worker < 4; worker++ {
			workers.Add(1)
			go func(worker int) {
				defer workers.Done()
				started <- struct{}{}
				for i := 0; ; i++ {
					_, err := orders.Mark(background, fmt.Sprint(worker, "-", i), nil, oncelog.AckHost)
					if err != nil {
						same(t, "the error", oncelog.ErrClosed, err)
						return
					}
				}
			}(worker)
		}
		<-started
		store.Close()
		workers.Wait()
	}
}

// deep calls work that many frames further down.
//
//go:noinline
func deep(frames int, work func()) int {
	if frames == 0 {
		work()
		return 0
	}
	return deep(frames-1, work) + 1
}

// Wherever a callback makes the stack too small, so that the runtime moves it and looks at each pointer on it.
func TestCallbacksMayGrowTheStack(t *testing.T) {
	decisions := 0
	store := openStore(t, &oncelog.Options{OnDecision: func(oncelog.Decision) { decisions++ }})
	orders := must[*oncelog.Scope](t)(store.Scope("orders"))
	for frames := 0; frames < 500; frames++ {
		done := make(chan struct{})
		go func() { // On a stack that is small again.
			defer close(done)
			deep(frames, func() {
				_, err := orders.Mark(background, "m-1", nil, oncelog.AckHost)
				same(t, "marking", nil, err)
			})
		}()
		<-done
		done = make(chan struct{})
		go func() {
			defer close(done)
			deep(frames, func() {
				visitor := func(*oncelog.Record) bool { return true }
				same(t, "visiting", nil, store.Scan(background, oncelog.Range{}, visitor))
			})
		}()
		<-done
	}
	same(t, "decisions", 500, decisions)
}

func TestHooksSeeDecisionsAndMayUseTheStore(t *testing.T) {
	var store *oncelog.Store
	var seen []string
	options := oncelog.Options{OnDecision: func(d oncelog.Decision) {
		if _, err := store.Durable(); err != nil {
			t.Error(err)
		}
		seen = append(seen, fmt.Sprint(d.Scope, " ", d.ID, " ", d.Correlation, " ", d.Verdict, " ", d.FirstSeen.IsZero()))
	}}
	store = openStore(t, &options)
	orders := must[*oncelog.Scope](t)(store.Scope("orders"))
	for i := 0; i < 2; i++ {
		must[oncelog.Marked](t)(orders.Mark(background, "m-1", &oncelog.Attributes{Correlation: "c"}, oncelog.AckDefault))
	}
	same(t, "seen", []string{"orders m-1 c fresh true", "orders m-1 c duplicate false"}, seen)
}

func TestAVisitorsPanicComesOutOfScan(t *testing.T) {
	store, orders := openScope(t)
	must[[]oncelog.Marked](t)(orders.MarkBatch(background, []string{"a", "b", "c"}, nil, oncelog.AckDefault))
	visited := 0
	func() {
		defer func() { same(t, "the panic", "stop", recover()) }()
		_ = store.Scan(background, oncelog.Range{}, func(*oncelog.Record) bool { visited++; panic("stop") })
	}()
	same(t, "visited", 1, visited)
	same(t, "scanning", nil, store.Scan(background, oncelog.Range{Scope: "orders"}, func(*oncelog.Record) bool { visited++; return visited < 3 }))
	same(t, "visited until false", 3, visited)
	same(t, "scanning", nil, store.Scan(background, oncelog.Range{Until: time.Now().Add(-time.Hour)}, func(*oncelog.Record) bool { t.Error("visited"); return true }))
}

func TestAHooksPanicEndsTheProcess(t *testing.T) {
	const variable = "ONCELOG_TEST_PANIC"
	if os.Getenv(variable) != "" {
		store := openStore(t, &oncelog.Options{OnDecision: func(oncelog.Decision) { panic("a fault") }})
		defer func() { _ = recover() }()
		orders := must[*oncelog.Scope](t)(store.Scope("orders"))
		_, _ = orders.Mark(background, "m-1", nil, oncelog.AckDefault)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestAHooksPanicEndsTheProcess$")
	child.Env = append(os.Environ(), variable+"=1")
	output, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "a hook has panicked: a fault") {
		t.Errorf("%v: %s", err, output)
	}
}

// Handles that a program forgets are freed by the garbage collector.
func TestTheGarbageCollectorFreesWhatIsForgotten(t *testing.T) {
	store, orders := openScope(t)
	forgetful := func() {
		begin(t, orders, "m-1")
		must[*oncelog.ClaimBatch](t)(orders.BeginBatch(background, []string{"m-2"}, time.Hour))
		must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
	}
	forgetful()
	freed := func() bool {
		one := must[bool](t)(orders.WaitUntilFree(background, "m-1", 0))
		two := must[bool](t)(orders.WaitUntilFree(background, "m-2", 0))
		lock := must[*oncelog.Lock](t)(store.Lock(background, "l", oncelog.LockOptions{Lease: time.Hour}))
		defer lock.Release()
		return one && two && lock.Held()
	}
	within(t, "the collection", func() {
		for !freed() {
			runtime.GC()
			runtime.Gosched()
		}
	})
}

func TestFiguresAndNames(t *testing.T) {
	store, orders := openScope(t)
	marked := must[oncelog.Marked](t)(orders.Mark(background, "m-1", nil, oncelog.AckDefault))
	same(t, "waiting", nil, store.WaitDurable(background, marked.LSN))
	if durable := must[oncelog.LSN](t)(store.Durable()); durable <= marked.LSN {
		t.Errorf("durable below %d, not above %d", durable, marked.LSN)
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	same(t, "syncing", nil, store.Sync(ctx))
	same(t, "scopes", []string{"orders"}, must[[]string](t)(store.Scopes()))
	same(t, "the name", "orders", orders.Name())
	if metrics := must[string](t)(store.Metrics()); !strings.Contains(metrics, "# TYPE oncelog_") {
		t.Errorf("metrics: %s", metrics)
	}
	if since := must[time.Time](t)(store.KnownSince()); time.Since(since) < 23*time.Hour || time.Since(since) > 25*time.Hour {
		t.Errorf("known since %v", since)
	}
	same(t, "forgotten", true, must[bool](t)(orders.Forget(background, "m-1", oncelog.AckDefault)))
	same(t, "known afterwards", false, must[bool](t)(orders.Contains("m-1")))
	same(t, "an event's name", "flush_failed", oncelog.FlushFailed.String())
	if oncelog.Version() == "" {
		t.Error("no version")
	}
}
