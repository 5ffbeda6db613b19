package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of these tests wait for others: more of them at once than there are
	// processors.
	if at := flag.Lookup("test.parallel").Value; at.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		if err := at.Set(fmt.Sprint(max(6, runtime.GOMAXPROCS(0)))); err != nil {
			panic(err)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := node.Folder()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = node.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := common.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared server:", err)
		return 1
	}
	if err := stopOutside(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared server that sends:", err)
		return 1
	}
	return code
}

// folder is a temporary folder that the server can enter when it gave up root.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := node.Folder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start runs a server of the test's own; it must end with exit code 0.
func start(t *testing.T, args ...string) *node.Node {
	t.Helper()
	n, err := node.Start(binary, folder(t), nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-n.Exited():
			return // the test has seen to it
		default:
		}
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(n.Log())
		}
	})
	return n
}

// common is the server that tests share which only need one.
var common shared

type shared struct {
	once sync.Once
	node *node.Node
	err  error
	dir  string
}

// server is the shared server.
func server(t *testing.T) *node.Node {
	t.Helper()
	common.once.Do(func() {
		if common.dir, common.err = node.Folder(); common.err == nil {
			common.node, common.err = node.Start(binary, common.dir, nil, "--ephemeral")
		}
	})
	if common.err != nil {
		t.Fatal(common.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(common.node.Log())
		}
	})
	return common.node
}

func (s *shared) stop() error {
	defer os.RemoveAll(s.dir)
	if s.node == nil {
		return nil
	}
	return s.node.Stop()
}

const password = "correct horse battery"

// account makes an account for the test, by command, and gives its address.
func account(t *testing.T, n *node.Node, local string) string {
	t.Helper()
	address := local + "@localhost"
	if _, err := n.Command(t.Context(), password+"\n", "account", "add", address, "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	return address
}

// login opens an IMAPS session.
func login(t *testing.T, n *node.Node, user, password string, handler *imapclient.UnilateralDataHandler) *imapclient.Client {
	t.Helper()
	config, err := n.TLS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := imapclient.DialTLS(n.Listen["imaps"], &imapclient.Options{TLSConfig: config, UnilateralDataHandler: handler})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(user, password).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// tool skips the test, saying so, where a mail client is not installed.
func tool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: `make test` as root installs it", name)
	}
}

// command runs a client and gives what it printed; a failure ends the test.
func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	return commandWithin(t, node.Patience, name, args...)
}

// commandWithin is command for what may take longer.
func commandWithin(t *testing.T, patience time.Duration, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, tail(out.Bytes()), errOut.Bytes())
	}
	return out.Bytes()
}

// tail is the end of a long output.
func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// port is the port of a listener.
func port(n *node.Node, name string) string {
	addr := n.Listen[name]
	return addr[strings.LastIndexByte(addr, ':')+1:]
}

// write makes a file in dir.
func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(node.Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", node.Patience, what)
		case <-tick.C:
		}
	}
}
