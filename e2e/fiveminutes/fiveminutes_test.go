package fiveminutes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	netmail "net/mail"
	"net/netip"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	moxdkim "github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	moxdns "github.com/mjl-/mox/dns"
	moxsmtp "github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"

	"posthouse/e2e/node"
	"posthouse/e2e/peer"
	"posthouse/internal/dns"
)

const (
	me       = "you@example.test"
	them     = "bob@far.test"
	password = "correct horse battery staple"
)

// TestFiveMinutes is the whole way.
func TestFiveMinutes(t *testing.T) {
	w := newWorld(t, 90*24*time.Hour)

	// 1. quickstart, once to have a configuration, once more for the records:
	// the ports differ here. The second run changes nothing.
	quickstart := []string{"quickstart", me, "--root", w.root, "--ip", "127.0.0.1", "--dns", w.dns.Addr().String()}
	// There is no terminal: the password is set by a link.
	w.run("", nil, quickstart...)
	w.edit()
	zone := w.run("", nil, quickstart...)
	_, link, ok := strings.Cut(zone, "https://mail.example.test:"+w.ports["https"]+"/password/")
	if !strings.Contains(zone, "stays as it is") || !strings.Contains(zone, "is there, without a password") || !ok {
		t.Errorf("the second run:\n%s", zone)
	}
	link, _, _ = strings.Cut(link, "\n")

	// 2. The records, as printed; the PTR record is the provider's, as a comment.
	w.publish(zone)

	// 3. The server, with a systemd that listens.
	heard := w.supervise()
	n, err := node.StartSite(w.binary, filepath.Dir(w.root), w.config())
	if err != nil {
		t.Fatal(err)
	}
	heard("READY=1\n")
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		heard("STOPPING=1\n")
		if t.Failed() {
			t.Log(n.Log())
		}
	})

	// 4. All green, as soon as the certificates are there.
	var bad []finding
	deadline := time.Now().Add(90 * time.Second)
	for bad = w.doctor(); len(bad) > 0 && time.Now().Before(deadline); bad = w.doctor() {
	}
	for _, f := range bad {
		t.Errorf("doctor: %+v", f)
	}

	w.setPassword("https://mail.example.test:" + w.ports["https"] + "/password/" + link)
	w.documents()
	w.astray()
	w.connect()

	// 5. Mail both ways.
	inbox := filepath.Join(filepath.Dir(w.root), "far", "mail")
	far := w.postfix(inbox)
	w.dns.Add("far.test. MX 10 mx.far.test.", "mx.far.test. A 127.0.0.1", `far.test. TXT "v=spf1 mx -all"`)
	said := w.run(password+"\n", nil, "doctor", "send", them, "--from", me, "--password-stdin", "--config", w.config())
	if !strings.Contains(said, "235 ") || !strings.Contains(said, "delivered") {
		t.Errorf("doctor send:\n%s", said)
	}
	message := w.arrived(inbox)
	w.verify(message, zone)
	w.answer(far, message)
	w.read(n)
}

// publish loads what quickstart printed into the DNS.
func (w *world) publish(zone string) {
	w.t.Helper()
	for line := range strings.Lines(zone) {
		line = strings.TrimSpace(line)
		if reverse, ok := strings.CutPrefix(line, "; "); ok && strings.Contains(reverse, " IN PTR ") {
			line = reverse
		}
		name, _, ok := strings.Cut(line, ". IN ")
		if !ok || strings.ContainsAny(name, "; ") {
			continue
		}
		w.dns.Add(line)
		w.records = append(w.records, line)
	}
	if len(w.records) < 18 {
		w.t.Fatalf("%d records in:\n%s", len(w.records), zone)
	}
}

type finding struct{ Check, Subject, Level, Text, Mend string }

// doctor gives the findings that are not in order. What [testing] is for is
// said, and what this machine's own room is does not count.
func (w *world) doctor() []finding {
	w.t.Helper()
	var all, bad []finding
	if err := json.Unmarshal([]byte(w.run("", []int{0, 10, 11}, "doctor", "--json", "--config", w.config())), &all); err != nil {
		w.t.Fatal(err)
	}
	checks := make(map[string]int)
	for _, f := range all {
		checks[f.Check]++
		if (f.Level == "warning" || f.Level == "error") && f.Check != "testing" && f.Check != "memory" && f.Check != "disk" {
			bad = append(bad, f)
		}
	}
	for _, must := range []string{"testing", "database", "queue", "address", "dns", "caa", "listener", "relaying", "certificate", "web"} {
		if checks[must] == 0 {
			bad = append(bad, finding{Check: must, Text: "was not looked at"})
		}
	}
	return bad
}

