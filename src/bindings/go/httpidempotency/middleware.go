// Package httpidempotency makes an HTTP server process a request once however often a client sends it, by the
// Idempotency-Key header of draft-ietf-httpapi-idempotency-key-header:
//
//   - without a key, or with a malformed one: 400
//   - a key that was processed: the first response again, with "Idempotent-Replayed: true"
//   - a key that was processed with another request: 422
//   - a key that is being processed: 409, with Retry-After
//
// A key stands for a method, a path with its query, and a body. It is remembered for the store's retention.
//
// The handler's response is held back until the key is marked with it, so that what a client has seen will be seen again.
// A response of 500 and above is not recorded: the same key may be tried again. Nor is that of a handler that panics.
package httpidempotency

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"oncelog.dev/oncelog"
)

// Header is the name of the request's header field.
const Header = "Idempotency-Key"

// Replayed is the header field of a response that was given before.
const Replayed = "Idempotent-Replayed"

// What a record keeps at most: the limit of oncelog's results.
const maxResponseBytes = 1 << 20

// Options say how the middleware works. The zero value of each field is its default.
type Options struct {
	// Methods that need a key; others pass. Default: POST and PATCH.
	Methods []string
	// Principal says who asks, for keys that are unique for each client alone. Default: one space of keys for all.
	// A server with more than one client should set this: who knows a foreign key and its request gets the response.
	Principal func(*http.Request) string
	// Lease is how long a request is protected after its server process has stalled. It is renewed while the handler
	// works; a process that dies frees its keys at once. Default: 30 s.
	Lease time.Duration
	// MaxBody is the longest body of a request; longer ones are 413. Default: 1 MiB.
	MaxBody int64
	// Ack is what a response waits for. Default: AckDisk, so that a power failure does not make it happen twice.
	Ack oncelog.Ack
	// OnError gets what no response can say: that the handler's work is done, but not recorded. Default: nobody.
	OnError func(*http.Request, error)
}

// ErrLost is given to OnError when the claim of a key was lost while its handler worked: another one may have processed
// the same request.
var ErrLost = errors.New("httpidempotency: the claim of the key was lost")

// ErrTooLong is given to OnError when a response is too long to be recorded. The key is recorded: later requests are
// answered with 500.
var ErrTooLong = errors.New("httpidempotency: the response is too long to be recorded")

type middleware struct {
	scope   *oncelog.Scope
	options Options
	next    http.Handler
}

// New is a handler that calls the next one once for each key. Options may be nil.
func New(scope *oncelog.Scope, next http.Handler, options *Options) http.Handler {
	m := &middleware{scope: scope, next: next}
	if options != nil {
		m.options = *options
	}
	if m.options.Methods == nil {
		m.options.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if m.options.Lease == 0 {
		m.options.Lease = 30 * time.Second
	}
	if m.options.MaxBody == 0 {
		m.options.MaxBody = 1 << 20
	}
	if m.options.Ack == oncelog.AckDefault {
		m.options.Ack = oncelog.AckDisk
	}
	if m.options.OnError == nil {
		m.options.OnError = func(*http.Request, error) {}
	}
	return m
}

func (m *middleware) needsKey(method string) bool {
	for _, one := range m.options.Methods {
		if one == method {
			return true
		}
	}
	return false
}

func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !m.needsKey(r.Method) {
		m.next.ServeHTTP(w, r)
		return
	}
	if len(r.Header.Values(Header)) == 0 {
		refuse(w, http.StatusBadRequest, "Idempotency-Key is missing", "This operation needs an Idempotency-Key header.")
		return
	}
	key, err := parseKey(r.Header.Values(Header))
	if err != nil {
		refuse(w, http.StatusBadRequest, "Idempotency-Key is malformed", err.Error())
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, m.options.MaxBody))
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			refuse(w, http.StatusRequestEntityTooLarge, "The request is too long", err.Error())
		} else {
			refuse(w, http.StatusBadRequest, "The request is incomplete", err.Error())
		}
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	claim, err := m.scope.Begin(r.Context(), m.id(key, r), oncelog.BeginOptions{
		Lease:      m.options.Lease,
		Attributes: &oncelog.Attributes{Fingerprint: fingerprint(r, body)},
	})
	if err != nil {
		m.options.OnError(r, err)
		refuse(w, http.StatusServiceUnavailable, "The log of keys cannot be used", "Nothing was done. Try again later.")
		return
	}
	defer claim.Abandon()
	m.answer(w, r, claim)
}

