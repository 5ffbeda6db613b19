package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthouse/internal/test/nexthop"
	"posthouse/internal/test/pgtest"
)

// TestRelayTest has the command try next hops that log in, refuse, and are not there.
func TestRelayTest(t *testing.T) {
	dir := t.TempDir()
	url := pgtest.URL(t)
	ca := nexthop.NewCA()
	trust, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "secret_key")
	for file, content := range map[string][]byte{trust: ca.PEM(), key: []byte(strings.Repeat("07", 32) + "\n")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := nexthop.Start(t, nexthop.Script{TLS: ca.Config("127.0.0.1"), Auth: map[string]string{"site": "correct horse battery"},
		Rcpt: map[string]string{"nobody@example.test": "550 5.1.1 no such user"}})
	full := nexthop.Start(t, nexthop.Script{Replies: map[string]string{"CONNECT": "554 5.7.1 not from there"}})
	posthouse := func(want int, in string, args ...string) (out, errOut string) {
		t.Helper()
		var o, e bytes.Buffer
		if code := run(append([]string{"--database", url, "--data", dir}, args...), strings.NewReader(in), &o, &e); code != want {
			t.Fatalf("%q ends with %d, want %d: %s%s", args, code, want, o.String(), e.String())
		}
		if strings.Contains(o.String()+e.String(), "battery") {
			t.Errorf("%q prints the password", args)
		}
		return o.String(), e.String()
	}
	posthouse(0, "correct horse battery\n", "relay", "add", "smart", good.Addr.String(), full.Addr.String(), "127.0.0.1:1",
		"--user", "site", "--password-stdin", "--tls", "verified")
	out, _ := posthouse(0, "", "relay", "test", "smart", "--trust", trust, "--json")
	var hops []hopView
	if err := json.Unmarshal([]byte(out), &hops); err != nil || len(hops) != 3 {
		t.Fatal(out, err)
	}
	if h := hops[0]; !h.OK || !strings.Contains(h.TLS, "TLS") || h.Host != good.Addr.String() {
		t.Errorf("the good one: %+v", h)
	}
	if h := hops[1]; h.OK || h.Code != 554 || h.Stage != "greeting" {
		t.Errorf("the one that refuses us: %+v", h)
	}
	if h := hops[2]; h.OK || h.Stage != "connecting" {
		t.Errorf("the one that is not there: %+v", h)
	}
	if s := good.Session(1); s == nil || s.User != "site" || s.Transactions != 0 {
		t.Errorf("%+v", s)
	}
	out, _ = posthouse(0, "", "relay", "test", "smart", "--trust", trust)
	for _, want := range []string{"logged in as site", "FAILED", "554 not from there"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	posthouse(0, "", "relay", "test", "smart", "--trust", trust, "--to", "bob@example.test")
	out, errOut := posthouse(1, "", "relay", "test", "smart", "--trust", trust, "--from", "alice@example.org", "--to", "nobody@example.test")
	if !strings.Contains(out, "no such user") || !strings.Contains(errOut, "relay smart takes no mail") {
		t.Error(out, errOut)
	}
	if n := good.Taken(); n != 0 {
		t.Errorf("%d messages were sent", n)
	}

	// Without the authority the password stays here; with a wrong one it fails.
	out, _ = posthouse(1, "", "relay", "test", "smart")
	if !strings.Contains(out, "TLS") {
		t.Error(out)
	}
	posthouse(0, "another horse battery\n", "relay", "add", "smart", good.Addr.String(), "--user", "site", "--password-stdin", "--tls", "verified", "--replace")
	out, _ = posthouse(1, "", "relay", "test", "smart", "--trust", trust)
	if !strings.Contains(out, "AUTH: 535") {
		t.Error(out)
	}
	posthouse(3, "", "relay", "test", "nosuch")
	posthouse(2, "", "relay", "test", "smart", "--from", "alice@example.org")
}
