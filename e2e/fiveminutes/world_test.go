package fiveminutes

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"posthouse/e2e/node"
	"posthouse/internal/test/dnstest"
)

// world is the machine of the newcomer, and what stands around it.
type world struct {
	t      *testing.T
	binary string
	root   string
	dns    *dnstest.Server
	ports  map[string]string // of our listeners, by name
	relay  string            // the port that takes the place of 25 out there
	trust  string            // PEM file of pebble's root
	roots  *x509.CertPool
	acme   string // options of [acme]

	records []string // what was published, as lines
	code    int      // with which the last command ended
}

// newWorld makes one whose authority issues certificates for that long.
func newWorld(t *testing.T, validity time.Duration) *world {
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
	w := &world{t: t, root: filepath.Join(dir, "machine"), dns: dnstest.Start(t), ports: make(map[string]string), trust: filepath.Join(dir, "trust.pem")}
	if w.binary, err = node.Build(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http", "https"} {
		w.ports[name] = freePort(t)
	}
	w.relay = freePort(t)
	w.authority(dir, validity)
	return w
}

// freePort is one that nobody has now; the configuration wants to name it.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// authority starts pebble, which asks our HTTP and HTTPS listeners.
func (w *world) authority(dir string, validity time.Duration) {
	w.t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	w.t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: uint64(validity / time.Second)}})
	var plain, secure int
	fmt.Sscan(w.ports["http"], &plain)
	fmt.Sscan(w.ports["https"], &secure)
	front := wfe.New(quiet, store, va.New(quiet, plain, secure, false, w.dns.Addr().String(), store), issuer, nil, false, false, 1, 1)
	handler := front.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		maps.Copy(rw.Header(), answer.Header())
		rw.WriteHeader(answer.Code)
		// It would advise to renew within a day of the right time, whatever the life
		// of a certificate: the directory does not say that it has advice.
		if _, err := rw.Write(bytes.ReplaceAll(answer.Body.Bytes(), []byte(`"renewalInfo"`), []byte(`"noRenewalInfo"`))); err != nil {
			w.t.Log(err) // who asked has hung up
		}
	}))
	w.t.Cleanup(server.Close)
	own := filepath.Join(dir, "pebble.pem")
	w.write(own, encode(server.Certificate()))
	root := issuer.GetRootCert(0).Cert
	w.write(w.trust, encode(root))
	w.roots = x509.NewCertPool()
	w.roots.AddCert(root)
	w.acme = fmt.Sprintf("directory = %q\nroots = %q\n", server.URL+wfe.DirectoryPath, own)
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func (w *world) write(path string, text []byte) {
	w.t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) config() string { return filepath.Join(w.root, "etc/posthouse/posthouse.toml") }

// run runs a command; the exit code must be one of those given, 0 without any.
func (w *world) run(stdin string, codes []int, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), w.binary, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	w.code = cmd.ProcessState.ExitCode()
	if err != nil || len(codes) > 0 {
		for _, ok := range codes {
			if w.code == ok {
				return out.String()
			}
		}
		w.t.Fatalf("posthouse %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// edit does what is different here from a machine on the Internet: the ports of
// the listeners, the authority, and [testing].
func (w *world) edit() {
	w.t.Helper()
	text, err := os.ReadFile(w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), "\n[listen]")
	if !ok || strings.Count(head, "[acme]\n") != 1 {
		w.t.Fatalf("an unexpected configuration:\n%s", text)
	}
	var b strings.Builder
	b.WriteString(strings.Replace(head, "[acme]\n", "[acme]\n"+w.acme, 1) + "\n[listen]\n")
	for name, port := range w.ports {
		fmt.Fprintf(&b, "%s = \"127.0.0.1:%s\"\n", name, port)
	}
	fmt.Fprintf(&b, "[testing]\ndns = %q\nrelay_port = %s\nhttps_port = %s\ntrust = %q\nretry = [\"1s\"]\n", w.dns.Addr(), w.relay, w.ports["https"], w.trust)
	if err := os.WriteFile(w.config(), []byte(b.String()), 0o640); err != nil {
		w.t.Fatal(err)
	}
}

// supervise plays systemd: the function that it gives waits for the next word
// of the server, which must begin as said; what the watchdog hears is passed over.
func (w *world) supervise() func(string) {
	w.t.Helper()
	path := filepath.Join(filepath.Dir(w.root), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	if err := os.Chmod(path, 0o777); err != nil { // the server gave up root by then
		w.t.Fatal(err)
	}
	w.t.Setenv("NOTIFY_SOCKET", path)
	w.t.Setenv("WATCHDOG_USEC", "1000000")
	// Read at once, as systemd does: the kernel keeps few datagrams.
	words := make(chan string, 16)
	go func() {
		defer close(words)
		buf := make([]byte, 4096)
		for {
			n, err := ln.Read(buf)
			if err != nil {
				return
			}
			if said := string(buf[:n]); said != "WATCHDOG=1" {
				words <- said
			}
		}
	}()
	return func(word string) {
		w.t.Helper()
		select {
		case said := <-words:
			if !strings.HasPrefix(said, word) {
				w.t.Errorf("systemd heard %q, want %q", said, word)
			}
		case <-time.After(node.Patience):
			w.t.Errorf("systemd did not hear %q", word)
		}
	}
}

// await polls until ok.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s did not come", what)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		}
	}
}
