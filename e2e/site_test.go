package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"posthouse/e2e/node"
	"posthouse/internal/test/dnstest"
)

// TestSite sets up a site by command before it ever ran, starts it from its
// file, and sees that it asks for TLS, relays for nobody, takes LMTP on a
// socket, and queues what an account sends elsewhere.
func TestSite(t *testing.T) {
	t.Parallel()
	tool(t, "swaks")
	dir := folder(t)
	lmtp := filepath.Join(dir, "lmtp")
	resolver := dnstest.Start(t)
	resolver.Fail("*", dns.RcodeServerFailure) // so that nothing leaves
	file := write(t, dir, "posthouse.toml", fmt.Appendf(nil, `hostname = "mx.example.test"
data = "%s/data"
[listen]
smtp = "127.0.0.1:0"
submission = "127.0.0.1:0"
submissions = "127.0.0.1:0"
imap = "127.0.0.1:0"
imaps = "127.0.0.1:0"
pop3 = "127.0.0.1:0"
pop3s = "off"
lmtp = "%s"
http = "127.0.0.1:0"
https = "127.0.0.1:0"
[testing]
dns = "%s"
`, dir, lmtp, resolver.Addr()))
	for _, args := range [][]string{{"domain", "add", "example.test"}, {"account", "add", "alice@example.test", "--password-stdin"}} {
		cmd := exec.Command(binary, append(args, "--config", file)...)
		cmd.Stdin = strings.NewReader(password + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
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
	if len(n.Accounts) != 0 || n.Captured.Address != "" || n.Listen["pop3s"] != "" || n.Listen["lmtp"] != lmtp {
		t.Errorf("the ready line: %+v", n.Ready)
	}

	s := dialSMTP(t, n.Listen["smtp"])
	s.say(250, "MAIL FROM:<sender@example.org>")
	s.say(550, "RCPT TO:<somebody@example.org>")
	deliver(t, n.Listen["smtp"], "alice@example.test", "by smtp")
	command(t, "swaks", "--socket", lmtp, "--protocol", "LMTP", "--from", "sender@example.org", "--to", "alice@example.test", "--header", "X-Mark: by lmtp")
	command(t, "swaks", "--server", n.Listen["submissions"], "--tls-on-connect", "--tls-ca-path", n.CA, "--tls-sni", "mx.example.test",
		"--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", password, "--from", "alice@example.test",
		"--to", "somebody@example.org,alice@example.test")
	out, err := exec.Command(binary, "queue", "list", "--json", "--config", file).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("somebody@example.org")) {
		t.Errorf("the queue: %v: %s", err, out)
	}

	for name, command := range map[string]string{"imap": "a LOGIN alice@example.test " + password, "pop3": "USER alice@example.test", "submission": "AUTH PLAIN AGFsaWNlAHg="} {
		if reply := talk(t, n.Listen[name], command); strings.HasPrefix(reply, "a OK") || strings.HasPrefix(reply, "+OK") || strings.HasPrefix(reply, "235") {
			t.Errorf("%s logs in without TLS: %s", name, reply)
		}
	}
	checkCertificate(t, n)
	c := login(t, n, "alice@example.test", password, nil)
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 3 {
		t.Errorf("the mailbox: %+v, %v", box, err)
	}
}

// talk sends one line after the greeting and gives the line that comes back.
func talk(t *testing.T, address, line string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := textproto.NewConn(conn)
	if _, err := c.ReadLine(); err != nil {
		t.Fatal(err)
	}
	if err := c.PrintfLine("%s", line); err != nil {
		t.Fatal(err)
	}
	reply, err := c.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// checkCertificate asks for the names that clients of the domain use, for one
// of a domain that is added while the server runs, and for old protocols.
func checkCertificate(t *testing.T, n *node.Node) {
	t.Helper()
	config, err := n.TLS()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Command(t.Context(), "", "domain", "add", "later.test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mx.example.test", "localhost", "127.0.0.1", "example.test", "mail.example.test", "mta-sts.example.test", "mail.later.test"} {
		config := config.Clone()
		config.ServerName = name
		conn, err := tls.Dial("tcp", n.Listen["imaps"], config)
		if err != nil && name == "mail.later.test" {
			// The list of domains is asked for at most once in two seconds.
			eventually(t, "a certificate for a new domain", func() bool {
				conn, err = tls.Dial("tcp", n.Listen["imaps"], config)
				return err == nil
			})
		}
		if err != nil {
			t.Errorf("TLS as %s: %v", name, err)
			continue
		}
		conn.Close()
	}
	old := config.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	for _, name := range []string{"imaps", "submissions", "https"} {
		if conn, err := tls.Dial("tcp", n.Listen[name], old); err == nil {
			conn.Close()
			t.Errorf("%s speaks TLS 1.1", name)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + n.Listen["https"] + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok\n" {
		t.Errorf("https: %q, %v", body, err)
	}
}
