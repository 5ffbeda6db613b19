package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/e2e/node"
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
	if err := n.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
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
	for _, code := range retry(t, n.Listen["smtp"], alice.Address, "after") {
		if code < 400 || code > 499 {
			t.Errorf("while Postgres was away a client heard %d", code)
		}
	}
	box, err := login(t, n, alice.Address, alice.Password, nil).Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages != 2 {
		t.Errorf("afterwards: %+v, %v", box, err)
	}
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

// TestExitCodes starts servers that cannot start.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	bad := write(t, dir, "bad.toml", []byte("hostname = \n"))
	for _, tt := range []struct {
		name, want string
		code       int
		args       []string
		root       bool // only for root
	}{
		{name: "busy port", code: 77, want: busy.Addr().String(), args: []string{"--listen", "smtp=" + busy.Addr().String(), "--data", filepath.Join(dir, "a")}},
		{name: "bad file", code: 78, want: "bad.toml:1", args: []string{"--config", bad}},
		{name: "no database", code: 69, want: "does not answer", args: []string{"--data", filepath.Join(dir, "b"), "--database", "postgres://127.0.0.1:1/x"}},
		{name: "closed folder", code: 78, want: closed, args: []string{"--data", filepath.Join(closed, "data")}, root: true},
	} {
		if tt.root && os.Geteuid() != 0 {
			t.Logf("%s: left out, it needs root", tt.name)
			continue
		}
		args := append([]string{"serve", "--local", "--json-ready"}, tt.args...)
		for _, name := range []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http"} {
			if name != "smtp" || tt.code != 77 {
				args = append(args, "--listen", name+"=127.0.0.1:0")
			}
		}
		out, err := exec.Command(binary, args...).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v, want %d and %q: %s", tt.name, err, tt.code, tt.want, out)
		}
	}
}

// TestDefaultPortMoves starts two servers on the default port of one listener.
func TestDefaultPortMoves(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:8025")
	if err == nil {
		defer taken.Close()
	}
	cmd := exec.Command(binary, "serve", "--local", "--json-ready", "--ephemeral",
		"--listen", "smtp=127.0.0.1:0", "--listen", "submission=off", "--listen", "submissions=off", "--listen", "imap=127.0.0.1:0",
		"--listen", "imaps=127.0.0.1:0", "--listen", "pop3=off", "--listen", "pop3s=off")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	k, err := out.Read(line)
	if err != nil || bytes.Contains(line[:k], []byte(`"http":"127.0.0.1:8025"`)) || !bytes.Contains(line[:k], []byte(`"http":"127.0.0.1:80`)) {
		t.Errorf("%s, %v", line[:k], err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestTwoNodes lets two servers share one database. What one takes the other
// shows at once, and it goes on when the first is killed. A third one has the
// database, so that it stays.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	base := start(t, "--ephemeral", "--account", "carol@example.test:"+password)
	receive := start(t, "--data", filepath.Join(folder(t), "data"), "--database", base.Database) // killed: it could not remove it
	read, err := node.Start(binary, folder(t), []string{"POSTHOUSE_DATABASE_URL=" + base.Database}, "--ephemeral", "--account", "carol@example.test:"+password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := read.Stop(); err != nil {
			t.Error(err)
		}
	})
	came := make(chan uint32, 100)
	c := login(t, read, "carol@example.test", password, exists(came))
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	deliver(t, receive.Listen["smtp"], "carol@example.test", "through the other")
	await(t, came, 1)
	t.Logf("from connecting on one node to EXISTS on the other: %s", time.Since(begin).Round(time.Millisecond))
	receive.Kill()
	deliver(t, read.Listen["smtp"], "carol@example.test", "after the kill")
	await(t, came, 2)
	deliver(t, base.Listen["smtp"], "carol@example.test", "through the third")
	await(t, came, 3)
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
	var all imap.SeqSet
	all.AddRange(1, 0)
	messages, err := c.Fetch(all, &imap.FetchOptions{UID: true, RFC822Size: true}).Collect()
	if err != nil || len(messages) != 3 {
		t.Errorf("FETCH: %d messages, %v", len(messages), err)
	}
}
