package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

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

// TestSecondServer starts a server on the folder of one that runs.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	n := server(t)
	out, err := exec.Command(binary, "serve", "--local", "--data", n.Data).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 4 || !strings.Contains(string(out), "--database") {
		t.Errorf("%v, want 4 and how to join: %s", err, out)
	}
}

// TestStopWhileStarting ends a first start in the middle; the next one is whole.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	data := filepath.Join(folder(t), "data")
	cmd := exec.Command(binary, "serve", "--local", "--json-ready", "--data", data)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "postgres_init") {
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a start that was ended: %v", err)
	}
	start(t, "--data", data)
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
