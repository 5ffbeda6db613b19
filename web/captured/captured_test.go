package captured_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthouse/internal/spool"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
	"posthouse/web/captured"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a server of captured mail on a real store.
type desk struct {
	*testing.T
	store   *mailstore.Store
	account mailstore.AccountID
	url     string
}

func newDesk(t *testing.T) *desk {
	store := storetest.Open(t)
	d := &desk{T: t, store: store, account: storetest.Account(t, store, "captured@localhost")}
	closing := make(chan struct{})
	srv := httptest.NewServer(captured.New(captured.Config{Store: store, Account: int64(d.account), Hostname: "mail.example.test", Closing: closing,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))}))
	t.Cleanup(func() { close(closing); srv.Close() })
	d.url = srv.URL
	return d
}

// capture stores a message as mda does.
func (d *desk) capture(from, to, text string) mailstore.UID {
	d.Helper()
	body := spool.New(d.TempDir(), 1<<20)
	defer body.Close()
	if _, err := io.WriteString(body, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		d.Fatal(err)
	}
	prefix := fmt.Sprintf("Return-Path: <%s>\r\nDelivered-To: %s\r\nX-Original-To: %s\r\n", from, to, to)
	placed, err := d.store.Deliver(d.Context(), &mailstore.Delivery{Body: body, ReversePath: from, Targets: []mailstore.Target{{
		Account: d.account, Mailbox: "INBOX", Recipient: to, Prefix: []byte(prefix), InternalDate: time.Unix(1_700_000_000, 0)}}})
	if err != nil {
		d.Fatal(err)
	}
	return placed[0].UID
}

// ask sends a request and decodes a JSON answer into v, unless that is nil.
func (d *desk) ask(method, path string, want int, v any) *http.Response {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, d.url+path, nil)
	if err != nil {
		d.Fatal(err)
	}
	return d.do(req, want, v)
}

func (d *desk) do(req *http.Request, want int, v any) *http.Response {
	d.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		d.Fatalf("%s %s: %s, %v\n%s", req.Method, req.URL, res.Status, err, body)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if v != nil {
		if err := json.Unmarshal(body, v); err != nil {
			d.Fatalf("%s: %v\n%s", req.URL, err, body)
		}
	}
	return res
}

type list struct {
	Messages []struct {
		ID                       uint32
		Recipient, From, Subject string
		ReversePath              string `json:"reverse_path"`
	}
	Total  int
	Newest uint32
}

func (d *desk) list(query string) (subjects string) {
	d.Helper()
	var l list
	d.ask("GET", "/api/v1/captured"+query, 200, &l)
	var all []string
	for _, m := range l.Messages {
		all = append(all, m.Subject)
	}
	return strings.Join(all, ",")
}

func TestList(t *testing.T) {
	d := newDesk(t)
	if got := d.list(""); got != "" {
		t.Fatalf("an empty desk has %s", got)
	}
	d.capture("alice@localhost", "bob@example.org", "From: =?utf-8?q?J=C3=B6rg?= <alice@localhost>\nTo: bob@example.org\nSubject: one\n\nthe needle\n")
	d.capture("alice@localhost", "carol@example.test", "From: x@example.org\nSubject: =?utf-8?q?zw=C3=B6lf?=\n\nhay\n")
	d.capture("", "BOB@example.org", "Subject: three\n\nhay\n")
	for query, want := range map[string]string{
		"": "three,zwölf,one", "?to=bob@example.org": "three,one", "?to=@example.test": "zwölf", "?from=J%C3%96RG": "one", "?from=x@": "zwölf",
		"?subject=ZW%C3%96": "zwölf", "?q=needle": "one", "?limit=1": "three", "?after=1": "three,zwölf", "?before=2": "one", "?after=9": "", "?q=absent": "",
	} {
		if got := d.list(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	var boxes struct {
		Inboxes []struct {
			Recipient string
			Messages  int
		}
	}
	d.ask("GET", "/api/v1/captured/inboxes", 200, &boxes)
	if got := fmt.Sprint(boxes.Inboxes); got != "[{bob@example.org 2} {carol@example.test 1}]" {
		t.Errorf("inboxes are %s", got)
	}
	for _, bad := range []string{"?to=a&to=b", "?too=a", "?limit=0", "?limit=1001", "?after=x", "?before=-1"} {
		d.ask("GET", "/api/v1/captured"+bad, 400, nil)
	}
}

const rich = `From: alice@localhost
To: bob@example.org
Subject: rich
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/related; boundary=r

--r
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9
--a
Content-Type: text/html; charset=utf-8

<style>p { color: red }</style><p onclick="x()">café</p><script>document.title='owned'</script>
<img src="cid:pic@x"><img src="http://192.0.2.1/track.png"><a href="javascript:alert(1)">a</a><a href="https://example.org/">b</a>
--a--
--r
Content-Type: image/png
Content-ID: <pic@x>
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
--r--
--m
Content-Type: text/plain; name="notes.txt"
Content-Disposition: attachment; filename*=utf-8''n%C3%B6tes.txt
Content-Transfer-Encoding: base64

aGVsbG8=
--m
Content-Type: message/rfc822

Subject: inner

deep
--m--
`

func TestShow(t *testing.T) {
	d := newDesk(t)
	id := d.capture("alice@localhost", "bob@example.org", rich)
	base := fmt.Sprintf("/api/v1/captured/%d", id)
	var m struct {
		Text, HTML  string
		Recipient   string
		Header      []struct{ Name, Value string }
		Attachments []struct {
			Part, Filename string
			ContentType    string `json:"content_type"`
			Inline         bool
		}
	}
	d.ask("GET", base, 200, &m)
	if strings.TrimSpace(m.Text) != "café" || !strings.Contains(m.HTML, "<script>") || m.Recipient != "bob@example.org" || m.Header[0].Name != "Return-Path" {
		t.Errorf("shown as %+v", m)
	}
	if got := fmt.Sprint(m.Attachments); got != "[{1.2  image/png true} {2 nötes.txt text/plain false} {3  message/rfc822 false}]" {
		t.Errorf("attachments are %s", got)
	}
	res := d.ask("GET", base+"/parts/2", 200, nil)
	if body, _ := io.ReadAll(res.Body); string(body) != "hello" || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("attachment is %q, %v", body, res.Header)
	}
	res = d.ask("GET", base+"/source", 200, nil)
	if body, _ := io.ReadAll(res.Body); !bytes.HasSuffix(body, []byte(strings.ReplaceAll(rich, "\n", "\r\n"))) || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("source is %q", body)
	}
	res = d.ask("GET", base+"/html", 200, nil)
	body, _ := io.ReadAll(res.Body)
	for _, bad := range []string{"<script", "onclick", "javascript:", "cid:"} {
		if bytes.Contains(body, []byte(bad)) {
			t.Errorf("%s is still in %s", bad, body)
		}
	}
	for _, good := range []string{"<p>café</p>", "color: red", base + "/cid/pic@x", `href="https://example.org/"`} {
		if !bytes.Contains(body, []byte(good)) {
			t.Errorf("%s is not in %s", good, body)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "sandbox") || strings.Contains(csp, "allow-scripts") {
		t.Errorf("policy is %s", csp)
	}
	if res := d.ask("GET", base+"/cid/pic@x", 200, nil); res.Header.Get("Content-Type") != "image/png" {
		t.Errorf("image is %v", res.Header)
	}
	for _, path := range []string{base + "/parts/9", base + "/cid/none", "/api/v1/captured/99", "/api/v1/captured/x", "/api/v1/captured/0", base + "/x"} {
		if res := d.ask("GET", path, 404, nil); res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s is answered with %v", path, res.Header)
		}
	}
}

