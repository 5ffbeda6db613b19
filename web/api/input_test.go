package api

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"posthouse/internal/spool"
)

// Bad input is answered with what is wrong, and where.
func TestBadFields(t *testing.T) {
	h := open(t, nil)
	for _, x := range []struct{ body, pointer string }{
		{`{}`, "/from"},
		{`{"from":"alice@example.test","text":"x"}`, "/to"},
		{`{"from":"alice@example.test","to":"bob@example.test"}`, "/text"},
		{`{"from":null,"to":"bob@example.test","text":"x"}`, "/from"},
		{`{"from":"alice","to":"bob@example.test","text":"x"}`, "/from"},
		{`{"from":["alice@example.test"],"to":"bob@example.test","text":"x"}`, "/from"},
		{simple(`"colour":"red"`), "/colour"},
		{simple(`"cc":["a@example.org",7]`), "/cc/1"},
		{simple(`"cc":[{"email":"a@example.org"}]`), "/cc/0/email"},
		{simple(`"cc":"a@example.org\r\nBcc: x@example.org"`), "/cc"},
		{simple(`"cc":{"address":"a@example.org","name":"A\nBcc: x@example.org"}`), "/cc/name"},
		{simple(`"cc":"\"a\r\n\"@example.org"`), "/cc"},
		{simple(`"headers":{"X-A":"1\r\nBcc: x@example.org"}`), "/headers/X-A"},
		{simple(`"headers":{"X-A\r\nBcc":"x@example.org"}`), "/headers/X-A\r\nBcc"},
		{simple(`"headers":{"X:A":"x"}`), "/headers/X:A"},
		{simple(`"headers":{"X-A":"\u0000"}`), "/headers/X-A"},
		{simple(`"headers":{"x~a/b":"1"}`), "/headers/x~0a~1b"},
		{simple(`"headers":{"bCc":"x@example.org"}`), "/headers/bCc"},
		{simple(`"headers":{"Content-Type":"x"}`), "/headers/Content-Type"},
		{simple(`"headers":{"X-A":"1","x-a":"2"}`), "/headers/x-a"},
		{simple(`"headers":[]`), "/headers"},
		{strings.Replace(simple(), `"Hi"`, `"Hi\r\nBcc: x@example.org"`, 1), "/subject"},
		{strings.Replace(simple(), `"Hi"`, `7`, 1), "/subject"},
		{strings.Replace(simple(), `"Hello"`, `"\u0000"`, 1), "/text"},
		{strings.Replace(simple(`"variables":{}`), `"Hi"`, `"Hi {{a"`, 1), "/subject"},
		{strings.Replace(simple(`"variables":{"b":"1"}`), `"Hi"`, `"{{a}}"`, 1), "/subject"},
		{strings.Replace(simple(`"variables":{"a":"1\r\nBcc: x@example.org"}`), `"Hi"`, `"{{a}}"`, 1), "/subject"},
		{simple(`"variables":{"a":[]}`), "/variables/a"},
		{simple(`"variables":{"a b":1}`), "/variables/a b"},
		{simple(`"attachments":[{}]`), "/attachments/0/content"},
		{simple(`"attachments":[{"content":"äöü="}]`), "/attachments/0/content"},
		{simple(`"attachments":[{"content":"QUJ"}]`), "/attachments/0/content"},
		{simple(`"attachments":[{"content":"QU\tJD"}]`), "/attachments/0/content"},
		{simple(`"attachments":[{"content":7}]`), "/attachments/0/content"},
		{simple(`"attachments":[{"cont\u0065nt":"QUJD"}]`), "/attachments/0/content"},
		{simple(`"attachments":[{"content":"QUJD","filename":"a\r\nb"}]`), "/attachments/0/filename"},
		{simple(`"attachments":[{"content":"QUJD","content_type":"text"}]`), "/attachments/0/content_type"},
		{simple(`"attachments":[{"content":"QUJD","content_type":"multipart/mixed"}]`), "/attachments/0/content_type"},
		{simple(`"attachments":[{"content":"QUJD","content_id":"a b"}]`), "/attachments/0/content_id"},
		{simple(`"attachments":[{"content":"QUJD","content_id":"a"}]`), "/attachments"},
		{simple(`"send_at":"tomorrow"`), "/send_at"},
		{simple(`"send_at":"2999-01-01T00:00:00Z"`), "/send_at"},
		{simple(`"list_unsubscribe":{}`), "/list_unsubscribe"},
		{simple(`"list_unsubscribe":{"url":"http://example.org/"}`), "/list_unsubscribe/url"},
		{simple(`"list_unsubscribe":{"url":"https://example.org/>, <x"}`), "/list_unsubscribe/url"},
		{simple(`"list_unsubscribe":{"one_click":true},"cc":"a@example.org"`), "/list_unsubscribe"},
	} {
		g := h.ask("POST", "/api/v1/messages", x.body)
		if g.status != 422 || !slices.Contains(g.pointers(), x.pointer) {
			t.Errorf("%s: %d %q, want %q: %s", x.body, g.status, g.pointers(), x.pointer, g.body)
		}
	}
	// All that is wrong is told at once.
	g := h.ask("POST", "/api/v1/messages", `{"from":"x","to":[1,2],"subject":"\n","x":1}`).is(422, "invalid-message")
	if len(g.pointers()) != 6 {
		t.Errorf("%q", g.pointers())
	}
	if n := len(h.inbox("bob@example.test")) + len(h.inbox("captured@example.test")); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

func TestBadRequests(t *testing.T) {
	h := open(t, nil)
	for body, code := range map[string]string{
		"": "malformed-json", "{": "malformed-json", "nonsense": "malformed-json", `{"a":1}{`: "malformed-json", "{} {}": "malformed-json",
		"{\"from\":\"\xff\"}": "malformed-json", `{"a":1,"a":2}`: "malformed-json", strings.Repeat("[", 100): "malformed-json",
		`{"` + strings.Repeat("x", 201) + `":1}`: "malformed-json", "{\"from\":\"a\nb\"}": "malformed-json",
	} {
		h.ask("POST", "/api/v1/messages", body, "Content-Type", "application/json").is(400, code)
	}
	for _, body := range []string{"[]", "7", "null", `"x"`} {
		h.ask("POST", "/api/v1/messages", body).is(422, "invalid-message")
	}
	for _, media := range []string{"", "text/plain", "multipart/form-data", "application/xml"} {
		h.ask("POST", "/api/v1/messages", simple(), "Content-Type", media).is(415, "unsupported-media-type")
	}
	h.ask("POST", "/api/v1/messages", simple(), "Content-Encoding", "gzip").is(415, "unsupported-media-type")
	h.ask("POST", "/api/v1/messages", simple(), "Accept", "text/html").is(406, "not-acceptable")
	h.ask("POST", "/api/v1/messages", simple(), "Accept", "application/json;q=0, text/html").is(406, "not-acceptable")
	h.ask("POST", "/api/v1/messages", simple(), "Accept", "text/html, */*;q=0.1").is(202, "")
	h.ask("POST", "/api/v1/messages", simple(), "Content-Type", "Application/JSON; charset=utf-8").is(202, "")
	if g := h.ask("GET", "/api/v1/messages", "").is(405, "method-not-allowed"); g.header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", g.header.Get("Allow"))
	}
	h.ask("DELETE", "/api/v1/messages/x", "").is(405, "method-not-allowed")
	h.ask("GET", "/api/v1/nothing", "").is(404, "not-found")
	h.ask("GET", "/api/v1/messages/unknown", "").is(404, "not-found")
	for _, q := range []string{"after=x", "after=-1", "limit=0", "limit=1001", "kind=x", "wait=31", "wait=NaN", "colour=red"} {
		h.ask("GET", "/api/v1/events?"+q, "").is(400, "invalid-parameter")
	}
	g := h.ask("GET", "/api/v1/", "", "Authorization", "").is(200, "")
	if !strings.Contains(string(g.body), `id="idempotency-key-reused"`) {
		t.Errorf("%s", g.body)
	}
}

