package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	gomail "github.com/emersion/go-message/mail"
)

// simple is a message from alice to bob, with what is given in addition.
func simple(more ...string) string {
	return `{"from":"Alice <alice@example.test>","to":"bob@example.test","subject":"Hi","text":"Hello"` + strings.Join(append([]string{""}, more...), ",") + `}`
}

func TestSend(t *testing.T) {
	h := open(t, nil)
	g := h.ask("POST", "/api/v1/messages", simple()).is(202, "")
	id, _ := g.json["id"].(string)
	if !slices.Equal(g.statuses(), []string{"bob@example.test accepted"}) || len(id) != 16 || g.header.Get("X-Request-Id") == "" {
		t.Errorf("%s", g.body)
	}
	list := h.inbox("bob@example.test")
	if len(list) != 1 {
		t.Fatalf("%d messages", len(list))
	}
	for _, want := range []string{
		"Return-Path: <alice@example.test>\r\nDelivered-To: bob@example.test\r\nReceived: from [127.0.0.1] ([127.0.0.1])\r\n\tby mx.example.test with HTTP (API)\r\n\tid " + id + "\r\n\tfor <bob@example.test>;\r\n",
		"From: \"Alice\" <alice@example.test>\r\nTo: bob@example.test\r\nSubject: Hi\r\nMessage-ID: <" + id + "@mx.example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHello\r\n",
	} {
		if !strings.Contains(list[0], want) {
			t.Errorf("no %q in\n%s", want, list[0])
		}
	}
	// Two requests without a key are two messages, even if they are the same.
	h.ask("POST", "/api/v1/messages", simple()).is(202, "")
	if n := len(h.inbox("bob@example.test")); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// What an account may not do by SMTP it may not do here.
func TestIdentity(t *testing.T) {
	h := open(t, nil)
	for from, ok := range map[string]bool{
		"alice@example.test": true, "Alice+shop@example.test": true, "info@example.test": true,
		"bob@example.test": false, "alice@example.org": false, "nobody@example.test": false,
	} {
		body := strings.Replace(simple(), "Alice <alice@example.test>", from, 1)
		raw := "From: " + from + "\r\nTo: bob@example.test\r\n\r\nHi\r\n"
		if ok {
			h.ask("POST", "/api/v1/messages", body).is(202, "")
			h.ask("POST", "/api/v1/messages", raw, "Content-Type", "message/rfc822").is(202, "")
		} else {
			h.ask("POST", "/api/v1/messages", body).is(403, "sender-not-allowed")
			h.ask("POST", "/api/v1/messages", raw, "Content-Type", "message/rfc822").is(403, "sender-not-allowed")
		}
	}
	for _, raw := range []string{
		"From: alice@example.test\r\nSender: bob@example.test\r\nTo: bob@example.test\r\n\r\nHi\r\n",
		"From: alice@example.test, bob@example.test\r\nTo: bob@example.test\r\n\r\nHi\r\n",
	} {
		h.ask("POST", "/api/v1/messages", raw, "Content-Type", "message/rfc822").is(403, "sender-not-allowed")
	}
	h.ask("POST", "/api/v1/messages?from=bob@example.test", "From: alice@example.test\r\nTo: bob@example.test\r\n\r\nHi\r\n", "Content-Type", "message/rfc822").is(403, "sender-not-allowed")
	h.ask("POST", "/api/v1/messages", "From: alice@example.test\r\nFrom: bob@example.test\r\nTo: bob@example.test\r\n\r\nHi\r\n", "Content-Type", "message/rfc822").is(422, "invalid-message")
}

func TestKeys(t *testing.T) {
	h := open(t, nil)
	for _, auth := range []string{"", "Basic YTpi", "Bearer", "Bearer ph_x", "Bearer " + h.key + "x"} {
		g := h.ask("POST", "/api/v1/messages", simple(), "Authorization", auth).is(401, "unauthorized")
		if g.header.Get("WWW-Authenticate") == "" {
			t.Error("no WWW-Authenticate")
		}
	}
	h.ask("POST", "/api/v1/messages", simple(), "Authorization", "bearer "+h.key).is(202, "")
	must(t, h.dir.SetDisabled(t.Context(), addr("alice@example.test"), true))
	h.ask("POST", "/api/v1/messages", simple()).is(401, "unauthorized")
}

// On a site a key is refused where it crossed the network in clear.
func TestPlainHTTP(t *testing.T) {
	h := open(t, func(c *Config) { c.Plain = false })
	h.ask("POST", "/api/v1/messages", simple()).is(403, "insecure-transport")
	h.ask("POST", "/api/v1/messages", simple(), "X-Forwarded-Proto", "https").is(403, "insecure-transport")
	h.ask("GET", "/api/v1/openapi.json", "").is(200, "")
}

func TestRecipients(t *testing.T) {
	h := open(t, nil)
	g := h.ask("POST", "/api/v1/messages", `{"from":"alice@example.test","to":["bob@example.test","nobody@example.test"],"cc":{"address":"x@example.org","name":"X, Y"},
		"bcc":["y@example.org","bob@example.test"],"subject":"s","text":"t"}`).is(202, "")
	if got, want := g.statuses(), []string{"bob@example.test accepted", "nobody@example.test rejected", "x@example.org accepted", "y@example.org accepted"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if n := len(h.inbox("bob@example.test")); n != 1 {
		t.Errorf("bob has %d", n)
	}
	captured := h.inbox("captured@example.test")
	if len(captured) != 2 || strings.Contains(captured[0], "Bcc") || strings.Contains(captured[0], "y@example.org>\r\nTo") || !strings.Contains(captured[0], `Cc: "X, Y" <x@example.org>`) {
		t.Errorf("%q", captured)
	}
	g = h.ask("POST", "/api/v1/messages", strings.Replace(simple(), "bob@", "nobody@", 1)).is(422, "no-recipients")
	if len(g.statuses()) != 1 {
		t.Errorf("%s", g.body)
	}
}

// A request that comes again with its key is answered again; one message is sent.
func TestIdempotencyKey(t *testing.T) {
	h := open(t, nil)
	first := h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "a1").is(202, "")
	again := h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "a1").is(202, "")
	if !bytes.Equal(first.body, again.body) || first.header.Get(replayed) != "" || again.header.Get(replayed) != "true" {
		t.Errorf("%s %s", first.body, again.body)
	}
	h.ask("POST", "/api/v1/messages", simple(`"cc":"x@example.org"`), "Idempotency-Key", "a1").is(422, "idempotency-key-reused")
	// Another account's key is another, and another key another request.
	h.ask("POST", "/api/v1/messages", strings.Replace(simple(), "alice@", "bob@", 1), "Idempotency-Key", "a1", "Authorization", "Bearer "+h.bobKey).is(202, "")
	h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "a2").is(202, "")
	if n := len(h.inbox("bob@example.test")); n != 3 {
		t.Errorf("%d messages", n)
	}
	// What was refused can be mended under its key.
	h.ask("POST", "/api/v1/messages", strings.Replace(simple(), "alice@", "bob@", 1), "Idempotency-Key", "a3").is(403, "sender-not-allowed")
	h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "a3").is(202, "")
	for _, bad := range []string{strings.Repeat("x", 256), "a b", "ä"} {
		h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", bad).is(400, "invalid-parameter")
	}
	// Of a whole message, too.
	raw := "From: alice@example.test\nTo: bob@example.test\nMessage-ID: <x@example.test>\nSubject: raw\n\nHi\n"
	one := h.ask("POST", "/api/v1/messages", raw, "Content-Type", "message/rfc822", "Idempotency-Key", "r").is(202, "")
	two := h.ask("POST", "/api/v1/messages", raw, "Content-Type", "message/rfc822", "Idempotency-Key", "r").is(202, "")
	if !bytes.Equal(one.body, two.body) || one.json["message_id"] != "<x@example.test>" {
		t.Errorf("%s %s", one.body, two.body)
	}
	if n := len(h.inbox("bob@example.test")); n != 5 {
		t.Errorf("%d messages", n)
	}
}

