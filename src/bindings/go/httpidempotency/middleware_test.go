package httpidempotency_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oncelog.dev/oncelog"
	"oncelog.dev/oncelog/httpidempotency"
)

type server struct {
	*httptest.Server
	t     *testing.T
	scope *oncelog.Scope
	calls atomic.Int64
}

func serve(t *testing.T, handler http.HandlerFunc, options *httpidempotency.Options) *server {
	t.Helper()
	place := t.TempDir()
	store, err := oncelog.Open(context.Background(), place, &oncelog.Options{LiveDir: place})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	scope, err := store.Scope("http")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, scope: scope}
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.calls.Add(1); handler(w, r) })
	s.Server = httptest.NewServer(httpidempotency.New(scope, counting, options))
	t.Cleanup(s.Server.Close)
	return s
}

type answer struct {
	status int
	body   string
	header http.Header
}

func (s *server) send(method, path, body string, keys ...string) answer {
	s.t.Helper()
	request, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, key := range keys {
		request.Header.Add(httpidempotency.Header, key)
	}
	response, err := s.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, string(read), response.Header}
}

func (s *server) calledTimes(wanted int64) {
	s.t.Helper()
	if called := s.calls.Load(); called != wanted {
		s.t.Errorf("the handler was called %d times, not %d", called, wanted)
	}
}

func (s *server) answers(wanted int, got answer) {
	s.t.Helper()
	if got.status != wanted {
		s.t.Errorf("status %d, not %d: %s", got.status, wanted, got.body)
	}
	if problem := got.header.Get("Content-Type") == "application/problem+json"; problem != (wanted >= 400) {
		s.t.Errorf("content type %q with status %d", got.header.Get("Content-Type"), wanted)
	}
}

func pay(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Payment", "7")
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	w.WriteHeader(http.StatusCreated)
	w.Header().Set("X-Late", "1")
	fmt.Fprintf(w, "paid %s", body)
}

func TestARepeatedRequestGetsTheFirstResponse(t *testing.T) {
	s := serve(t, pay, nil)
	first := s.send("POST", "/pay?x=1", "10", `"key-1"`)
	again := s.send("POST", "/pay?x=1", "10", `key-1`)
	for _, got := range []answer{first, again} {
		s.answers(http.StatusCreated, got)
		if got.body != "paid 10" || got.header.Get("X-Payment") != "7" || len(got.header["Set-Cookie"]) != 2 ||
			got.header.Get("X-Late") != "" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			t.Errorf("got %v", got)
		}
	}
	if first.header.Get(httpidempotency.Replayed) != "" || again.header.Get(httpidempotency.Replayed) != "true" {
		t.Error("the second alone is a replay")
	}
	s.calledTimes(1)
	s.answers(http.StatusCreated, s.send("POST", "/pay?x=1", "10", `"key-2"`))
	s.calledTimes(2)
}

func TestAKeyStandsForOneRequest(t *testing.T) {
	s := serve(t, pay, nil)
	s.answers(http.StatusCreated, s.send("POST", "/pay", "10", `"k"`))
	s.answers(http.StatusUnprocessableEntity, s.send("POST", "/pay", "11", `"k"`))
	s.answers(http.StatusUnprocessableEntity, s.send("POST", "/refund", "10", `"k"`))
	s.answers(http.StatusUnprocessableEntity, s.send("PATCH", "/pay", "10", `"k"`))
	s.calledTimes(1)
}

func TestARequestNeedsAWellFormedKey(t *testing.T) {
	s := serve(t, pay, nil)
	s.answers(http.StatusBadRequest, s.send("POST", "/pay", "10"))
	for _, key := range []string{"", `""`, `"open`, `"a"b`, `a,b`, `"a\x"`, `"a` + "\t" + `"`, "a b", `"é"`, strings.Repeat("k", 256)} {
		s.answers(http.StatusBadRequest, s.send("POST", "/pay", "10", key))
	}
	s.answers(http.StatusBadRequest, s.send("POST", "/pay", "10", "a", "b"))
	s.calledTimes(0)
	s.answers(http.StatusCreated, s.send("POST", "/pay", "10", `"a \"b\" \\";p=1`))
	s.answers(http.StatusCreated, s.send("GET", "/pay", ""))
	s.calledTimes(2)
}

