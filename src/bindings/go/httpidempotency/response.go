package httpidempotency

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// recorder keeps a handler's response until it is known whether it was recorded.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	sent   http.Header // The header as it was when the status was written.
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	// An interim response is for a connection, not for a record.
	if r.status != 0 || status >= 100 && status < 200 {
		return
	}
	r.status = status
	r.sent = r.header.Clone()
}

func (r *recorder) Write(bytes []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(bytes)
}

// bodiless reports whether a response with this status has no body.
func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// finish is what the handler has answered, as a response that can be written to a record and sent.
func (r *recorder) finish() *response {
	r.WriteHeader(http.StatusOK)
	body := r.body.Bytes()
	if bodiless(r.status) {
		body = nil
	}
	if r.sent.Get("Content-Type") == "" && len(body) > 0 {
		r.sent.Set("Content-Type", http.DetectContentType(body))
	}
	return &response{r.status, r.sent, body}
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// encode is the response as HTTP/1.1 would send it, so that an operator can read the record's result.
func (r *response) encode() ([]byte, error) {
	var encoded bytes.Buffer
	as := http.Response{
		StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, Header: r.header,
		ContentLength: int64(len(r.body)), Body: io.NopCloser(bytes.NewReader(r.body)),
	}
	err := as.Write(&encoded)
	return encoded.Bytes(), err
}

var errNoResponse = errors.New("the record's result is no response")

func decode(encoded []byte) (*response, error) {
	if len(encoded) == 0 {
		return nil, errNoResponse
	}
	reader := bufio.NewReader(bytes.NewReader(encoded))
	read, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	defer read.Body.Close()
	body, err := io.ReadAll(read.Body)
	if err != nil {
		return nil, err
	}
	return &response{read.StatusCode, read.Header, body}, nil
}

func (r *response) send(w http.ResponseWriter) {
	header := w.Header()
	for name, values := range r.header {
		header[name] = values
	}
	if !bodiless(r.status) {
		header.Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // Where the client has gone, it will ask again with its key.
}