// Twenty at once with one key: one message, and nobody hears another answer.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	h := open(t, func(c *Config) { c.Limits.PerAccount = 100 })
	var mu sync.Mutex
	answers := make(map[string]int)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for {
				g := h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "once")
				if g.status == http.StatusConflict {
					if g.json["code"] != "request-in-progress" || g.header.Get("Retry-After") == "" {
						t.Errorf("%s", g.body)
					}
					continue
				}
				g.is(202, "")
				mu.Lock()
				answers[string(g.body)]++
				mu.Unlock()
				return
			}
		})
	}
	all.Wait()
	if n := len(h.inbox("bob@example.test")); n != 1 || len(answers) != 1 {
		t.Errorf("%d messages, answers %v", n, answers)
	}
}

func TestBatch(t *testing.T) {
	h := open(t, nil)
	batch := `{"defaults":{"from":"alice@example.test","subject":"Hello {{name}}","text":"Dear {{name}}, {{what}}","html":"<p>Dear {{name}}</p>","variables":{"what":"news"}},
		"messages":[{"to":"bob@example.test","variables":{"name":"Bob & <b>"}},{"to":"nobody@example.test","variables":{"name":"N"}},{"to":"bob@example.test","variables":{"name":"B2","what":7}}]}`
	var first []byte
	for i := range 2 {
		g := h.ask("POST", "/api/v1/messages/batch", batch, "Idempotency-Key", "b").is(200, "")
		var statuses []int
		for _, m := range g.json["messages"].([]any) {
			statuses = append(statuses, int(m.(map[string]any)["status"].(float64)))
		}
		if !slices.Equal(statuses, []int{202, 422, 202}) {
			t.Errorf("%s", g.body)
		}
		if i == 0 {
			first = g.body
		} else if !bytes.Equal(first, g.body) {
			t.Errorf("%s\n%s", first, g.body)
		}
	}
	list := h.inbox("bob@example.test")
	if len(list) != 2 {
		t.Fatalf("%d messages", len(list))
	}
	for i, want := range [][]string{{"Subject: Hello Bob & <b>\r\n", "Dear Bob & <b>, news", "<p>Dear Bob &amp; &lt;b&gt;</p>"}, {"Dear B2, 7"}} {
		for _, w := range want {
			if !strings.Contains(list[i], w) {
				t.Errorf("no %q in\n%s", w, list[i])
			}
		}
	}
	g := h.ask("POST", "/api/v1/messages/batch", strings.Replace(batch, `"name":"N"`, `"nam":"N"`, 1)).is(422, "invalid-message")
	if got := g.pointers(); len(got) == 0 || !strings.HasPrefix(got[0], "/defaults/subject") {
		t.Errorf("%s", g.body)
	}
	h.ask("POST", "/api/v1/messages/batch", `{"messages":[]}`).is(422, "invalid-message")
	h.ask("POST", "/api/v1/messages/batch", `[]`).is(422, "invalid-message")
}

