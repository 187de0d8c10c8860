package oncelog

// #include "native.h"
import "C"

import (
	"context"
	"runtime"
	"time"
	"unsafe"
)

// ClaimBatch is the claims of many ids, for one goroutine at a time.
type ClaimBatch struct {
	// Verdicts has one for each id in order: Fresh (this batch holds it), Duplicate or InProgress.
	Verdicts []Verdict

	store *Store
	slot  slot
}

func freeClaimBatch(handle unsafe.Pointer) {
	C.oncelog_claim_batch_free((*C.oncelog_claim_batch)(handle))
}

// BeginBatch is Begin for many ids in one call, without attributes or patience. After an error nothing is claimed.
func (s *Scope) BeginBatch(ctx context.Context, ids []string, lease time.Duration) (*ClaimBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	flat := flatten(ids)
	if s.store.remote {
		return await(ctx, func() (*ClaimBatch, error) { return s.beginBatch(&flat, lease) }, (*ClaimBatch).Abandon)
	}
	return s.beginBatch(&flat, lease)
}

func (s *Scope) beginBatch(flat *flatIDs, lease time.Duration) (*ClaimBatch, error) {
	answer, err := s.store.call(func() C.native_answer {
		return C.native_begin_batch(s.handle, flat.count(), bytesAt(flat.data), flat.endsAt(), milliseconds(lease))
	})
	if err != nil {
		return nil, err
	}
	handle := (*C.oncelog_claim_batch)(answer.handle)
	batch := &ClaimBatch{Verdicts: make([]Verdict, len(flat.ends)), store: s.store}
	copyVerdicts(batch.Verdicts, handle)
	batch.slot.free, batch.slot.handle = freeClaimBatch, answer.handle
	runtime.SetFinalizer(batch, (*ClaimBatch).Abandon)
	return batch, nil
}

func copyVerdicts(to []Verdict, handle *C.oncelog_claim_batch) {
	if len(to) != 0 {
		copy(to, unsafe.Slice((*Verdict)(unsafe.Pointer(C.oncelog_claim_batch_verdicts(handle, nil))), len(to)))
	}
}

// CompletedBatch is what Complete answers.
type CompletedBatch struct {
	Newest LSN // The highest LSN over the batch, records of duplicates included, or 0.
	Late   int // How many ids were lost to another owner or released by an operator.
}

// Complete marks all ids that are held and ends their claims. It does not wait for the disk: once Store.Durable is above
// Newest, the messages that were fresh or duplicate may be acknowledged, except late ones. After an error of the library
// it may be called again for the rest. Where the context ends meanwhile, it is finished in the background.
func (b *ClaimBatch) Complete(ctx context.Context) (CompletedBatch, error) {
	if err := ctx.Err(); err != nil {
		return CompletedBatch{}, err
	}
	handle := (*C.oncelog_claim_batch)(b.slot.take())
	if handle == nil {
		return CompletedBatch{}, errNotHeld
	}
	complete := func() (CompletedBatch, error) {
		answer := C.native_complete_batch(handle)
		b.slot.put(answer.error != nil)
		return CompletedBatch{LSN(answer.number), int(answer.count)}, failure(answer.error)
	}
	if !b.store.remote {
		return complete()
	}
	done, err := await(ctx, complete, nil)
	if err != nil && err == ctx.Err() {
		b.Abandon()
	}
	return done, err
}

// AbandonFrom releases the ids from `position` on and truncates the batch to those before it: for a worker that comes to
// a message which it cannot process, or which is in progress elsewhere.
func (b *ClaimBatch) AbandonFrom(position int) {
	if position < 0 || position >= len(b.Verdicts) {
		return
	}
	b.Verdicts = b.Verdicts[:position]
	if handle := b.slot.take(); handle != nil {
		C.oncelog_claim_batch_abandon_from((*C.oncelog_claim_batch)(handle), C.size_t(position))
		b.slot.put(true)
	}
}

// Abandon releases all ids that are held. Nothing happens when there are none.
func (b *ClaimBatch) Abandon() {
	runtime.SetFinalizer(b, nil)
	b.slot.drop()
}
