package oncelog

// #include "native.h"
import "C"

import (
	"context"
	"sync"
	"unsafe"
)

// slot holds a claim, a batch of claims or a lock of C's, which one call may use at a time. A call that outlives its
// context uses it still; what is dropped meanwhile is freed when that call puts it back.
type slot struct {
	free func(unsafe.Pointer)

	mutex   sync.Mutex
	handle  unsafe.Pointer // Nil once there is nothing more to do.
	inUse   bool
	dropped bool
}

func (s *slot) held() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.handle != nil && !s.dropped
}

// take is the handle, to be given to put by the same call; nil where there is none, or another call uses it.
func (s *slot) take() unsafe.Pointer {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.handle == nil || s.inUse || s.dropped {
		return nil
	}
	s.inUse = true
	return s.handle
}

// put ends what take began. Unless it is to be kept, the handle is freed.
func (s *slot) put(keep bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.inUse = false
	if !keep || s.dropped {
		s.free(s.handle)
		s.handle = nil
	}
}

// drop frees the handle, as soon as no call uses it.
func (s *slot) drop() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.handle == nil {
		return
	}
	if s.inUse {
		s.dropped = true
		return
	}
	s.free(s.handle)
	s.handle = nil
}

// renew runs a call that renews the lease, and answers in its flag whether that is held.
func (s *slot) renew(ctx context.Context, waits bool, run func(unsafe.Pointer) C.native_answer) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	handle := s.take()
	if handle == nil {
		return false, nil
	}
	renew := func() (bool, error) {
		answer := run(handle)
		s.put(true)
		return answer.flag != 0, failure(answer.error)
	}
	if !waits {
		return renew()
	}
	return await(ctx, renew, nil)
}