func TestMIME(t *testing.T) {
	h := open(t, nil)
	image, file := bytes.Repeat([]byte{1, 2, 250}, 1000), bytes.Repeat([]byte("x\r\n.\r\n"), 100)
	name := "Ärger mit einem sehr langen Namen, der in keine Zeile paßt und deshalb in Stücken kommt.pdf"
	body, err := json.Marshal(map[string]any{
		"from": map[string]string{"name": "Älice \"A\"", "address": "alice@example.test"}, "to": []string{"Bob <bob@example.test>"}, "reply_to": "info@example.test",
		"subject": "Grüße und eine sehr lange Betreffzeile, die gefaltet werden muß, weil sie nicht in eine Zeile paßt 🙂",
		"text":    "Zeile\n.\nFrom here\n" + strings.Repeat("langes Wort ", 200), "html": "<img src=\"cid:logo\">",
		"headers": map[string]string{"X-Campaign": "spring", "References": "<a@example.org> <b@example.org>", "X-Ü": ""},
		"attachments": []map[string]any{
			{"filename": "logo.png", "content_type": "image/png", "content": base64.StdEncoding.EncodeToString(image), "content_id": "logo"},
			{"filename": name, "content": base64.StdEncoding.EncodeToString(file)},
		},
	})
	must(t, err)
	h.ask("POST", "/api/v1/messages", string(body)).is(422, "invalid-message") // X-Ü
	body = bytes.Replace(body, []byte(`,"X-Ü":""`), nil, 1)
	h.ask("POST", "/api/v1/messages", string(body)).is(202, "")
	text := h.inbox("bob@example.test")[0]
	for i, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") || !isPrintable(strings.ReplaceAll(line, "\t", "")) {
			t.Errorf("line %d: %q", i, line)
		}
	}
	r, err := gomail.CreateReader(strings.NewReader(text))
	must(t, err)
	subject, err := r.Header.Subject()
	from, _ := r.Header.AddressList("From")
	if err != nil || subject != "Grüße und eine sehr lange Betreffzeile, die gefaltet werden muß, weil sie nicht in eine Zeile paßt 🙂" || from[0].Name != `Älice "A"` || r.Header.Get("References") != "<a@example.org> <b@example.org>" {
		t.Errorf("%q %v %v", subject, from, err)
	}
	var kinds []string
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		must(t, err)
		content, err := io.ReadAll(p.Body)
		must(t, err)
		switch head := p.Header.(type) {
		case *gomail.InlineHeader:
			media, _, _ := head.ContentType()
			kinds = append(kinds, media)
			if media == "image/png" && !bytes.Equal(content, image) {
				t.Error("the image is another")
			}
			if media == "text/plain" && !strings.HasPrefix(string(content), "Zeile\r\n.\r\nFrom here\r\nlanges") {
				t.Errorf("%q", content)
			}
		case *gomail.AttachmentHeader:
			got, err := head.Filename()
			if err != nil || got != name || !bytes.Equal(content, file) {
				t.Errorf("%q %v", got, err)
			}
			kinds = append(kinds, "attachment")
		}
	}
	if want := []string{"text/plain", "text/html", "image/png", "attachment"}; !slices.Equal(kinds, want) {
		t.Errorf("%q", kinds)
	}
}

