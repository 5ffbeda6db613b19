package e2e

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/jackc/pgx/v5"

	"posthouse/e2e/node"
	"posthouse/internal/test/dnstest"
	"posthouse/internal/test/nexthop"
)

// world is an Internet on loopback: a resolver, an authority that all trust,
// MTA-STS policies, and one port where the mail servers of all domains listen,
// each on an address of its own.
type world struct {
	dns      *dnstest.Server
	ca       *nexthop.CA
	policies *nexthop.Policies
	port     string // of all next hops
	trust    string // file
	dir      string
}

// addresses have been given to hosts, in all worlds.
var addresses atomic.Uint32

// newWorld makes a world; close ends it.
func newWorld() (w *world, err error) {
	w = &world{ca: nexthop.NewCA()}
	if w.dir, err = node.Folder(); err != nil {
		return nil, err
	}
	if w.dns, err = dnstest.Listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	if w.policies, err = nexthop.ListenPolicies("127.0.0.1:0", w.ca, nil); err != nil {
		return nil, err
	}
	// The kernel gives a port that is free on one address; few others are in
	// use on the rest of 127.0.0.0/8.
	free, err := net.Listen("tcp", w.address()+":0")
	if err != nil {
		return nil, err
	}
	_, w.port, err = net.SplitHostPort(free.Addr().String())
	if err != nil {
		return nil, err
	}
	free.Close()
	w.trust = w.dir + "/trust.pem"
	return w, os.WriteFile(w.trust, w.ca.PEM(), 0o644)
}

func (w *world) close() {
	w.dns.Close()
	w.policies.Close()
	os.RemoveAll(w.dir)
}

// address is one that nobody else has.
func (w *world) address() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.20.%d.%d", n>>8, n&255)
}

// flags make a server send within this world.
func (w *world) flags(retry, expire string) []string {
	return []string{
		"--deliver", "--dns", w.dns.Addr().String(), "--relay-port", w.port, "--trust", w.trust,
		"--https-port", fmt.Sprint(w.policies.Addr.Port()), "--retry", retry, "--expire", expire,
		"--account", "alice@example.test:" + password,
	}
}

// hop starts the mail server of a host, with an address record.
func (w *world) hop(t *testing.T, host string, script nexthop.Script) *nexthop.Hop {
	t.Helper()
	script.Name = host
	h := nexthop.StartAt(t, w.address()+":"+w.port, script)
	w.dns.Add(host + ". A " + h.Host())
	return h
}

// domain starts the mail server of a domain, mx.DOMAIN, with its MX record.
func (w *world) domain(t *testing.T, name string, script nexthop.Script) *nexthop.Hop {
	t.Helper()
	h := w.hop(t, "mx."+name, script)
	w.dns.Add(name + ". MX 10 mx." + name + ".")
	return h
}

// outside is the world with one server in it that tests share. A message there
// is tried again after a second, then every two, for ten minutes.
var outside struct {
	once sync.Once
	*world
	node *node.Node
	err  error
}

// sending is the shared server that sends, in the shared world.
func sending(t *testing.T) (*world, *node.Node) {
	t.Helper()
	outside.once.Do(func() {
		if outside.world, outside.err = newWorld(); outside.err != nil {
			return
		}
		outside.dns.SetAuthentic(true)
		outside.node, outside.err = node.Start(binary, outside.dir, nil, append(outside.flags("1s,2s", "10m"), "--ephemeral")...)
	})
	if outside.err != nil {
		t.Fatal(outside.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tailOf(outside.node.Log(), 200))
		}
	})
	return outside.world, outside.node
}

// tailOf are the last lines of a log.
func tailOf(log string, lines int) string {
	all := strings.SplitAfter(log, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

func stopOutside() error {
	if outside.node == nil {
		return nil
	}
	defer outside.close()
	return outside.node.Stop()
}

// sender makes an account in example.test for the test and gives its address.
func sender(t *testing.T, n *node.Node, local string) string {
	t.Helper()
	address := local + "@example.test"
	if _, err := n.Command(t.Context(), password+"\n", "account", "add", address, "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	return address
}

// database is a connection to a server's.
func database(t *testing.T, n *node.Node) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), n.Database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close(context.Background()) })
	return db
}

// outgoing is one message for submission.
type outgoing struct {
	from   string   // the account and the reverse-path
	params string   // of MAIL
	to     []string // with parameters of RCPT behind a blank
	text   []byte   // nil: a short message
}

// submission is a session of an account, over TLS: REQUIRETLS is offered there
// alone.
func submission(t *testing.T, n *node.Node, user string) *smtpClient {
	t.Helper()
	c := dialSMTP(t, n.Listen["submission"])
	c.say(220, "STARTTLS")
	config, err := n.TLS()
	if err != nil {
		t.Fatal(err)
	}
	c.conn = tls.Client(c.conn, config)
	c.text = textproto.NewConn(c.conn)
	c.say(250, "EHLO client.example.org")
	c.say(235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	return c
}

// try submits a message and gives the last reply.
func (o outgoing) try(t *testing.T, n *node.Node) (int, string) {
	t.Helper()
	c := submission(t, n, o.from)
	defer c.conn.Close()
	steps := []string{strings.TrimSpace(fmt.Sprintf("MAIL FROM:<%s> %s", o.from, o.params))}
	for _, to := range o.to {
		address, params, _ := strings.Cut(to, " ")
		steps = append(steps, strings.TrimSpace(fmt.Sprintf("RCPT TO:<%s> %s", address, params)))
	}
	for _, step := range append(steps, "DATA") {
		if err := c.text.PrintfLine("%s", step); err != nil {
			t.Fatal(err)
		}
		if code, msg, err := c.text.ReadResponse(0); err != nil {
			t.Fatal(err)
		} else if code >= 400 {
			return code, msg
		}
	}
	text := o.text
	if text == nil {
		text = fmt.Appendf(nil, "From: <%s>\r\nSubject: hello\r\n\r\ntext of %s\r\n", o.from, o.from)
	}
	w := c.text.DotWriter()
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	code, msg, err := c.text.ReadResponse(0)
	if err != nil {
		t.Fatal(err)
	}
	return code, msg
}

// submit submits a message, which must be taken.
func (o outgoing) submit(t *testing.T, n *node.Node) {
	t.Helper()
	if code, msg := o.try(t, n); code != 250 {
		t.Fatalf("submission to %s: %d %s", o.to, code, msg)
	}
}

// inbox are the messages of an account.
func inbox(t *testing.T, n *node.Node, user string) [][]byte {
	t.Helper()
	c := login(t, n, user, password, nil)
	defer c.Close()
	box, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if box.NumMessages == 0 {
		return nil
	}
	var all imap.SeqSet
	all.AddRange(1, 0)
	section := &imap.FetchItemBodySection{Peek: true}
	messages, err := c.Fetch(all, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, m := range messages {
		list = append(list, m.FindBodySection(section))
	}
	return list
}

// awaitMail waits until an account has k messages and gives them.
func awaitMail(t *testing.T, n *node.Node, user string, k int) [][]byte {
	t.Helper()
	came := make(chan uint32, 100)
	c := login(t, n, user, password, exists(came))
	box, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if box.NumMessages < uint32(k) {
		idle, err := c.Idle()
		if err != nil {
			t.Fatal(err)
		}
		late := time.After(node.Patience)
		for n := uint32(0); n < uint32(k); {
			select {
			case n = <-came:
			case <-late:
				t.Fatalf("%s has %d messages after %s, want %d", user, max(n, box.NumMessages), node.Patience, k)
			}
		}
		if err := idle.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return inbox(t, n, user)
}
