package oncelog

// #include <pthread.h>
// #include <stdint.h>
// #include <oncelog/c.h>
import "C"

import (
	"fmt"
	"runtime/cgo"
	"runtime/debug"
	"time"
	"unsafe"
)

// Decision is one decision on an id.
type Decision struct {
	Scope       string
	ID          string
	Correlation string
	FirstSeen   time.Time // When the earlier record of a duplicate or conflict was made; else the zero time.
	Verdict     Verdict
}

// EventKind says what has happened to a store.
type EventKind uint8

// The kinds, as oncelog::StoreEventKind.
const (
	BucketDroppedEarly EventKind = C.ONCELOG_BUCKET_DROPPED_EARLY // MaxBytes made the store forget ids before their time.
	ClockFault         EventKind = C.ONCELOG_CLOCK_FAULT          // The wall clock is ahead of the boot clock.
	FlushFailed        EventKind = C.ONCELOG_FLUSH_FAILED         // A group commit failed. Marks are refused until one succeeds.
	FlushRecovered     EventKind = C.ONCELOG_FLUSH_RECOVERED      // A group commit succeeded after that.
	MemoryDamaged      EventKind = C.ONCELOG_MEMORY_DAMAGED       // Shared memory or hints on disk were damaged, and rebuilt.
	ServerForgot       EventKind = C.ONCELOG_SERVER_FORGOT        // A shared store's server has lost what it had answered.
	NearLeftOut        EventKind = C.ONCELOG_NEAR_LEFT_OUT        // The near tier cannot be used; the server is asked instead.
	NearInUse          EventKind = C.ONCELOG_NEAR_IN_USE          // The near tier is in use again after that.
)

// String is the kind's name, such as "flush_failed".
func (k EventKind) String() string {
	return C.GoString(C.oncelog_event_kind_name(C.oncelog_event_kind(k)))
}

// hooks is what C's `user` stands for, as a cgo.Handle: C may keep a number, but no pointer of Go's.
type hooks struct {
	onDecision func(Decision)
	onEvent    func(EventKind, string)
}

func valueOf[T any](user C.uintptr_t) T { return cgo.Handle(user).Value().(T) }

// endProcess is for a panic that must not unwind the frames of C++ between the hook and its caller, which may recover.
func endProcess() {
	if cause := recover(); cause != nil {
		stack := debug.Stack()
		go func() { panic(fmt.Sprintf("oncelog: a hook has panicked: %v\n%s", cause, stack)) }()
		select {}
	}
}

//export oncelogGoDecision
func oncelogGoDecision(decision *C.oncelog_decision, user C.uintptr_t) {
	defer endProcess()
	seen := Decision{
		Scope:       textOf(decision.scope),
		ID:          textOf(decision.id),
		Correlation: textOf(decision.correlation),
		Verdict:     Verdict(decision.verdict),
	}
	if decision.first_seen_us != 0 {
		seen.FirstSeen = timeOf(decision.first_seen_us)
	}
	valueOf[*hooks](user).onDecision(seen)
}

//export oncelogGoEvent
func oncelogGoEvent(kind C.oncelog_event_kind, sentence *C.char, user C.uintptr_t) {
	defer endProcess()
	valueOf[*hooks](user).onEvent(EventKind(kind), C.GoString(sentence))
}

//export oncelogGoFreeHooks
func oncelogGoFreeHooks(user C.uintptr_t) { cgo.Handle(user).Delete() }

// visit is a visitor of records, and what it has panicked with.
type visit struct {
	each     func(*Record) bool
	panicked any
}

// run calls what makes C visit, and continues a panic of the visitor's once C's frames are left.
func (v *visit) run(call func(C.uintptr_t) error) error {
	user := cgo.NewHandle(v)
	defer user.Delete()
	err := call(C.uintptr_t(user))
	if v.panicked != nil {
		panic(v.panicked)
	}
	return err
}

//export oncelogGoRecord
func oncelogGoRecord(record *C.oncelog_record, user C.uintptr_t) (stop C.int) {
	v := valueOf[*visit](user)
	stop = 1
	defer func() { v.panicked = recover() }()
	if v.each(recordOf(record)) {
		stop = 0
	}
	return stop
}

//export oncelogGoTransaction
func oncelogGoTransaction(transaction *C.oncelog_transaction, user C.uintptr_t) (stop C.int) {
	t := valueOf[*transact](user)
	if !t.decided.CompareAndSwap(false, true) {
		return 1
	}
	tx := &Tx{handle: transaction, thread: uintptr(C.pthread_self())}
	stop = 1
	defer func() {
		tx.handle = nil
		t.panicked = recover()
	}()
	if t.err = t.work(tx); t.err == nil {
		stop = 0
	}
	return stop
}

//export oncelogGoEntry
func oncelogGoEntry(key unsafe.Pointer, keySize C.size_t, value unsafe.Pointer, valueSize C.size_t, user C.uintptr_t) (stop C.int) {
	v := valueOf[*entryVisit](user)
	stop = 1
	defer func() { v.panicked = recover() }()
	if v.each(string(valueAt(key, keySize)), append([]byte{}, valueAt(value, valueSize)...)) {
		stop = 0
	}
	return stop
}