// id is the key with who uses it: two clients' same keys are two ids.
func (m *middleware) id(key string, r *http.Request) string {
	if m.options.Principal == nil {
		return key
	}
	principal := m.options.Principal(r)
	return fmt.Sprintf("%d:%s:%s", len(principal), principal, key)
}

// fingerprint is of all that makes it the same request.
func fingerprint(r *http.Request, body []byte) uint64 {
	request := append([]byte(r.Method+" "+r.URL.RequestURI()+"\n"), body...)
	return oncelog.Fingerprint(request)
}

func (m *middleware) answer(w http.ResponseWriter, r *http.Request, claim *oncelog.Claim) {
	switch claim.Verdict {
	case oncelog.Fresh:
		m.process(w, r, claim)
	case oncelog.Duplicate:
		m.replay(w, r, claim)
	case oncelog.Conflict:
		refuse(w, http.StatusUnprocessableEntity, "Idempotency-Key is already used",
			"The key was used with another request. Use a new key for a new request.")
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusConflict, "A request is outstanding for this Idempotency-Key",
			"The first request with this key is still being processed. Try again later with the same key.")
	}
}

func (m *middleware) process(w http.ResponseWriter, r *http.Request, claim *oncelog.Claim) {
	recorded := newRecorder()
	ctx, cancel := context.WithCancel(r.Context())
	stopped := m.keepRenewed(ctx, cancel, claim)
	func() {
		defer func() { cancel(); <-stopped }()
		m.next.ServeHTTP(recorded, r.WithContext(ctx))
	}()
	answer := recorded.finish()
	if answer.status < http.StatusInternalServerError {
		if err := m.record(claim, answer); err != nil {
			// What was done is done. A client that is given another answer than the handler's would do it again.
			m.options.OnError(r, err)
		}
	}
	answer.send(w)
}

// keepRenewed renews the claim until the context ends, and cancels it when the claim is lost. The channel is closed when
// nothing uses the claim any more.
func (m *middleware) keepRenewed(ctx context.Context, cancel func(), claim *oncelog.Claim) <-chan struct{} {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker((m.options.Lease + 2) / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				// Not by the request's context: the call must have ended before the claim is completed.
				if held, err := claim.Renew(context.Background(), m.options.Lease); err == nil && !held {
					cancel()
					return
				}
			}
		}
	}()
	return stopped
}

// record marks the key with the response. It does not end with the request: a client that has gone will ask again.
func (m *middleware) record(claim *oncelog.Claim, answer *response) error {
	encoded, err := answer.encode()
	if err != nil {
		return err
	}
	tooLong := len(encoded) > maxResponseBytes
	if tooLong {
		encoded = nil
	}
	completed, err := claim.Complete(context.Background(), &oncelog.Attributes{Result: encoded}, m.options.Ack)
	switch {
	case err != nil:
		return err
	case !completed.InTime:
		return ErrLost
	case tooLong:
		return ErrTooLong
	}
	return nil
}

func (m *middleware) replay(w http.ResponseWriter, r *http.Request, claim *oncelog.Claim) {
	if claim.Record == nil {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusConflict, "The key's retention has just ended", "Try again: the request will be new.")
		return
	}
	answer, err := decode(claim.Record.Result)
	if err != nil {
		m.options.OnError(r, err)
		refuse(w, http.StatusInternalServerError, "The response was not kept",
			"The request with this key was processed, but its response was too long to be kept.")
		return
	}
	w.Header().Set(Replayed, "true")
	answer.send(w)
}

// refuse answers with problem details, as in RFC 9457.
func refuse(w http.ResponseWriter, status int, title, detail string) {
	body, err := json.Marshal(map[string]any{"status": status, "title": title, "detail": detail})
	if err != nil {
		http.Error(w, title, status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
