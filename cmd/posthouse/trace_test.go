package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"posthouse/internal/events"
	"posthouse/internal/test/pgtest"
)

// command runs posthouse on a database and gives its exit code and output.
func command(t *testing.T, url string, args ...string) (int, string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(append(args, "--database", url, "--data", dataOf(t)), strings.NewReader(""), &out, &errOut)
	if code != 0 {
		return code, errOut.String()
	}
	return code, out.String()
}

var dataFolders = map[string]string{}

// dataOf is a data folder, one for all commands of a test.
func dataOf(t *testing.T) string {
	if dataFolders[t.Name()] == "" {
		dataFolders[t.Name()] = folder(t)
		t.Cleanup(func() { delete(dataFolders, t.Name()) })
	}
	return dataFolders[t.Name()]
}

// TestTrace asks what happened to a mail for two recipients: one has it, one
// waits for its third attempt.
func TestTrace(t *testing.T) {
	pool := pgtest.Pool(t)
	url := pool.Config().ConnString()
	log, err := events.Open(pool, events.Options{Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	const id = "06l0tracetest000"
	for _, e := range []events.Event{
		{Kind: events.Received, Message: id, From: "alice@example.test", HeaderID: "<m1@example.test>", Subject: "Minutes", Remote: "[127.0.0.1]:4711", TLS: "TLS1.3", Size: 1234, Duration: 3 * time.Millisecond},
		{Kind: events.Queued, Message: id, Recipient: "bob@example.org"},
		{Kind: events.Queued, Message: id, Recipient: "carol@example.org"},
		{Kind: events.Deferred, Message: id, Recipient: "carol@example.org", Remote: "mx.example.org [127.0.0.2]:25", Code: 451, Enhanced: "4.7.1", Text: "greylisted, come back later"},
		{Kind: events.Delivered, Message: id, Recipient: "bob@example.org", Remote: "mx.example.org [127.0.0.2]:25", TLS: "TLS1.3, verified by DANE", Code: 250, Enhanced: "2.0.0", Text: "ok"},
	} {
		log.Add(e)
	}
	log.Close()
	if _, err := pool.Exec(t.Context(), `WITH m AS (INSERT INTO queue_message (blob_id, ref) VALUES (1, $1) RETURNING id)
		INSERT INTO queue_rcpt (message_id, n, address, destination, next_at, attempts) SELECT id, 1, 'carol@example.org', 'example.org', now() + interval '10 minutes', 2 FROM m`, id); err != nil {
		t.Fatal(err)
	}

	code, out := command(t, url, "trace", "show", id)
	for _, want := range []string{
		"alice@example.test", "Minutes",
		"received from [127.0.0.1]:4711 over TLS1.3, 1234 octets, in 3ms",
		"bob@example.org: delivered to mx.example.org [127.0.0.2]:25 over TLS1.3, verified by DANE: 250 2.0.0 ok",
		"carol@example.org: not delivered yet: mx.example.org [127.0.0.2]:25 said 451 4.7.1 greylisted, come back later",
		"carol@example.org: waits in the queue, tried next at ",
		"attempts so far: 2",
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q in:\n%s", code, want, out)
		}
	}
	if code, again := command(t, url, "trace", "show", "<m1@example.test>"); code != 0 || !strings.Contains(again, id) {
		t.Errorf("by Message-ID: exit %d\n%s", code, again)
	}
	code, out = command(t, url, "trace", "find", "--from", "ALICE@", "--to", "carol", "--since", "2h")
	if code != 0 || !strings.Contains(out, id) || !strings.Contains(out, "deferred 451 4.7.1") {
		t.Errorf("find: exit %d\n%s", code, out)
	}
	code, out = command(t, url, "trace", "find", "--kind", "delivered", "--json")
	var found []events.Message
	if err := json.Unmarshal([]byte(out), &found); code != 0 || err != nil || len(found) != 1 || len(found[0].Recipients) != 2 {
		t.Errorf("find --json: exit %d, %v\n%s", code, err, out)
	}
	code, out = command(t, url, "trace", "show", id, "--json")
	var shown traceView
	if err := json.Unmarshal([]byte(out), &shown); code != 0 || err != nil || len(shown.Events) != 5 || len(shown.Waiting) != 1 {
		t.Errorf("show --json: exit %d, %v\n%s", code, err, out)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitNotFound, []string{"trace", "show", "nothing"}},
		{exitNotFound, []string{"trace", "find", "--to", "dave@example.org"}},
		{exitNotFound, []string{"trace", "find", "--until", "2001-01-01"}},
		{exitNotFound, []string{"trace", "find", "--account", "nobody@example.test"}},
		{exitUsage, []string{"trace", "find", "--since", "yesterday-ish"}},
		{exitUsage, []string{"trace", "find", "--kind", "eaten"}},
		{exitUsage, []string{"trace", "find", "--limit", "0"}},
	} {
		if code, out := command(t, url, c.args...); code != c.code || !strings.HasPrefix(out, "posthouse: ") {
			t.Errorf("%v: exit %d, want %d: %s", c.args, code, c.code, out)
		}
	}
}
