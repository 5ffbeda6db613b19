package api

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"time"

	"posthouse/internal/spool"
)

// receive spools the body, of at most limit octets. A client that is too slow
// is cut off.
func (s *server) receive(r *request, limit int64) (*spool.Spool, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, fault("unsupported-media-type", "Content-Encoding %s is not taken", enc)
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body := spool.New(s.SpoolDir, s.Limits.Memory)
	in := &paced{r: r, control: http.NewResponseController(r.w), idle: s.Limits.Idle, end: time.Now().Add(s.Limits.Upload)}
	n, err := io.Copy(spooling{body}, io.LimitReader(in, limit+1))
	if err == nil && n > limit {
		err = tooLarge(limit)
	}
	if err != nil {
		return nil, errors.Join(received(err), body.Close())
	}
	return body, nil
}

func tooLarge(limit int64) *problem {
	return fault("too-large", "More than %d octets", limit)
}

// errSpool marks what is our fault while a body comes.
var errSpool = errors.New("spool")

// spooling is a spool whose errors can be told from the client's.
type spooling struct{ *spool.Spool }

func (s spooling) Write(p []byte) (int, error) {
	n, err := s.Spool.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errSpool, err)
	}
	return n, err
}

// received says whose fault it is that a body did not come.
func received(err error) error {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if errors.Is(err, errSpool) {
		return unavailable(err)
	}
	timeout, isNet := errors.AsType[net.Error](err)
	if isNet && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return fault("broken-off", "It came too slowly").because(err)
	}
	return fault("broken-off", "The connection ended").because(err)
}

// paced is a request's body that must keep coming.
type paced struct {
	r       *request
	control *http.ResponseController
	idle    time.Duration
	end     time.Time
}

func (p *paced) Read(b []byte) (int, error) {
	until := time.Now().Add(p.idle)
	if until.After(p.end) {
		until = p.end
	}
	if err := p.control.SetReadDeadline(until); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	if !time.Now().Before(until) {
		return 0, os.ErrDeadlineExceeded
	}
	return p.r.Body.Read(b)
}

// media is the request's content type, without parameters, in lower case.
func (r *request) media() string {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// fingerprint is the hash of all that a request asks for.
func (r *request) fingerprint(body *spool.Spool) [32]byte {
	h := sha256.New()
	sum := body.Sum()
	for _, s := range []string{r.Method, r.URL.Path, r.URL.RawQuery, r.media(), string(sum[:])} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return [32]byte(h.Sum(nil))
}

// maxKey is the longest Idempotency-Key, in octets.
const maxKey = 255

// idempotencyKey is empty where the client sent none.
func (r *request) idempotencyKey() (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", nil
	}
	ok := len(keys) == 1 && len(keys[0]) >= 1 && len(keys[0]) <= maxKey
	for i := 0; ok && i < len(keys[0]); i++ {
		ok = keys[0][i] > ' ' && keys[0][i] < 0x7f
	}
	if !ok {
		return "", fault("invalid-parameter", "Idempotency-Key is one value of 1 to %d visible ASCII characters", maxKey)
	}
	return keys[0], nil
}
