package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"posthouse/internal/test/nexthop"
)

// TestSendOverHTTP: a program sends with a key, once for each Idempotency-Key,
// is told by a signed webhook what became of each recipient, and can ask.
func TestSendOverHTTP(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	from := sender(t, n, "program")
	hop := w.domain(t, "api.example", nexthop.Script{Rcpt: map[string]string{"no@api.example": "550 5.1.1 nobody"}})
	var mu sync.Mutex
	type call struct {
		body      []byte
		signature string
	}
	var calls []call
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, call{body, r.Header.Get("Posthouse-Signature")})
	}))
	t.Cleanup(hook.Close)
	out, err := n.Command(t.Context(), "", "apikey", "add", from, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(out), &key); err != nil || key.Key == "" {
		t.Fatalf("%v: %s", err, out)
	}
	out, err = n.Command(t.Context(), "", "hook", "add", hook.URL, "--account", from, "--allow-private", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Secret == "" {
		t.Fatalf("%v: %s", err, out)
	}

	ask := func(method, path string, body []byte, header ...string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Listen["http"]+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key.Key)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, answer
	}
	letter, err := json.Marshal(map[string]any{"from": from, "to": []string{"yes@api.example", "no@api.example"}, "subject": "by a program", "text": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	// A server learns within a second that its site has a hook.
	probe, err := json.Marshal(map[string]any{"from": from, "to": []string{"probe@api.example"}, "subject": "probe", "text": "probe"})
	if err != nil {
		t.Fatal(err)
	}
	for told, tick := 0, time.NewTicker(300*time.Millisecond); told == 0; <-tick.C {
		if code, answer := ask("POST", "/api/v1/messages", probe); code != http.StatusAccepted {
			t.Fatalf("%d %s", code, answer)
		}
		mu.Lock()
		told = len(calls)
		mu.Unlock()
	}
	var sent struct{ ID string }
	for range 2 { // the second is the same one
		code, answer := ask("POST", "/api/v1/messages", letter, "Idempotency-Key", "order-7")
		var got struct{ ID string }
		if err := json.Unmarshal(answer, &got); code != http.StatusAccepted || err != nil || sent.ID != "" && got.ID != sent.ID {
			t.Fatalf("%d %s, %v", code, answer, err)
		}
		sent = got
	}
	if !hop.Until(func() bool { return hop.Copies("yes@api.example") > 0 }) {
		t.Fatal("it did not come")
	}
	var m *nexthop.Message
	for _, m = range hop.Messages() {
		if m.Field("Subject") != "probe" {
			break
		}
	}
	if m.From != from || m.Field("Subject") != "by a program" || m.Field("DKIM-Signature") == "" || strings.TrimSpace(string(m.Body())) != "hello" {
		t.Errorf("%+v\n%s", m, m.Octets)
	}
	told := make(map[string]bool)
	eventually(t, "the webhook is told of both", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range calls {
			var event struct {
				Type string
				Data struct{ Message, Recipient string }
			}
			if err := json.Unmarshal(c.body, &event); err != nil {
				t.Fatalf("%v: %s", err, c.body)
			}
			when, code, _ := strings.Cut(strings.TrimPrefix(c.signature, "t="), ",v1=")
			mac := hmac.New(sha256.New, []byte(made.Secret))
			mac.Write([]byte(when + "." + string(c.body)))
			if code != hex.EncodeToString(mac.Sum(nil)) {
				t.Fatalf("signature %s of %s", c.signature, c.body)
			}
			if event.Data.Message == sent.ID {
				told[event.Type+" "+event.Data.Recipient] = true
			}
		}
		return told["delivered yes@api.example"] && told["bounced no@api.example"]
	})
	code, answer := ask("GET", "/api/v1/messages/"+sent.ID, nil)
	if code != http.StatusOK || !bytes.Contains(answer, []byte("taken as")) || !bytes.Contains(answer, []byte("nobody")) {
		t.Errorf("%d %s", code, answer)
	}
	emptyQueue(t, n, "api.example")
	if hop.Copies("yes@api.example") != 1 {
		t.Errorf("%d copies of one message", hop.Copies("yes@api.example"))
	}
}
