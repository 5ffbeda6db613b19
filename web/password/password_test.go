package password_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/web/password"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type site struct {
	t   *testing.T
	dir *directory.Directory
	url string
	log *bytes.Buffer
}

var (
	alice  = mail.Address{Local: "alice", Domain: "example.test"}
	remote = directory.Client{Remote: netip.MustParseAddr("192.0.2.1"), Protocol: "imap", TLS: true}
)

func start(t *testing.T, change func(*password.Config)) *site {
	t.Helper()
	s := &site{t: t, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	pool := pgtest.Pool(t)
	var err error
	if s.dir, err = directory.New(pool, directory.Options{Key: bytes.Repeat([]byte{7}, directory.MinKey), Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.dir.Close)
	if _, err := s.dir.CreateDomain(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.dir.CreateAccount(t.Context(), alice, ""); err != nil {
		t.Fatal(err)
	}
	c := password.Config{Hostname: "mail.example.test", Directory: s.dir, Plain: true, Log: log, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	if change != nil {
		change(&c)
	}
	srv := httptest.NewServer(password.New(c))
	t.Cleanup(srv.Close)
	s.url = srv.URL + password.Path
	return s
}

func (s *site) link() string {
	s.t.Helper()
	token, expires, err := s.dir.MakeLink(s.t.Context(), alice, time.Hour)
	if err != nil || time.Until(expires) < 50*time.Minute {
		s.t.Fatal(expires, err)
	}
	return token
}

// ask sends a request; form nil is a GET.
func (s *site) ask(token string, form url.Values, header ...string) (int, string) {
	s.t.Helper()
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+token, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); resp.StatusCode != http.StatusForbidden && !strings.Contains(csp, "default-src 'none'; style-src 'self'; form-action 'self'") {
		s.t.Errorf("policy %q", csp)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, string(text)
}

func passwords(one, two string) url.Values {
	return url.Values{"password": {one}, "again": {two}, "username": {"bob@example.test"}}
}

func TestFlow(t *testing.T) {
	s := start(t, nil)
	token := s.link()
	for range 3 { // looking uses nothing up
		if code, page := s.ask(token, nil); code != 200 || !strings.Contains(page, "alice@example.test") || !strings.Contains(page, `<form method="post"`) || strings.Contains(page, "<script") {
			t.Fatal(code, page)
		}
	}
	for _, c := range []struct {
		form url.Values
		code int
		want string
	}{
		{passwords("", ""), 422, "is empty"},
		{passwords("one thing", "another"), 422, "differ"},
		{passwords("bell\a", "bell\a"), 422, "cannot be used"},
		{passwords(strings.Repeat("x", 2000), strings.Repeat("x", 2000)), 422, "cannot be used"},
		{url.Values{"password": {strings.Repeat("x", 20<<10)}}, 400, "not sent by the form"},
		{passwords("correct <b> horse", "correct <b> horse"), 200, "is set"},
		{passwords("correct <b> horse", "correct <b> horse"), 404, "not good any more"}, // once
	} {
		code, page := s.ask(token, c.form)
		if code != c.code || !strings.Contains(page, c.want) || strings.Contains(page, "horse") {
			t.Errorf("%.60v: %d %s", c.form, code, page)
		}
	}
	if _, err := s.dir.Authenticate(t.Context(), "alice@example.test", "correct <b> horse", remote); err != nil {
		t.Error(err)
	}
	if code, page := s.ask(token, nil); code != 404 || strings.Contains(page, "alice") {
		t.Errorf("used up: %d %s", code, page)
	}
	if log := s.log.String(); !strings.Contains(log, "event=account.password") || strings.Contains(log, token) || strings.Contains(log, "horse") {
		t.Error(log)
	}
}

// A link ends by a newer one, by another password, by being disabled, by time.
func TestEnds(t *testing.T) {
	s := start(t, nil)
	ctx := t.Context()
	gone := func(why, token string) {
		t.Helper()
		if code, _ := s.ask(token, nil); code != 404 {
			t.Errorf("%s: %d", why, code)
		}
	}
	first := s.link()
	second := s.link()
	gone("a newer one", first)
	if err := s.dir.SetPassword(ctx, alice, "by command"); err != nil {
		t.Fatal(err)
	}
	gone("a password", second)
	third := s.link()
	if err := s.dir.SetDisabled(ctx, alice, true); err != nil {
		t.Fatal(err)
	}
	gone("disabled", third)
	for _, d := range []time.Duration{0, time.Second, 31 * 24 * time.Hour} {
		if _, _, err := s.dir.MakeLink(ctx, alice, d); err == nil {
			t.Error(d)
		}
	}
}

// Of many who use a link at once, one sets the password.
func TestOnce(t *testing.T) {
	s := start(t, nil)
	token := s.link()
	var mu sync.Mutex
	set := 0
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if _, err := s.dir.UseLink(t.Context(), token, "secret", remote); err == nil {
				mu.Lock()
				set++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if set != 1 {
		t.Errorf("%d of them did", set)
	}
}

// Other sites cannot post, plain HTTP is refused, and a guesser is stopped.
func TestAttacks(t *testing.T) {
	s := start(t, func(c *password.Config) { c.Plain = false })
	token := s.link()
	if code, _ := s.ask(token, nil); code != 403 {
		t.Errorf("without TLS: %d", code)
	}
	secure := []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.7"}
	if code, _ := s.ask(token, passwords("a", "a"), append(secure, "Sec-Fetch-Site", "cross-site")...); code != 403 {
		t.Errorf("a form of another site: %d", code)
	}
	if code, _ := s.ask(token, passwords("a", "a"), append(secure, "Origin", "https://evil.example.org")...); code != 403 {
		t.Errorf("a form of another origin: %d", code)
	}
	if _, err := s.dir.Link(t.Context(), token, remote); err != nil {
		t.Error(err)
	}
	stopped := false
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range 60 {
		all.Go(func() {
			code, _ := s.ask("guess"+strings.Repeat("x", i), nil, secure...)
			mu.Lock()
			defer mu.Unlock()
			switch code {
			case 404:
			case 429:
				stopped = true
			default:
				t.Errorf("a guess: %d", code)
			}
		})
	}
	all.Wait()
	if !stopped {
		t.Error("60 guesses were answered")
	}
	if code, _ := s.ask(token, nil, "X-Forwarded-Proto", "https", "X-Forwarded-For", "198.51.100.1"); code != 200 {
		t.Errorf("somebody else, meanwhile: %d", code)
	}
}
