package oncelog

// #cgo pkg-config: oncelog
// #include "native.h"
import "C"

import (
	"context"
	"runtime"
	"runtime/cgo"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// NoCap is for Options.MaxBytes: no cap, also where one is stored.
const NoCap = ^uint64(0)

// Options say how to open a store. The zero value of each field is its default; oncelog_options in oncelog/c.h says what
// that is, and which fields a store at an address takes.
type Options struct {
	Retention              time.Duration // 1 ms to 100 years; 0: as stored, or 24 hours.
	Buckets                uint32        // 2 to 14; 0: as stored, or 8.
	Ack                    Ack           // What marks wait for; default: AckHost.
	NeverCreate            bool          // Where there is no store, ErrNotFound.
	ReadOnly               bool          // Accept no marks.
	AllowForeignOwner      bool          // Open a store whose files belong to neither this user nor root.
	AllowNetworkFilesystem bool          // Open a store on NFS, SMB, FUSE and the like.

	// OnDecision is called for each decision on an id, on the deciding thread. It costs a call from C to Go each.
	OnDecision func(Decision)
	// OnEvent is called for each event, with a sentence that explains it, on a thread of the library's, one at a time.
	OnEvent func(EventKind, string)

	MaxBytes      uint64        // Caps data.mdb, 1 MiB at least; 0: as stored. See NoCap.
	LiveDir       string        // Where the shared memory goes; empty: the store chooses.
	ExpectedIDs   uint64        // Ids per retention; 0: as stored, or a million.
	FlushInterval time.Duration // How often the background commits, 1 ms to 1 hour; 0: 50 ms.
	RingBytes     uint64        // Of the shared ring, a power of two; 0: as stored, or 16 MiB.
	MapBytes      uint64        // The most that data.mdb can grow to; 0: 256 GiB.
	MaxClaims     uint32        // Claims and locks held at once; 0: as stored, or 32,768.
	MaxReaders    uint32        // Threads that may read at once; 0: 1024.

	Timeout       time.Duration // Of a store at an address: the longest that a call waits for the server; 0: 5 s.
	Connections   uint32        // Connections that may be open at once, 1 to 1000; 0: 8.
	NearDirectory string        // A directory for the near tier; empty: none.
	NearStaleness time.Duration // How long what another host forgot may be a duplicate here; 0: a minute; negative: not at all.
}

// Store is a processed-message log, in a directory or at an address. Any number of processes may have one open at once.
type Store struct {
	handle *C.oncelog_store
	life   *life
	remote bool
	ack    Ack // What AckDefault means.

	mutex  sync.Mutex
	scopes map[scopeKey]*Scope
}

type scopeKey struct {
	name    string
	orphans OrphanPolicy
}

func flag(set bool) C.uint8_t {
	if set {
		return 1
	}
	return 0
}

func (o *Options) flat() C.native_options {
	flat := C.native_options{
		retention_ms:             milliseconds(o.Retention),
		flush_interval_ms:        milliseconds(o.FlushInterval),
		timeout_ms:               milliseconds(o.Timeout),
		near_staleness_ms:        milliseconds(o.NearStaleness),
		max_bytes:                C.uint64_t(o.MaxBytes),
		expected_ids:             C.uint64_t(o.ExpectedIDs),
		ring_bytes:               C.uint64_t(o.RingBytes),
		map_bytes:                C.uint64_t(o.MapBytes),
		buckets:                  C.uint32_t(o.Buckets),
		max_claims:               C.uint32_t(o.MaxClaims),
		max_readers:              C.uint32_t(o.MaxReaders),
		connections:              C.uint32_t(o.Connections),
		ack:                      C.uint8_t(o.Ack),
		never_create:             flag(o.NeverCreate),
		read_only:                flag(o.ReadOnly),
		allow_foreign_owner:      flag(o.AllowForeignOwner),
		allow_network_filesystem: flag(o.AllowNetworkFilesystem),
		on_decision:              flag(o.OnDecision != nil),
		on_event:                 flag(o.OnEvent != nil),
	}
	if o.NearStaleness < 0 {
		flat.near_staleness_ms = -1
	}
	return flat
}

// cString is a string of C's, or null for an empty one; the caller frees it.
func cString(text string) *C.char {
	if text == "" {
		return nil
	}
	return C.CString(text)
}

// Open opens the store in a directory, creating it unless the options forbid that, or the shared one at an address
// (postgresql://, redis://, redis+unix://, redis+cluster://), which needs the library oncelog-remote. Options may be nil.
// The context ends the wait for a server, or for another process that is opening the store.
func Open(ctx context.Context, directoryOrAddress string, options *Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &Options{}
	}
	if strings.ContainsRune(directoryOrAddress+options.LiveDir+options.NearDirectory, 0) {
		return nil, &Error{Code: ErrInvalidArgument, Sentence: "a path or an address cannot hold a NUL"}
	}
	copied := *options
	return await(ctx, func() (*Store, error) { return open(directoryOrAddress, &copied) }, (*Store).Close)
}