// setPassword opens the link that quickstart printed, as a browser does; a second
// time it is not good any more.
func (w *world) setPassword(link string) {
	w.t.Helper()
	for _, status := range []int{http.StatusOK, http.StatusNotFound} {
		res, err := w.client().PostForm(link, url.Values{"password": {password}, "again": {password}})
		if err != nil {
			w.t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			w.t.Error(err)
		}
		if res.StatusCode != status {
			w.t.Errorf("the link: %s, not %d", res.Status, status)
		}
	}
	said := w.run("", nil, "quickstart", me, "--root", w.root, "--no-checks")
	if !strings.Contains(said, "changes its password") || strings.Contains(said, "/password/") {
		w.t.Errorf("with a password:\n%s", said)
	}
}

// client is a browser: names come from the DNS as published, trust from the
// world's roots. It follows no redirect by itself.
func (w *world) client() *http.Client {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.dns.Addr().String())
	}}
	return &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Resolver: resolver}).DialContext, TLSClientConfig: &tls.Config{RootCAs: w.roots}},
		Timeout:   20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// connect goes through the dialogue of each protocol, and fails where it should.
func (w *world) connect() {
	w.t.Helper()
	try := func(code int, secret, scheme, port string, said ...string) {
		w.t.Helper()
		at := scheme + "://" + me + "@mail.example.test:" + port
		out := w.run(secret+"\n", []int{code}, "doctor", "connect", at, "--password-stdin", "--config", w.config())
		for _, part := range said {
			if !strings.Contains(out, part) {
				w.t.Errorf("%s: no %q in:\n%s", at, part, out)
			}
		}
		if strings.Contains(out, secret) {
			w.t.Errorf("%s: the password is shown:\n%s", at, out)
		}
	}
	for _, scheme := range []string{"submission", "submissions", "imap", "imaps", "pop3", "pop3s"} {
		try(0, password, scheme, w.ports[scheme], "mail.example.test is 127.0.0.1", "TLS1.3, certificate for mail.example.test", "all is well")
	}
	try(1, "hurz hurz hurz", "imaps", w.ports["imaps"], "user or password is wrong")
	try(1, password, "imaps", "1", "nothing listens on this port")
	out := w.run("", []int{1}, "doctor", "connect", "smtp://mail.example.test:"+w.ports["smtp"], "--to", "bob@elsewhere.test", "--config", w.config())
	if !strings.Contains(out, "550 5.7.1") || !strings.Contains(out, "it relays for nobody") {
		w.t.Errorf("a stranger's mail:\n%s", out)
	}
}

// postfix is the mail server of far.test: it keeps what comes in a Maildir, and
// knows where example.test is.
func (w *world) postfix(inbox string) *peer.Server {
	w.t.Helper()
	folder := filepath.Dir(inbox)
	if err := errors.Join(os.MkdirAll(inbox, 0o777), os.Chmod(inbox, 0o777)); err != nil { // nobody delivers there
		w.t.Fatal(err)
	}
	s, err := peer.Postfix(peer.Options{Folder: folder, Listen: "127.0.0.1:" + w.relay, Hostname: "mx.far.test",
		Routes: map[string]string{"example.test": "127.0.0.1:" + w.ports["smtp"]},
		Settings: []string{"virtual_mailbox_domains = far.test", "virtual_mailbox_base = " + inbox, "virtual_mailbox_maps = static:inbox/",
			"virtual_uid_maps = static:65534", "virtual_gid_maps = static:65534", "virtual_minimum_uid = 100", "virtual_mailbox_limit = 0"}})
	if errors.Is(err, peer.ErrMissing) {
		w.t.Skip(err, "(up to here all was well: quickstart, serve, doctor)")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			w.t.Error(err)
		}
		if w.t.Failed() {
			w.t.Log(s.Log())
		}
	})
	return s
}

