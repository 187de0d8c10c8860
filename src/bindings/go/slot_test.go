package oncelog

import (
	"testing"
	"unsafe"
)

func TestASlotIsFreedOnceAndNotWhileItIsUsed(t *testing.T) {
	freed := 0
	fill := func() *slot {
		freed = 0
		return &slot{free: func(unsafe.Pointer) { freed++ }, handle: unsafe.Pointer(new(int))}
	}
	is := func(what string, s *slot, wanted int, held bool) {
		t.Helper()
		if freed != wanted || s.held() != held {
			t.Errorf("%s: freed %d times, held: %v", what, freed, s.held())
		}
	}
	s := fill()
	if s.take() == nil || s.take() != nil {
		t.Error("not taken once")
	}
	is("in use", s, 0, true)
	s.drop()
	s.drop()
	is("dropped while in use", s, 0, false)
	s.put(true)
	is("put back when dropped", s, 1, false)
	s.drop()
	is("dropped again", s, 1, false)

	s = fill()
	s.take()
	s.put(true)
	is("kept", s, 0, true)
	s.take()
	s.put(false)
	is("not kept", s, 1, false)
	if s.take() != nil {
		t.Error("taken when it was freed")
	}
}
