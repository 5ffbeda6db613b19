package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/e2e/node"
)

// TestKillServerOnce: programs send by HTTP while the server is killed again
// and again, and ask until they have an answer. Each Idempotency-Key is then one
// message, and has had one answer.
func TestKillServerOnce(t *testing.T) {
	t.Parallel()
	const kills, senders = 4, 4
	data := folder(t)
	run := func() *node.Node {
		n, err := node.Start(binary, data, nil, "--data", data, "--account", "alice@localhost:correct horse", "--account", "bob@localhost:correct horse")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := run()
	out, err := n.Command(t.Context(), "", "apikey", "add", "alice@localhost")
	if err != nil {
		t.Fatal(err)
	}
	var at atomic.Pointer[string] // where the server of the moment listens
	moved := func() {
		url := "http://" + n.Listen["http"]
		at.Store(&url)
	}
	moved()
	p := &programs{t: t, key: strings.TrimSpace(out), at: &at, stop: make(chan struct{}), answers: make(map[string]string)}
	var working sync.WaitGroup
	for i := range senders {
		working.Go(func() { p.send(fmt.Sprint("program ", i)) })
	}
	for range kills {
		before := p.answered.Load()
		eventually(t, "programs send", func() bool { return p.answered.Load() >= before+20 })
		n.Kill()
		n = run()
		moved()
	}
	close(p.stop)
	working.Wait()
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	found := make(map[string]int)
	c := login(t, n, "bob@localhost", "correct horse", nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := c.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		found[m.Envelope.Subject]++
	}
	for key := range p.answers {
		if found[key] != 1 {
			t.Errorf("%s: %d messages", key, found[key])
		}
	}
	if len(found) != len(p.answers) || len(found) < 20*kills || p.again.Load() == 0 {
		t.Errorf("%d messages for %d keys, %d of them asked for again", len(found), len(p.answers), p.again.Load())
	}
	t.Logf("%d messages, %d requests asked again, %d answers repeated", len(found), p.again.Load(), p.repeated.Load())
}

// programs send until they are stopped.
type programs struct {
	t    *testing.T
	key  string
	at   *atomic.Pointer[string]
	stop chan struct{}

	answered, again, repeated atomic.Int64
	mu                        sync.Mutex
	answers                   map[string]string
}

func (p *programs) send(name string) {
	for i := 0; ; i++ {
		select {
		case <-p.stop:
			return
		default:
		}
		key := fmt.Sprintf("%s, message %d", name, i)
		body, err := json.Marshal(map[string]string{"from": "alice@localhost", "to": "bob@localhost", "subject": key, "text": "hello"})
		if err != nil {
			p.t.Error(err)
			return
		}
		for deadline := time.Now().Add(node.Patience); ; p.again.Add(1) {
			if answer, ok := p.ask(strings.ReplaceAll(key, " ", "_"), body); ok {
				p.mu.Lock()
				p.answers[key] = answer
				p.mu.Unlock()
				p.answered.Add(1)
				break
			}
			if time.Now().After(deadline) {
				p.t.Errorf("%s is not accepted", key)
				return
			}
			time.Sleep(20 * time.Millisecond) // as a program would
		}
	}
}

// ask reports whether the message was accepted; no answer says nothing.
func (p *programs) ask(key string, body []byte) (string, bool) {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, *p.at.Load()+"/api/v1/messages", bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return "", false
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusConflict {
			p.t.Errorf("%d %s", resp.StatusCode, answer)
		}
		return "", false
	}
	if resp.Header.Get("Idempotency-Replayed") != "" {
		p.repeated.Add(1)
	}
	return string(answer), true
}