// The skeleton of a JSON text is the text, but for the contents.
func TestSkeleton(t *testing.T) {
	for in, want := range map[string]string{
		`{"content":"abc"}`:                     `{"content":"12 3"}`,
		`{ "content" : "a\"bc" , "x":"y"}`:      `{ "content" : "15 5" , "x":"y"}`,
		`{"content":["content","x"]}`:           `{"content":["content","x"]}`,
		`{"content":null,"x":"content"}`:        `{"content":null,"x":"content"}`,
		`{"x":"content","y":"\\"}`:              `{"x":"content","y":"\\"}`,
		`["content","x",{"contents":"x"}]`:      `["content","x",{"contents":"x"}]`,
		`{"a":{"content":""},"content":"\\\""}`: `{"a":{"content":"17 0"},"content":"31 4"}`,
		`{"content":"abc`:                       `{"content":"`,
	} {
		s := spool.New("", 1<<20)
		io.WriteString(s, in)
		got, err := io.ReadAll(newSkeleton(s, 1000))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

// A slash may be escaped, and lines may end, in base64.
func TestHeldBase64(t *testing.T) {
	s := spool.New("", 1<<20)
	fmt.Fprint(s, `{"content":"+\/\r\n+\/"}`)
	h, err := parseHeld("12 10", s)
	must(t, err)
	got, err := io.ReadAll(h.base64())
	if err != nil || string(got) != "+/+/" {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"", "1", "-1 5", "0 99", "9223372036854775807 1", "a b"} {
		if _, err := parseHeld(bad, s); err == nil {
			t.Errorf("%q", bad)
		}
	}
}

// FuzzMessage: whatever is asked, the answer is an answer, and what is sent has
// the fields that were asked for and no other.
func FuzzMessage(f *testing.F) {
	f.Add("Alice", "Hi", "Hello\r\n", "<p>", "X-A", "v", "a.txt", []byte("x"))
	f.Add("Ä, \"x\"", "=?utf-8?q?x?=", ".\n", "", "References", strings.Repeat("<a@b> ", 100), strings.Repeat("ä", 120), []byte{0, 13, 10})
	f.Add("a\\", strings.Repeat("x", 1500), "\r", "&", "X-B", "  two  spaces ", "a\"b\\c;d=e", []byte{})
	f.Fuzz(func(t *testing.T, name, subject, text, html, field, value, filename string, content []byte) {
		for _, s := range []string{name, subject, text, html, field, value, filename} {
			if !utf8.ValidString(s) {
				t.Skip("JSON has no such strings")
			}
		}
		body, err := json.Marshal(map[string]any{
			"from": map[string]string{"name": name, "address": "alice@example.test"}, "to": "bob@example.test", "subject": subject,
			"text": text, "html": html, "headers": map[string]string{field: value},
			"attachments": []map[string]any{{"filename": filename, "content": content}},
		})
		must(t, err)
		checkComposed(t, body, name, subject, text, field, value, filename, content)
	})
}
