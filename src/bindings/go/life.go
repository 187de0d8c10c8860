package oncelog

import "sync/atomic"

// life keeps what C gave as long as a call uses it. close does not wait for the calls under way: the last of them to
// leave ends the life, or close itself when there is none. So close may be called within a callback.
type life struct {
	users  atomic.Int64 // Calls under way, and one until close. 0: ended.
	closed atomic.Bool
	end    func()
}

func newLife(end func()) *life {
	l := &life{end: end}
	l.users.Store(1)
	return l
}

// enter reports whether what has this life may be used until leave.
func (l *life) enter() bool {
	for !l.closed.Load() {
		users := l.users.Load()
		if users == 0 {
			return false
		}
		if l.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
	return false
}

func (l *life) leave() {
	if l.users.Add(-1) == 0 {
		l.end()
	}
}

func (l *life) close() {
	if !l.closed.Swap(true) {
		l.leave()
	}
}