func open(place string, options *Options) (*Store, error) {
	cPlace := C.CString(place)
	defer C.free(unsafe.Pointer(cPlace))
	live, near := cString(options.LiveDir), cString(options.NearDirectory)
	defer C.free(unsafe.Pointer(live))
	defer C.free(unsafe.Pointer(near))
	var user cgo.Handle
	if options.OnDecision != nil || options.OnEvent != nil {
		user = cgo.NewHandle(&hooks{options.OnDecision, options.OnEvent}) // oncelogGoFreeHooks deletes it.
	}
	answer := C.native_open(cPlace, options.flat(), live, near, C.uintptr_t(user))
	if err := failure(answer.error); err != nil {
		return nil, err
	}
	s := &Store{
		handle: (*C.oncelog_store)(answer.handle),
		remote: strings.Contains(place, "://"),
		ack:    options.Ack,
		scopes: map[scopeKey]*Scope{},
	}
	handle, scopes := s.handle, s.scopes
	// Must not keep the store itself reachable. Nobody else can use the scopes when this runs.
	s.life = newLife(func() {
		for _, scope := range scopes {
			C.oncelog_scope_free(scope.handle)
		}
		C.oncelog_store_free(handle)
	})
	runtime.SetFinalizer(s, (*Store).Close)
	return s, nil
}

// Close flushes and closes the store, once the calls under way have ended and no claim or lock is held. It cannot report
// that the flush has failed: call Sync before, if you want to know. A second Close does nothing.
func (s *Store) Close() {
	runtime.SetFinalizer(s, nil)
	s.life.close()
}

// waits reports whether a mark with this acknowledgement may take long.
func (s *Store) waits(ack Ack) bool {
	return s.remote || ack == AckDisk || ack == AckDefault && s.ack == AckDisk
}

// call runs a call of C that answers an error alone or a number with it.
func (s *Store) call(run func() C.native_answer) (C.native_answer, error) {
	if !s.life.enter() {
		return C.native_answer{}, ErrClosed
	}
	defer s.life.leave()
	answer := run()
	return answer, failure(answer.error)
}

// Scopes are the names of all scopes that were ever used, oldest first.
func (s *Store) Scopes() ([]string, error) {
	answer, err := s.call(func() C.native_answer { return C.native_scopes(s.handle) })
	if err != nil {
		return nil, err
	}
	defer C.oncelog_free(answer.handle)
	names := make([]string, answer.count)
	for i, name := range unsafe.Slice((*C.oncelog_text)(answer.handle), len(names)) {
		names[i] = textOf(name)
	}
	return names, nil
}

// Durable is the LSN below which every record is on disk: what may be acknowledged to a broker.
func (s *Store) Durable() (LSN, error) {
	answer, err := s.call(func() C.native_answer { return C.native_durable(s.handle) })
	return LSN(answer.number), err
}

// WaitDurable returns when the record at `lsn` is on disk, flushing now, or when the context ends.
func (s *Store) WaitDurable(ctx context.Context, lsn LSN) error {
	return s.flush(ctx, func() C.native_answer { return C.native_wait(s.handle, C.uint64_t(lsn)) })
}

// Sync returns when every mark that returned before is on disk, or when the context ends.
func (s *Store) Sync(ctx context.Context) error {
	return s.flush(ctx, func() C.native_answer { return C.native_sync(s.handle) })
}

func (s *Store) flush(ctx context.Context, run func() C.native_answer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := await(ctx, func() (C.native_answer, error) { return s.call(run) }, nil)
	return err
}

// KnownSince is the moment since when every processed id is remembered.
func (s *Store) KnownSince() (time.Time, error) {
	answer, err := s.call(func() C.native_answer { return C.native_known_since(s.handle) })
	return timeOf(C.int64_t(answer.number)), err
}

// Metrics are the figures of the host and of this process, in Prometheus' text format.
func (s *Store) Metrics() (string, error) {
	answer, err := s.call(func() C.native_answer { return C.native_metrics(s.handle, C.ONCELOG_HOST_AND_PROCESS) })
	if err != nil {
		return "", err
	}
	defer C.oncelog_free(answer.handle)
	return C.GoStringN((*C.char)(answer.handle), C.int(answer.count)), nil
}

// Range says which records Scan visits.
type Range struct {
	Scope string    // Only this scope's; empty: all.
	Since time.Time // Processed at or after; the zero time: from the oldest on.
	Until time.Time // Processed before; the zero time: to the newest.
}

// Scan visits all live records of the range, oldest first, until the visitor returns false or the context ends.
func (s *Store) Scan(ctx context.Context, r Range, each func(*Record) bool) error {
	var since, until C.int64_t
	if !r.Since.IsZero() {
		since = C.int64_t(r.Since.UnixMicro())
	}
	if !r.Until.IsZero() {
		until = C.int64_t(r.Until.UnixMicro())
	}
	return s.visit(ctx, each, func(user C.uintptr_t) C.native_answer {
		return C.native_scan(s.handle, r.Scope, since, until, user)
	})
}

// Correlated visits all live records of a correlation over all scopes, oldest first, until the visitor returns false or
// the context ends.
func (s *Store) Correlated(ctx context.Context, correlation string, each func(*Record) bool) error {
	return s.visit(ctx, each, func(user C.uintptr_t) C.native_answer {
		return C.native_correlated(s.handle, correlation, user)
	})
}

func (s *Store) visit(ctx context.Context, each func(*Record) bool, run func(C.uintptr_t) C.native_answer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := visit{each: func(record *Record) bool { return ctx.Err() == nil && each(record) }}
	err := v.run(func(user C.uintptr_t) error {
		_, err := s.call(func() C.native_answer { return run(user) })
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// Version is the library's version, such as "0.1.0".
func Version() string { return C.GoString(C.oncelog_version()) }
