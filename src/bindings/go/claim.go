package oncelog

// #include "native.h"
import "C"

import (
	"context"
	"runtime"
	"time"
	"unsafe"
)

// Owner is who holds a claim or a lock.
type Owner struct {
	Process  int       // The process's id.
	Deadline time.Time // When the lease expires: an estimate by the wall clock.
}

func ownerOf(owner C.oncelog_owner) *Owner {
	if owner.size == 0 {
		return nil
	}
	return &Owner{int(owner.process), timeOf(owner.deadline_us)}
}

// BeginOptions say how Begin claims an id.
type BeginOptions struct {
	Lease      time.Duration // How long the claim lasts unless it is renewed, 1 ms to 100 years.
	Patience   time.Duration // How long to wait while another one holds the id; 0: not at all. See Forever.
	Attributes *Attributes   // Optional.
}

// Claim is the right to process one message: process, then Complete. While it is held, no other goroutine or process
// gets the id.
type Claim struct {
	Verdict     Verdict // Fresh when the claim was taken.
	Token       uint64  // The fencing token, to be passed to whatever the work writes to; 0 when nothing was taken.
	Redelivered bool    // Whether the duplicate came from the source that its record came from.
	Record      *Record // Of a Duplicate or Conflict; nil for others, and when it has expired since.
	Owner       *Owner  // Who holds the id, when it is InProgress.

	store *Store
	slot  slot
}

func freeClaim(handle unsafe.Pointer) { C.oncelog_claim_free((*C.oncelog_claim)(handle)) }

// Begin claims the id, to process it and then mark it. It never waits for longer than the patience and the context last.
// The verdict says what was decided; the claim is held if that is Fresh.
func (s *Scope) Begin(ctx context.Context, id string, options BeginOptions) (*Claim, error) {
	flat := flattenOne(options.Attributes)
	for left := newPatience(options.Patience); ; {
		claim, err := s.beginNow(ctx, id, options.Lease, &flat)
		if err != nil || claim.Verdict != InProgress || left.next() == 0 {
			return claim, err
		}
		for free := false; !free; {
			now := left.next()
			if now == 0 {
				return claim, nil
			}
			if free, err = s.WaitUntilFree(ctx, id, now); err != nil {
				return nil, err
			}
		}
	}
}

// beginNow is Begin without patience.
func (s *Scope) beginNow(ctx context.Context, id string, lease time.Duration, flat *flatAttributes) (*Claim, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.store.remote {
		return await(ctx, func() (*Claim, error) { return s.begin(id, lease, flat) }, (*Claim).Abandon)
	}
	claim, err := s.begin(id, lease, flat)
	if err == nil && ctx.Err() != nil {
		claim.Abandon()
		return nil, ctx.Err()
	}
	return claim, err
}

func (s *Scope) begin(id string, lease time.Duration, flat *flatAttributes) (*Claim, error) {
	if !s.store.life.enter() {
		return nil, ErrClosed
	}
	defer s.store.life.leave()
	answer := C.native_begin(s.handle, id, milliseconds(lease), bytesAt(flat.texts), flat.at())
	if err := failure(answer.error); err != nil {
		return nil, err
	}
	handle := (*C.oncelog_claim)(answer.handle)
	claim := &Claim{
		Verdict:     Verdict(answer.verdict),
		Token:       uint64(answer.number),
		Redelivered: answer.flag != 0,
		store:       s.store,
	}
	if claim.Verdict == Fresh {
		claim.slot.free, claim.slot.handle = freeClaim, answer.handle
		runtime.SetFinalizer(claim, (*Claim).Abandon)
		return claim, nil
	}
	defer C.oncelog_claim_free(handle)
	claim.Record = recordOf(C.oncelog_claim_record(handle))
	claim.Owner = ownerOf(C.native_claim_owner(handle))
	return claim, nil
}

// Held reports whether this claim is held: it is fresh, and neither completed nor abandoned. It does not detect that the
// lease has expired: call Renew.
func (c *Claim) Held() bool { return c.slot.held() }

// Completed is what Complete answers.
type Completed struct {
	InTime bool // Whether the id was marked. False when the claim was lost, and nothing was marked.
	LSN    LSN  // The record's; 0 when it was not in time.
}

var errNotHeld = &Error{Code: ErrInvalidArgument, Sentence: "the claim is not held, or another call uses it"}

// Complete marks the id as processed and ends the claim, atomically. Attributes may be nil; those that are unset keep
// what was given to Begin. After an error of the library, Held says whether the claim still is. Where the context ends
// meanwhile, it is not: the completion is finished in the background.
func (c *Claim) Complete(ctx context.Context, attributes *Attributes, ack Ack) (Completed, error) {
	if err := ctx.Err(); err != nil {
		return Completed{}, err
	}
	flat := flattenOne(attributes)
	handle := (*C.oncelog_claim)(c.slot.take())
	if handle == nil {
		return Completed{}, errNotHeld
	}
	complete := func() (Completed, error) {
		answer := C.native_complete(handle, bytesAt(flat.texts), flat.at(), C.oncelog_ack(ack))
		c.slot.put(answer.verdict != 0)
		return Completed{answer.flag != 0, LSN(answer.number)}, failure(answer.error)
	}
	if !c.store.waits(ack) {
		return complete()
	}
	done, err := await(ctx, complete, nil)
	if err != nil && err == ctx.Err() {
		c.Abandon()
	}
	return done, err
}

// Renew sets the lease to expire `lease` from now, and reports whether the claim is held. Where it was lost, it is not,
// and Complete would not mark the id.
func (c *Claim) Renew(ctx context.Context, lease time.Duration) (bool, error) {
	return c.slot.renew(ctx, c.store.remote, func(handle unsafe.Pointer) C.native_answer {
		return C.native_claim_renew((*C.oncelog_claim)(handle), milliseconds(lease))
	})
}

// KeepAlive renews the lease now, and has the store's background renew it while the claim is held: each time by the
// length that Begin was given, for no longer than `most` from now. It reports whether the claim is held.
func (c *Claim) KeepAlive(ctx context.Context, most time.Duration) (bool, error) {
	return c.slot.renew(ctx, c.store.remote, func(handle unsafe.Pointer) C.native_answer {
		return C.native_claim_keep_alive((*C.oncelog_claim)(handle), milliseconds(most))
	})
}

// Abandon frees the id at once. Nothing happens when the claim is not held.
func (c *Claim) Abandon() {
	runtime.SetFinalizer(c, nil)
	c.slot.drop()
}