func TestRemove(t *testing.T) {
	d := newDesk(t)
	for i := range 3 {
		d.capture("alice@localhost", fmt.Sprintf("r%d@example.org", i), fmt.Sprintf("Subject: s%d\n\nx\n", i))
	}
	d.ask("DELETE", "/api/v1/captured?to=r1@example.org", 200, nil)
	if got := d.list(""); got != "s2,s0" {
		t.Errorf("left: %s", got)
	}
	d.ask("DELETE", "/api/v1/captured?tto=r1@example.org", 400, nil) // a misspelt filter removes nothing
	d.ask("DELETE", "/api/v1/captured/1", 200, nil)
	d.ask("DELETE", "/api/v1/captured/1", 404, nil)
	d.ask("GET", "/api/v1/captured/1", 404, nil)
	d.ask("DELETE", "/api/v1/captured", 200, nil)
	if got := d.list(""); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestWait(t *testing.T) {
	d := newDesk(t)
	d.capture("alice@localhost", "bob@example.org", "Subject: before\n\nx\n")
	var m struct {
		ID      uint32
		Subject string
	}
	d.ask("GET", "/api/v1/captured/wait?to=bob@example.org", 200, &m)
	if m.Subject != "before" {
		t.Errorf("found %+v", m)
	}
	d.ask("GET", "/api/v1/captured/wait?to=nobody@example.org&timeout=10ms", 404, nil)
	answer := make(chan string)
	go func() {
		var m struct{ Subject string }
		d.ask("GET", fmt.Sprintf("/api/v1/captured/wait?to=bob@example.org&after=%d", 1), 200, &m)
		answer <- m.Subject
	}()
	d.capture("alice@localhost", "other@example.org", "Subject: other\n\nx\n")
	d.capture("alice@localhost", "bob@example.org", "Subject: next\n\nx\n")
	if got := <-answer; got != "next" {
		t.Errorf("waited for %q", got)
	}
	d.ask("GET", "/api/v1/captured/wait?timeout=1h", 400, nil)
}

// TestElsewhere: what a page on another site can make a browser do.
func TestElsewhere(t *testing.T) {
	d := newDesk(t)
	d.capture("alice@localhost", "bob@example.org", "Subject: kept\n\nx\n")
	req, _ := http.NewRequestWithContext(t.Context(), "GET", d.url+"/api/v1/captured", nil)
	req.Host = "rebound.example.org"
	d.do(req, http.StatusMisdirectedRequest, nil)
	for _, host := range []string{"localhost:8025", "127.0.0.1", "[::1]:8025", "mail.example.test"} {
		req.Host = host
		d.do(req, 200, nil)
	}
	req, _ = http.NewRequestWithContext(t.Context(), "DELETE", d.url+"/api/v1/captured", nil)
	req.Header.Set("Origin", "https://example.org")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	d.do(req, http.StatusForbidden, nil)
	if got := d.list(""); got != "kept" {
		t.Errorf("left: %s", got)
	}
}
