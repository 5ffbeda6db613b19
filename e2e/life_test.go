package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// TestStartAgain starts on a new folder, stops, and starts again: passwords,
// authority and mail are the same. The first start makes a cluster.
func TestStartAgain(t *testing.T) {
	t.Parallel()
	data := filepath.Join(folder(t), "a folder with spaces", "data")
	if err := os.Mkdir(filepath.Dir(data), 0o755); err != nil {
		t.Fatal(err)
	}
	n := start(t, "--data", data, "--account", "carol@example.test:"+password)
	first := n.Took
	deliver(t, n.Listen["smtp"], "carol@example.test", "kept")
	ca, err := os.ReadFile(n.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if extra := n.Extra(); extra != "" {
		t.Errorf("more than one line on standard output: %q", extra)
	}
	again := start(t, "--data", data)
	t.Logf("first start %s, second %s", first.Round(time.Millisecond), again.Took.Round(time.Millisecond))
	if fmt.Sprint(again.Accounts) != fmt.Sprint(n.Accounts[1:]) || again.Captured != n.Captured {
		t.Errorf("accounts were %v, are %v", n.Accounts, again.Accounts)
	}
	if now, err := os.ReadFile(again.CA); err != nil || !bytes.Equal(now, ca) {
		t.Error("another authority:", err)
	}
	box, err := login(t, again, "carol@example.test", password, nil).Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages != 1 {
		t.Errorf("the mail is not there: %+v, %v", box, err)
	}
	// The printed passwords work.
	for _, l := range append(again.Accounts, again.Captured) {
		login(t, again, l.Address, l.Password, nil)
	}
}

// TestSecretsStayPrivate looks at the modes of what holds secrets, and for them
// in the log (TRUST.md row 36).
func TestSecretsStayPrivate(t *testing.T) {
	t.Parallel()
	data := filepath.Join(folder(t), "data")
	n := start(t, "--data", data, "--account", "carol@example.test:"+password)
	login(t, n, "carol@example.test", password, nil)
	for name, want := range map[string]os.FileMode{
		"secret_key": 0o600, "local-passwords.json": 0o600, "ca/ca-key.pem": 0o600, "ca/ca.pem": 0o644,
		"postgres": 0o700, "run": 0o700, "spool": 0o700,
	} {
		info, err := os.Stat(filepath.Join(data, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
	for _, secret := range []string{password, n.Accounts[1].Password, n.Captured.Password} {
		if strings.Contains(n.Log(), secret) {
			t.Error("a password stands in the log")
		}
	}
	files, err := filepath.Glob(filepath.Join(data, "nodes", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if text, err := os.ReadFile(files[0]); err != nil || bytes.Contains(text, []byte(n.Captured.Password)) {
		t.Error("a password stands in the node's note:", err)
	}
}

// TestDrain stops the server while one client is in the middle of DATA and
// another idles: the first ends its mail and hears 250, the second BYE, and the
// exit code is 0 (TRUST.md row 33).
func TestDrain(t *testing.T) {
	t.Parallel()
	data := filepath.Join(folder(t), "data")
	n := start(t, "--data", data)
	alice := n.Accounts[0]
	c := login(t, n, alice.Address, alice.Password, nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	s := dialSMTP(t, n.Listen["smtp"])
	s.begin(alice.Address)
	if _, err := s.conn.Write([]byte("X-Mark: drained\r\n\r\nfirst half\r\n")); err != nil {
		t.Fatal(err)
	}
	n.Signal(syscall.SIGTERM)
	eventually(t, "the listener closes", func() bool {
		conn, err := net.Dial("tcp", n.Listen["smtp"])
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if _, err := s.end([]byte("second half\r\n")); err != nil {
		t.Errorf("a message in flight was not taken: %v", err)
	}
	if err := idle.Wait(); err == nil {
		t.Error("IDLE ended without a BYE")
	}
	if err := n.Wait(); err != nil {
		t.Fatal(err)
	}
	again := start(t, "--data", data)
	c = login(t, again, alice.Address, alice.Password, nil)
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 1 {
		t.Errorf("after the drain: %+v, %v", box, err)
	}
}

// TestPostgresDies kills the private Postgres under the server, which goes on.
func TestPostgresDies(t *testing.T) {
	t.Parallel()
	n := start(t, "--ephemeral")
	alice := n.Accounts[0]
	deliver(t, n.Listen["smtp"], alice.Address, "before")
	if err := syscall.Kill(n.Postgres.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// For a moment its orphans go on serving.
	eventually(t, "the server notices", func() bool { return strings.Contains(n.Log(), "postgres_died") })
	for _, code := range retry(t, n.Listen["smtp"], alice.Address, "after") {
		if code < 400 || code > 499 {
			t.Errorf("while Postgres was away a client heard %d", code)
		}
	}
	// A session may meet one more dead connection; its client asks again.
	config, err := n.TLS()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mailbox can be read", func() bool {
		c, err := imapclient.DialTLS(n.Listen["imaps"], &imapclient.Options{TLSConfig: config})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.Login(alice.Address, alice.Password).Wait() != nil {
			return false
		}
		box, err := c.Select("INBOX", nil).Wait()
		if err == nil && box.NumMessages != 2 {
			t.Fatalf("%d messages, want 2", box.NumMessages)
		}
		return err == nil
	})
}

// TestCapture sends to another domain: without login on the SMTP port, and as
// an account on the submission port. Both are found in the captured inbox.
func TestCapture(t *testing.T) {
	t.Parallel()
	n := start(t, "--ephemeral")
	deliver(t, n.Listen["smtp"], "somebody@example.org", "stranger")
	tool(t, "swaks")
	alice := n.Accounts[0]
	command(t, "swaks", "--server", "localhost:"+port(n, "submission"), "--tls", "--tls-ca-path", n.CA, "--auth", "PLAIN",
		"--auth-user", alice.Address, "--auth-password", alice.Password, "--from", alice.Address, "--to", "somebody@example.org",
		"--header", "X-Mark: submitted")
	c := login(t, n, n.Captured.Address, n.Captured.Password, nil)
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages != 2 {
		t.Errorf("captured: %+v, %v", box, err)
	}
	s := dialSMTP(t, n.Listen["smtp"])
	s.say(250, "MAIL FROM:<sender@example.org>")
	s.say(550, "RCPT TO:<nobody@localhost>")
}

// TestNoCapture answers as a site does.
func TestNoCapture(t *testing.T) {
	t.Parallel()
	n := start(t, "--ephemeral", "--no-capture", "--require-tls")
	s := dialSMTP(t, n.Listen["smtp"])
	s.say(250, "MAIL FROM:<sender@example.org>")
	if msg := s.say(550, "RCPT TO:<somebody@example.org>"); !strings.HasPrefix(msg, "5.7.1") {
		t.Errorf("the refusal is %q", msg)
	}
	s.say(250, "RCPT TO:<%s>", n.Accounts[0].Address)
	s.say(250, "RSET")
	conn, err := net.Dial("tcp", n.Listen["imap"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	greeting := make([]byte, 512)
	k, err := conn.Read(greeting)
	if err != nil || !bytes.Contains(greeting[:k], []byte("LOGINDISABLED")) {
		t.Errorf("with --require-tls the greeting on a plain port is %q, %v", greeting[:k], err)
	}
}

// TestPages asks the web listener.
func TestPages(t *testing.T) {
	t.Parallel()
	n := server(t)
	for path, want := range map[string]string{
		"/": "Posthouse", "/healthz": "ok", "/readyz": "ready", "/metrics": "posthouse_connections_open", "/ca.pem": "BEGIN CERTIFICATE",
	} {
		resp, err := http.Get("http://" + n.Listen["http"] + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %s %v", path, resp.Status, err)
		}
	}
	out, err := n.Command(t.Context(), "", "status", "--json")
	if err != nil || !strings.Contains(out, `"ready": true`) {
		t.Errorf("status: %s %v", out, err)
	}
}