func TestARequestIsRefusedWhileTheFirstIsInProgress(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { close(started); <-finish; pay(w, r) }, nil)
	first := make(chan answer)
	go func() { first <- s.send("POST", "/pay", "10", `"k"`) }()
	<-started
	busy := s.send("POST", "/pay", "10", `"k"`)
	s.answers(http.StatusConflict, busy)
	if busy.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(finish)
	s.answers(http.StatusCreated, <-first)
	s.answers(http.StatusCreated, s.send("POST", "/pay", "10", `"k"`))
	s.calledTimes(1)
}

func TestAFailureMayBeTriedAgain(t *testing.T) {
	fail := true
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if fail {
			fail = false
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		pay(w, r)
	}, nil)
	if got := s.send("POST", "/pay", "10", `"k"`); got.status != http.StatusBadGateway {
		t.Errorf("status %d", got.status)
	}
	s.answers(http.StatusCreated, s.send("POST", "/pay", "10", `"k"`))
	s.calledTimes(2)
}

func TestAPanicMayBeTriedAgain(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil)
	for i := 0; i < 2; i++ {
		if response, err := http.Post(s.URL, "", nil); err == nil && response.StatusCode != http.StatusBadRequest {
			t.Error("no key")
		}
		request, _ := http.NewRequest("POST", s.URL, nil)
		request.Header.Set(httpidempotency.Header, "k")
		if _, err := s.Client().Do(request); err == nil {
			t.Error("the connection was not closed")
		}
	}
	// The client of a connection that is closed may send a request with a key again by itself.
	if s.calls.Load() < 2 {
		s.calledTimes(2)
	}
}

func TestClaimsAreRenewedWhileTheHandlerWorks(t *testing.T) {
	const lease = 60 * time.Millisecond
	var s *server
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		// For several leases nobody else gets the key.
		for start := time.Now(); time.Since(start) < 5*lease; {
			if free, err := s.scope.WaitUntilFree(r.Context(), "k", lease); free || err != nil {
				t.Errorf("free: %v, error: %v", free, err)
				break
			}
		}
		pay(w, r)
	}, &httpidempotency.Options{Lease: lease})
	s.answers(http.StatusCreated, s.send("POST", "/pay", "10", `"k"`))
}

func TestALostClaimEndsTheHandlersContext(t *testing.T) {
	errs := make(chan error, 1)
	var s *server
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.scope.Release("k"); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		pay(w, r)
	}, &httpidempotency.Options{Lease: 60 * time.Millisecond, OnError: func(_ *http.Request, err error) { errs <- err }})
	s.answers(http.StatusCreated, s.send("POST", "/pay", "10", `"k"`))
	if err := <-errs; err != httpidempotency.ErrLost {
		t.Errorf("error %v", err)
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	errs := make(chan error, 2)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, long) },
		&httpidempotency.Options{MaxBody: 10, OnError: func(_ *http.Request, err error) { errs <- err }})
	s.answers(http.StatusRequestEntityTooLarge, s.send("POST", "/", "12345678901", `"k"`))
	s.calledTimes(0)
	s.answers(http.StatusOK, s.send("POST", "/", "1234567890", `"k"`))
	if err := <-errs; err != httpidempotency.ErrTooLong {
		t.Errorf("error %v", err)
	}
	s.answers(http.StatusInternalServerError, s.send("POST", "/", "1234567890", `"k"`))
	s.calledTimes(1)
}

func TestClientsHaveTheirOwnKeys(t *testing.T) {
	s := serve(t, pay, &httpidempotency.Options{Principal: func(r *http.Request) string { return r.URL.Query().Get("who") }})
	s.answers(http.StatusCreated, s.send("POST", "/?who=1", "10", `"1:k"`))
	s.answers(http.StatusCreated, s.send("POST", "/?who=1:1", "10", `"k"`))
	s.calledTimes(2)
}

func TestABodilessResponseIsReplayed(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }, nil)
	for i := 0; i < 2; i++ {
		if got := s.send("POST", "/", "", `"k"`); got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("got %v", got)
		}
	}
	s.calledTimes(1)
}