// A whole message: only its header is mended; LF becomes CRLF.
func TestRaw(t *testing.T) {
	h := open(t, nil)
	rfc822 := []string{"Content-Type", "message/rfc822"}
	h.ask("POST", "/api/v1/messages", "From: alice@example.test\nTo: Bob <bob@example.test>\nBcc: x@example.org\nX-A: ä\n\nGrüße\n", rfc822...).is(202, "")
	got := h.inbox("bob@example.test")[0]
	if !strings.Contains(got, "From: alice@example.test\r\nTo: Bob <bob@example.test>\r\nX-A: ä\r\n\r\nGrüße\r\n") || strings.Contains(got, "Bcc") || !strings.Contains(got, "Message-Id: <") {
		t.Errorf("%s", got)
	}
	if len(h.inbox("captured@example.test")) != 1 {
		t.Error("the blind recipient got nothing")
	}
	h.ask("POST", "/api/v1/messages?to=y@example.org&to=z@example.org", "From: alice@example.test\r\nTo: bob@example.test\r\n\r\nHi", rfc822...).is(202, "")
	if n := len(h.inbox("bob@example.test")); n != 1 {
		t.Errorf("bob has %d", n)
	}
	for body, code := range map[string]string{
		"From: alice@example.test\r\n\r\nHi":                                                        "invalid-message", // to nobody
		"From: alice@example.test\r\nTo: a\rb@example.org\r\n\r\nHi":                                "invalid-message",
		"From: alice@example.test\r\nTo: bob@example.test\r\n\r\nN\x00":                             "invalid-message",
		"From: alice@example.test\r\nTo: bob@example.test\r\n\r\n" + strings.Repeat("x", 999):       "invalid-message",
		strings.Repeat("Received: x\r\n", 101) + "From: alice@example.test\r\nTo: bob@example.test": "invalid-message",
	} {
		h.ask("POST", "/api/v1/messages", body, rfc822...).is(422, code)
	}
	h.ask("POST", "/api/v1/messages?to=nonsense", "From: alice@example.test\r\n\r\nHi", rfc822...).is(400, "invalid-parameter")
	h.ask("POST", "/api/v1/messages?cc=a@example.org", "From: alice@example.test\r\n\r\nHi", rfc822...).is(400, "invalid-parameter")
}

// A large attachment stays in the spool; a message over the limit is refused.
func TestLarge(t *testing.T) {
	h := open(t, func(c *Config) { c.Limits.Message, c.Limits.Text = 4<<20, 100_000 })
	attached := func(n int) string {
		content := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("0123456789"), n/10))
		return simple(fmt.Sprintf(`"attachments":[{"filename":"a","content":%q}]`, content))
	}
	h.ask("POST", "/api/v1/messages", attached(2_500_000)).is(202, "")
	h.ask("POST", "/api/v1/messages", attached(3_500_000)).is(413, "too-large")
	h.ask("POST", "/api/v1/messages", attached(9_000_000)).is(413, "too-large")
	h.ask("POST", "/api/v1/messages", simple(`"html":"`+strings.Repeat("x", 100_001)+`"`)).is(413, "too-large")
	if got := h.inbox("bob@example.test"); len(got) != 1 || len(got[0]) < 3_300_000 {
		t.Errorf("%d messages", len(got))
	}
}
