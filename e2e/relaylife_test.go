package e2e

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posthouse/internal/test/nexthop"
)

// gate holds a stage of a next hop until the test opens it.
type gate struct {
	reached chan struct{} // closed when the first one stands there
	open    chan struct{}
	once    sync.Once
}

func newGate() *gate { return &gate{reached: make(chan struct{}), open: make(chan struct{})} }

// at is a script that holds a stage.
func (g *gate) at(stage string) nexthop.Script {
	return nexthop.Script{On: func(_ *nexthop.Session, verb, _ string) string {
		if verb == stage {
			g.once.Do(func() { close(g.reached) })
			<-g.open
		}
		return ""
	}}
}

func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(time.Minute):
		t.Fatal("no session came so far within a minute")
	}
}

// TestDrainInRelay stops the server while one message waits for the reply to
// its dot and another next hop stalls: the first is finished, the second left
// to the next start, both arrive once, and the exit code is 0 (TRUST.md row 33).
func TestDrainInRelay(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	data := filepath.Join(folder(t), "data")
	n := start(t, append(w.flags("1s", "10m"), "--data", data)...)
	dot, banner := newGate(), newGate()
	finished := w.domain(t, "finished.example", dot.at("DOT"))
	stalled := w.domain(t, "stalled.example", banner.at("CONNECT"))
	t.Cleanup(func() { // before the hops close
		for _, g := range []*gate{dot, banner} {
			select {
			case <-g.open:
			default:
				close(g.open)
			}
		}
	})
	outgoing{from: "alice@example.test", to: []string{"bob@finished.example", "bob@stalled.example"}}.submit(t, n)
	dot.await(t)
	banner.await(t)
	n.Signal(syscall.SIGTERM)
	eventually(t, "the listener closes", func() bool {
		conn, err := net.Dial("tcp", n.Listen["smtp"])
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(dot.open)
	finished.Wait(t, 1)
	began := time.Now()
	if err := n.Wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("the drain took %s", took)
	}
	if stalled.Taken() != 0 {
		t.Error("the stalled host has it already")
	}
	close(banner.open)
	again := start(t, append(w.flags("1s", "10m"), "--data", data)...)
	stalled.Wait(t, 1)
	emptyQueue(t, again, "stalled.example")
	emptyQueue(t, again, "finished.example")
	if a, b := finished.Taken(), stalled.Taken(); a != 1 || b != 1 {
		t.Errorf("%d and %d copies, want one each", a, b)
	}
}

// TestPostgresDiesInRelay kills the database while the next hop is about to
// answer: the message is not lost, clients hear 451 meanwhile, and what follows
// flows (TRUST.md rows 23, 29).
func TestPostgresDiesInRelay(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	n := start(t, append(w.flags("1s", "10m"), "--ephemeral")...)
	dot := newGate()
	hop := w.domain(t, "database.example", dot.at("DOT"))
	t.Cleanup(func() {
		select {
		case <-dot.open:
		default:
			close(dot.open)
		}
	})
	outgoing{from: "alice@example.test", to: []string{"one@database.example"}}.submit(t, n)
	dot.await(t)
	if err := syscall.Kill(n.Postgres.PID, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	close(dot.open)
	eventually(t, "the server notices", func() bool { return strings.Contains(n.Log(), "postgres_died") })
	for _, code := range retry(t, n.Listen["smtp"], "alice@example.test", "meanwhile") {
		if code < 400 || code > 499 {
			t.Errorf("while Postgres was away a client heard %d", code)
		}
	}
	eventually(t, "submission works again", func() bool {
		conn, err := net.Dial("tcp", n.Listen["submission"])
		if err != nil {
			return false
		}
		conn.Close()
		code, _ := outgoing{from: "alice@example.test", to: []string{"two@database.example"}}.try(t, n)
		return code == 250
	})
	if !hop.Until(func() bool { return hop.Copies("two@database.example") > 0 && hop.Copies("one@database.example") > 0 }) {
		t.Errorf("mail was lost: %d and %d copies", hop.Copies("one@database.example"), hop.Copies("two@database.example"))
	}
	emptyQueue(t, n, "database.example")
	// The result of the first could not be recorded: one more copy is due, no
	// other.
	if one, two := hop.Copies("one@database.example"), hop.Copies("two@database.example"); one > 2 || two != 1 {
		t.Errorf("%d and %d copies", one, two)
	}
}

// TestLoopOfTwo: two servers whose aliases lead to each other end the loop by
// its Received fields, and the sender hears of it once (TRUST.md row 18).
func TestLoopOfTwo(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	here, there := w.address()+":"+w.port, w.address()+":"+w.port
	a := start(t, append(w.flags("500ms", "10m"), "--ephemeral", "--hostname", "mx.a.example", "--listen", "smtp="+here)...)
	b := start(t, append(w.flags("500ms", "10m"), "--ephemeral", "--hostname", "mx.b.example", "--listen", "smtp="+there)...)
	for _, s := range []struct{ domain, listen, other string }{{"a.example", here, "b.example"}, {"b.example", there, "a.example"}} {
		host, _, _ := net.SplitHostPort(s.listen)
		w.dns.Add(s.domain+". MX 10 mx."+s.domain+".", "mx."+s.domain+". A "+host)
		n := a
		if s.domain == "b.example" {
			n = b
		}
		if _, err := n.Command(t.Context(), "", "domain", "add", s.domain); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Command(t.Context(), "", "alias", "add", "round@"+s.domain, "round@"+s.other); err != nil {
			t.Fatal(err)
		}
	}
	from := "carol@origin.example"
	origin := w.domain(t, "origin.example", nexthop.Script{})
	c := dialSMTP(t, here)
	c.say(250, "MAIL FROM:<%s>", from)
	c.say(250, "RCPT TO:<round@a.example>")
	c.say(354, "DATA")
	if _, err := c.end([]byte("Subject: round and round\r\n\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	m := origin.Wait(t, 1)[0]
	if m.From != "" || !bytes.Contains(m.Octets, []byte("multipart/report")) {
		t.Errorf("no report: from <%s>\n%s", m.From, m.Octets)
	}
	emptyQueue(t, a, "b.example")
	emptyQueue(t, b, "a.example")
	emptyQueue(t, a, "origin.example")
	emptyQueue(t, b, "origin.example")
	if k := origin.Taken(); k != 1 {
		t.Errorf("%d reports, want 1", k)
	}
}
