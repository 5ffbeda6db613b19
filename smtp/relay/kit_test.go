package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthouse/internal/dns"
	"posthouse/internal/mail"
	"posthouse/internal/test/dnstest"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is content in memory.
type text struct{ *bytes.Reader }

func (t text) Size() int64 { return t.Reader.Size() }

func content(s string) relay.Content { return text{bytes.NewReader([]byte(s))} }

const plain = "From: alice@example.org\r\nSubject: hello\r\n\r\nHello.\r\n.a line with a dot\r\n..\r\n"

// world is a DNS of its own, next hops that share a port on several loopback
// addresses, and a relay among them.
type world struct {
	t      *testing.T
	dns    *dnstest.Server
	config relay.Config

	mu   sync.Mutex
	told []relay.TLSResult
}

const quick = 400 * time.Millisecond // each step: what stalls is given up then

func newWorld(t *testing.T, records ...string) *world {
	t.Helper()
	w := &world{t: t, dns: dnstest.Start(t)}
	w.dns.Add(records...)
	w.config = relay.Config{
		Hostname:  "relay.example.org",
		Resolver:  dns.New(dns.Config{Servers: []netip.AddrPort{w.dns.Addr()}, Timeout: quick, Rounds: 1}),
		TLSReport: func(r relay.TLSResult) { w.mu.Lock(); w.told = append(w.told, r); w.mu.Unlock() },
		Timeouts: relay.Timeouts{Connect: quick, Banner: quick, Hello: quick, TLS: quick, Auth: quick, Mail: quick,
			Rcpt: quick, Data: quick, Block: quick, Dot: quick, Policy: 5 * quick},
	}
	return w
}

// hop starts a next hop; the first decides on the port.
func (w *world) hop(ip string, script nexthop.Script) *nexthop.Hop {
	w.t.Helper()
	h := nexthop.StartAt(w.t, fmt.Sprintf("%s:%d", ip, w.config.Port), script)
	w.config.Port = h.Addr.Port()
	return h
}

func (w *world) relay() *relay.Relay { return relay.New(w.config) }

func (w *world) reports() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, r := range w.told {
		list = append(list, strings.TrimSpace(r.Policy.Type+" "+r.Failure+" "+r.Reason))
	}
	return list
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func message(body string, to ...string) *relay.Message {
	m := &relay.Message{Content: content(body)}
	m.From = address("alice@example.org")
	for _, a := range to {
		m.Recipients = append(m.Recipients, mail.Recipient{Address: address(a)})
	}
	return m
}

// say is a result on one line.
func say(r relay.Result) string {
	return fmt.Sprintf("%s at %s: %d %s", r.Outcome, r.Stage, r.Code, r.Enhanced)
}

func sayAll(list []relay.Result) string {
	var b strings.Builder
	for i, r := range list {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(say(r))
	}
	return b.String()
}

func failure(t *testing.T, err error) *relay.Failure {
	t.Helper()
	var f *relay.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v is no Failure", err)
	}
	return f
}

// send dials, sends and closes, and gives the whole outcome.
func (w *world) send(route relay.Route, need relay.Need, m *relay.Message) string {
	w.t.Helper()
	s, err := w.relay().Dial(context.Background(), route, need)
	if err != nil {
		return "no session: " + say(failure(w.t, err).Result)
	}
	defer s.Close()
	return sayAll(s.Send(context.Background(), m))
}
