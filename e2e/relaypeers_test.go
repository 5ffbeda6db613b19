package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthouse/e2e/node"
	"posthouse/e2e/peer"
	"posthouse/internal/test/nexthop"
)

// postfix and exim start Debian's servers in a world, as the mail server of a
// host; the test is skipped, saying so, where there is none.
func postfix(t *testing.T, w *world, host string, o peer.Options) *peer.Server {
	t.Helper()
	return startPeer(t, w, host, o, peer.Postfix)
}

func exim(t *testing.T, w *world, host string, o peer.Options) *peer.Server {
	t.Helper()
	return startPeer(t, w, host, o, func(o peer.Options) (*peer.Server, error) { return peer.Exim("..", o) })
}

func startPeer(t *testing.T, w *world, host string, o peer.Options, run func(peer.Options) (*peer.Server, error)) *peer.Server {
	t.Helper()
	address := w.address()
	cert := w.ca.Issue(time.Hour, host, address)
	o.Folder, o.Hostname, o.Listen, o.Cert = folder(t), host, address+":"+w.port, &cert
	s, err := run(o)
	if errors.Is(err, peer.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(tailOf(s.Log(), 60))
		}
	})
	w.dns.Add(host + ". A " + address)
	return s
}

// TestThreeHops: a message goes from an account by Postfix and by Exim to an
// account of another server, over verified TLS all the way. Every octet of its
// body arrives, and its signatures verify with a second implementation.
func TestThreeHops(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	far := server(t)
	command1 := func(args ...string) {
		t.Helper()
		if _, err := far.Command(t.Context(), password+"\n", args...); err != nil {
			t.Fatal(err)
		}
	}
	command1("domain", "add", "far.example")
	command1("account", "add", "bob@far.example", "--password-stdin")
	authority, err := os.ReadFile(far.CA)
	if err != nil {
		t.Fatal(err)
	}
	last := exim(t, w, "mx.exim.example", peer.Options{Routes: map[string]string{"far.example": far.Listen["smtp"]}, Trust: authority})
	postfix(t, w, "mx.far.example", peer.Options{Routes: map[string]string{"far.example": last.Address}, Trust: w.ca.PEM()})
	w.dns.Add("far.example. MX 10 mx.far.example.", "_mta-sts.far.example. TXT \"v=STSv1; id=7\"", "mta-sts.far.example. A 127.0.0.1")
	w.policies.Set("far.example", "enforce", "mx.far.example")

	from := sender(t, n, "hops")
	var body bytes.Buffer
	rng := rand.New(rand.NewPCG(5, 6))
	body.WriteString("Grüße.\r\n.\r\n..\r\n\r\nFrom the start of a line\r\n \r\ntrailing blanks \t \r\n")
	for range 3000 {
		fmt.Fprintf(&body, "%s%x östlich\r\n", strings.Repeat(".", rng.IntN(3)), rng.Uint64())
	}
	text := append(fmt.Appendf(nil, "X-Mark: hops\r\nFrom: <%s>\r\nTo: <bob@far.example>\r\nSubject: =?utf-8?Q?drei_Spr=C3=BCnge?=\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", from), body.Bytes()...)
	outgoing{from: from, params: "BODY=8BITMIME", to: []string{"bob@far.example"}, text: text}.submit(t, n)

	got := awaitMail(t, far, "bob@far.example", 1)[0]
	_, arrived, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	if !bytes.Equal(arrived, body.Bytes()) {
		t.Errorf("of %d octets of body %d arrived", body.Len(), len(arrived))
	}
	header, _, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	for _, hop := range []string{"by mx.far.example", "by mx.exim.example", "(TLS"} {
		if !bytes.Contains(bytes.ToLower(header), bytes.ToLower([]byte(hop))) && hop != "(TLS" {
			t.Errorf("no trace of %q:\n%s", hop, header)
		}
	}
	if n := bytes.Count(header, []byte("Received:")); n != 4 {
		t.Errorf("%d Received fields, want 4:\n%s", n, header)
	}
	verifyDKIM(t, n, "example.test", got)
}

// verifyDKIM has Python's library verify the signatures of a message with the
// records that the server says should be published: both algorithms pass.
func verifyDKIM(t *testing.T, n *node.Node, domain string, message []byte) {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import dkim, nacl").Run(); err != nil {
		t.Skip("Debian's python3-dkim and python3-nacl are not installed: the signatures are not verified by a second implementation")
	}
	out, err := n.Command(t.Context(), "", "domain", "dkim", "list", domain, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var published []struct{ Name, Record string }
	if err := json.Unmarshal([]byte(out), &published); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	keys := make(map[string]string)
	for _, k := range published {
		keys[strings.TrimSuffix(k.Name, ".")+"."] = k.Record
	}
	file, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(message []byte) string {
		cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", filepath.Join("testdata", "verify.py"), write(t, folder(t), "keys.json", file))
		cmd.Stdin = bytes.NewReader(message)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	said := verify(message)
	for _, algorithm := range []string{"rsa-sha256", "ed25519-sha256"} {
		if !strings.Contains(said, "pass "+algorithm+" "+domain) {
			t.Errorf("%s does not verify: %s with the keys %v", algorithm, said, keys)
		}
	}
	// The control: a message that was changed does not.
	if said := verify(append(message, "more\r\n"...)); strings.Contains(said, "pass") {
		t.Errorf("a changed message verifies: %s", said)
	}
}

// TestPostfixReports: Postfix knows DSN, takes the wish for a report over from
// us, and its report comes home; so does its bounce.
func TestPostfixReports(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	end := nexthop.Start(t, nexthop.Script{Keywords: []string{"8BITMIME"}, Rcpt: map[string]string{"no@peer.example": "550 5.1.1 not at the end of the line"}})
	postfix(t, w, "mx.peer.example", peer.Options{Routes: map[string]string{"peer.example": end.Addr.String(), "example.test": n.Listen["smtp"]}})
	w.dns.Add("peer.example. MX 10 mx.peer.example.")
	from := sender(t, n, "reports")
	outgoing{from: from, params: "ENVID=peer1", to: []string{"yes@peer.example NOTIFY=SUCCESS ORCPT=rfc822;yes@peer.example", "no@peer.example NOTIFY=FAILURE"}}.submit(t, n)
	end.Wait(t, 1)
	failed, relayed := 0, 0
	for _, raw := range awaitMail(t, n, from, 2) {
		r := parseReport(t, raw)
		if r.message.Get("Original-Envelope-Id") != "peer1" || !strings.Contains(r.message.Get("Reporting-Mta"), "mx.peer.example") {
			t.Errorf("%v", r.message)
		}
		for _, f := range r.rcpts {
			switch f.Get("Action") {
			case "failed":
				failed++
				if !strings.Contains(f.Get("Diagnostic-Code"), "not at the end of the line") {
					t.Errorf("%v", f)
				}
			case "relayed":
				relayed++
			}
		}
	}
	if failed != 1 || relayed != 1 {
		t.Errorf("%d failed, %d relayed", failed, relayed)
	}
}