// arrived is the message that lies in the Maildir.
func (w *world) arrived(inbox string) []byte {
	w.t.Helper()
	var files []string
	w.await("the message at Postfix", func() bool {
		files, _ = filepath.Glob(filepath.Join(inbox, "inbox/new/*"))
		return len(files) == 1
	})
	text, err := os.ReadFile(files[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
}

// verify has SPF, DKIM and DMARC pass by implementations that are not ours:
// mox's, on the records that stand in the DNS, and Python's for DKIM.
func (w *world) verify(message []byte, zone string) {
	w.t.Helper()
	ctx := w.t.Context()
	log := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	resolver := dns.New(dns.Config{Servers: []netip.AddrPort{w.dns.Addr()}})
	domain := moxdns.Domain{ASCII: "example.test"}

	signatures, err := moxdkim.Verify(ctx, log, resolver, false, moxdkim.DefaultPolicy, bytes.NewReader(message), true)
	passed := 0
	for _, s := range signatures {
		if s.Status == moxdkim.StatusPass && s.Sig.Domain == domain {
			passed++
		}
	}
	if err != nil || passed != 2 {
		w.t.Errorf("DKIM: %d of %d pass, %v", passed, len(signatures), err)
	}
	// Postfix wrote down who came.
	header, _, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	if !bytes.Contains(header, []byte("from mail.example.test (")) || !bytes.Contains(header, []byte("[127.0.0.1])")) || !bytes.Contains(header, []byte("Return-Path: <"+me+">")) {
		w.t.Errorf("the header:\n%s", header)
	}
	received, spfDomain, _, _, err := spf.Verify(ctx, log, resolver, spf.Args{RemoteIP: net.IPv4(127, 0, 0, 1), MailFromLocalpart: moxsmtp.Localpart("you"),
		MailFromDomain: domain, HelloDomain: moxdns.IPDomain{Domain: moxdns.Domain{ASCII: "mail.example.test"}}})
	if err != nil || received.Result != spf.StatusPass {
		w.t.Errorf("SPF: %s %v", received.Result, err)
	}
	if _, result := dmarc.Verify(ctx, log, resolver, domain, signatures, received.Result, &spfDomain, false); result.Status != dmarc.StatusPass || !result.AlignedSPFPass || !result.AlignedDKIMPass {
		w.t.Errorf("DMARC: %+v", result)
	}
	w.python(message, zone)
}

// python verifies with Debian's python3-dkim, on the records as printed.
func (w *world) python(message []byte, zone string) {
	w.t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import dkim, nacl").Run(); err != nil {
		w.t.Log("python3-dkim and python3-nacl are not installed: the signatures were verified by mox's packages alone")
		return
	}
	keys := make(map[string]string)
	for line := range strings.Lines(zone) {
		name, data, ok := strings.Cut(strings.TrimSpace(line), " IN TXT ")
		if ok && strings.Contains(name, "._domainkey.") {
			keys[name] = strings.Trim(strings.ReplaceAll(data, `" "`, ""), `"`)
		}
	}
	file, err := json.Marshal(keys)
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(w.root), "keys.json")
	w.write(path, file)
	cmd := exec.CommandContext(w.t.Context(), "/usr/bin/python3", filepath.Join("..", "testdata", "verify.py"), path)
	cmd.Stdin = bytes.NewReader(message)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("pass rsa-sha256 example.test")) || !bytes.Contains(out, []byte("pass ed25519-sha256 example.test")) {
		w.t.Errorf("Python: %v %s", err, out)
	}
}

// answer sends a reply from far.test, by its Postfix.
func (w *world) answer(far *peer.Server, message []byte) {
	w.t.Helper()
	first, err := netmail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		w.t.Fatal(err)
	}
	text := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: Re: %s\r\nIn-Reply-To: %s\r\nDate: %s\r\nMessage-ID: <answer@far.test>\r\n\r\nIt arrived.\r\n",
		them, me, first.Header.Get("Subject"), first.Header.Get("Message-Id"), time.Now().Format(time.RFC1123Z))
	if err := smtp.SendMail(far.Address, nil, them, []string{me}, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

// read finds the answer in the account's INBOX, by IMAP as a mail program does:
// by the name of the SRV record, with the world's roots.
func (w *world) read(n *node.Node) {
	w.t.Helper()
	c, err := imapclient.DialTLS(n.Listen["imaps"], &imapclient.Options{TLSConfig: &tls.Config{ServerName: "mail.example.test", RootCAs: w.roots}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(me, password).Wait(); err != nil {
		w.t.Fatal(err)
	}
	w.await("the answer", func() bool {
		box, err := c.Select("INBOX", nil).Wait()
		return err == nil && box.NumMessages == 1
	})
	got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil || len(got) != 1 || got[0].Envelope.MessageID != "answer@far.test" {
		w.t.Errorf("%+v %v", got, err)
	}
	if err := c.Logout().Wait(); err != nil && !errors.Is(err, context.Canceled) {
		w.t.Log(err)
	}
}
