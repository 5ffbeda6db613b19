package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"posthouse/e2e/node"
)

// ownCertificate writes a certificate of the operator's with its key.
func ownCertificate(t *testing.T, dir string, number int64) (file, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(number), DNSNames: []string{"mx.example.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file = write(t, dir, fmt.Sprintf("own-%d.pem", number), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = write(t, dir, fmt.Sprintf("own-%d.key", number), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	for _, name := range []string{file, key} { // the server gives up root before it reads them
		if err := os.Chmod(name, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return file, key
}

// TestReload changes the configuration of a site that runs: SIGHUP takes over
// what can be, names what needs a restart, refuses a broken file whole, and
// leaves sessions alone.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first, firstKey := ownCertificate(t, dir, 1)
	second, secondKey := ownCertificate(t, dir, 2)
	config := func(level, more, cert, key string) []byte {
		return fmt.Appendf(nil, `hostname = "mx.example.test"
data = %q
%s
[listen]
smtp = "127.0.0.1:0"
submission = "off"
submissions = "off"
imap = "off"
imaps = "127.0.0.1:0"
pop3 = "off"
pop3s = "off"
http = "127.0.0.1:0"
https = "off"
[log]
level = %q
[acme]
directory = "off"
[[certificate]]
file = %q
key = %q
`, filepath.Join(dir, "data"), more, level, cert, key)
	}
	file := write(t, dir, "posthouse.toml", config("info", "", first, firstKey))
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	n, err := node.StartSite(binary, dir, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	open := dialSMTP(t, n.Listen["smtp"])
	serial := func() int64 {
		c, err := tls.Dial("tcp", n.Listen["imaps"], &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.test"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	logged := 0
	reload := func(text []byte, want string) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		n.Signal(syscall.SIGHUP)
		eventually(t, want, func() bool { return strings.Contains(n.Log()[logged:], want) })
		logged = len(n.Log())
	}
	if serial() != 1 {
		t.Error("another certificate than the operator's")
	}
	reload(config("debug", "", second, secondKey), `"changed":["log.level","certificate"]`)
	if serial() != 2 {
		t.Error("the new certificate does not serve")
	}
	reload(config("debug", "trusted_proxies = [\"192.0.2.0/24\"]", second, secondKey), `"keys":["trusted_proxies"]`)
	reload(bytes.ReplaceAll(config("info", "", first, firstKey), []byte("[log]"), []byte("[logs]")), "unknown key")
	reload(config("info", "", first, secondKey), "the server goes on with the one that it has")
	if serial() != 2 {
		t.Error("a file that was refused has changed something")
	}
	open.say(250, "NOOP") // the session of before
	deliverTo := dialSMTP(t, n.Listen["smtp"])
	deliverTo.say(250, "MAIL FROM:<sender@example.org>")
	metrics := string(command(t, "curl", "-sS", "http://"+n.Listen["http"]+"/metrics"))
	if !strings.Contains(metrics, `posthouse_certificate_expiry_timestamp_seconds{name="mx.example.test",source="file"}`) ||
		!strings.Contains(metrics, `posthouse_certificate_fallback{name="mx.example.test",source="file"} 0`) {
		t.Errorf("certificates are not in the metrics")
	}
}
