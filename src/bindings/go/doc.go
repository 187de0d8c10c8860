// Package oncelog is oncelog for Go: an embedded log of processed messages, for consumers that get messages at least
// once. It stands on liboncelog's C interface; oncelog.h is the manual of what the words mean, what is guaranteed and
// what breaks. This is what is particular to Go.
//
// # Goroutines
//
// A Store, a Scope and an IdempotencyStore may be used by any number of goroutines. A Claim, a ClaimBatch and a Lock are
// for one goroutine at a time.
//
// # Waiting
//
// Every call that may wait takes a context, and returns ctx.Err() soon after it ends. A call whose context has already
// ended does nothing. Where the context ends while another one holds the id or the lock, nothing is held afterwards: a
// claim that was taken at that moment is given back. Where it ends while a call waits for the disk or a server, the call
// is finished in the background, and what it did holds: after such an error of Mark or Complete the id may be marked.
// Asking again shows it. A context without an end costs nothing.
//
// Once and Transact run a function of the caller's. The context ends the wait for its turn; once it runs, they wait for it
// and for what follows, so that work which is done is also marked.
//
// Calls that only look something up take no context. Of a store at an address they wait for its server, for
// Options.Timeout at most.
//
// # Closing
//
// Close a Store: that flushes what was marked. Calls that are under way are finished first, later ones are ErrClosed.
// Scopes are part of their store and need no closing. A Claim that is fresh must be completed or abandoned, and a Lock
// that is held released; they keep the store open until then. Abandon and Release do nothing when there is nothing to do,
// so that they can be deferred. The garbage collector does each of these for what is no longer reachable, at a time of
// its own: that is a net, not a way.
//
// # Callbacks
//
// Functions that the package calls (hooks, visitors, work) may use the store. A panic of a visitor ends the visits and
// goes on in the caller; that of a transaction's function rolls back first; one of a hook ends the process. Hooks, visitors
// and the function of a transaction may not end their goroutine by runtime.Goexit, which t.FailNow does.
package oncelog
