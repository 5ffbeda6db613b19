package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthouse/e2e/node"
	"posthouse/internal/test/nexthop"
)

// TestOneOfThreeRefused: two are delivered once, in one transaction, and the
// sender hears of the third in the other server's words.
func TestOneOfThreeRefused(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	from := sender(t, n, "three")
	hop := w.domain(t, "three.example", nexthop.Script{Rcpt: map[string]string{"two@three.example": "550 5.1.1 Nobody of that name lives here"}})
	outgoing{from: from, to: []string{"one@three.example", "two@three.example", "three@three.example"}}.submit(t, n)
	m := hop.Wait(t, 1)[0]
	if !slices.Equal(m.To(), []string{"one@three.example", "three@three.example"}) || m.From != from {
		t.Errorf("from %s to %q", m.From, m.To())
	}
	r := parseReport(t, awaitMail(t, n, from, 1)[0])
	r.says(t, "two@three.example", "failed", "5.1.1", "two@three.example", "Nobody of that name lives here")
	f := r.about(t, "two@three.example")
	if !strings.Contains(f.Get("Remote-Mta"), "mx.three.example") || !strings.Contains(f.Get("Diagnostic-Code"), "smtp; 550 5.1.1 Nobody of that name lives here") {
		t.Errorf("%v", f)
	}
	if !bytes.Contains(r.back, []byte("Subject: hello")) {
		t.Errorf("returned is %q", r.back)
	}
	if hop.Taken() != 1 {
		t.Errorf("%d messages", hop.Taken())
	}
}

// TestWhereMailGoes: each way in which DNS and the first host can send a
// message elsewhere, keep it, or end it.
func TestWhereMailGoes(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	t.Run("fallback", func(t *testing.T) {
		t.Parallel()
		from := sender(t, n, "fallback")
		busy := w.hop(t, "busy.fallback.example", nexthop.Script{Replies: map[string]string{"CONNECT": "421 4.3.2 busy" + nexthop.Close}})
		w.dns.Add("closed.fallback.example. A "+w.address(), "fallback.example. MX 5 closed.fallback.example.",
			"fallback.example. MX 10 gone.fallback.example.", "fallback.example. MX 20 busy.fallback.example.", "fallback.example. MX 30 open.fallback.example.")
		open := w.hop(t, "open.fallback.example", nexthop.Script{})
		outgoing{from: from, to: []string{"bob@fallback.example"}}.submit(t, n)
		open.Wait(t, 1)
		if busy.Sessions() == 0 {
			t.Error("a host of a better preference was not asked")
		}
	})
	t.Run("address record", func(t *testing.T) {
		t.Parallel()
		hop := w.hop(t, "plain.example", nexthop.Script{})
		outgoing{from: sender(t, n, "plain"), to: []string{"bob@plain.example"}}.submit(t, n)
		hop.Wait(t, 1)
	})
	t.Run("null MX", func(t *testing.T) {
		t.Parallel()
		from := sender(t, n, "nullmx")
		w.hop(t, "null.example", nexthop.Script{})
		w.dns.Add("null.example. MX 0 .")
		outgoing{from: from, to: []string{"bob@null.example"}}.submit(t, n)
		parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob@null.example", "failed", "5.1.10")
	})
	t.Run("no such domain", func(t *testing.T) {
		t.Parallel()
		from := sender(t, n, "nowhere")
		outgoing{from: from, to: []string{"bob@nowhere.example"}}.submit(t, n)
		parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob@nowhere.example", "failed", "5.1.2", "nowhere.example")
	})
	for name, break_ := range map[string]func(string){
		"SERVFAIL": func(domain string) { w.dns.Fail(domain, dns.RcodeServerFailure) },
		"timeout":  w.dns.Silent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			word := strings.ToLower(name)
			domain := word + ".example"
			from := sender(t, n, word)
			break_(domain)
			hop := w.domain(t, domain, nexthop.Script{})
			outgoing{from: from, to: []string{"bob@" + domain}}.submit(t, n)
			w.dns.Await(t, domain, dns.TypeMX, 3)
			w.dns.Heal(domain)
			hop.Wait(t, 1)
			if box := inbox(t, n, from); len(box) != 0 {
				t.Errorf("a report about what was only delayed:\n%s", box[0])
			}
		})
	}
}

// TestLater: what is refused for now comes again, to those alone who were
// refused; a session that is ended in the middle costs nobody a second copy.
func TestLater(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	for name, script := range map[string]nexthop.Script{
		"mail":   once("MAIL", "", "451 4.3.0 later"),
		"second": once("RCPT", "<two@", "452 4.5.3 too many for now"),
		"data":   once("DATA", "", "451 4.3.0 later"),
		"dot":    once("DOT", "", "452 4.3.1 later"),
		"cut":    once("BODY", "", nexthop.Close),
		"ended":  once("MAIL", "", "421 4.3.2 going down"+nexthop.Close),
		"half":   once("RCPT", "<three@", "421 4.3.2 going down"+nexthop.Close),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			domain := "later-" + name + ".example"
			from := sender(t, n, "later-"+name)
			hop := w.domain(t, domain, script)
			to := []string{"one@" + domain, "two@" + domain, "three@" + domain}
			outgoing{from: from, to: to}.submit(t, n)
			if !hop.Until(func() bool { return hop.Copies(to[0])+hop.Copies(to[1])+hop.Copies(to[2]) >= 3 }) {
				t.Errorf("not all came: %v", hop.Messages())
			}
			emptyQueue(t, n, domain)
			for _, address := range to {
				if k := hop.Copies(address); k != 1 {
					t.Errorf("%d copies for %s", k, address)
				}
			}
			if box := inbox(t, n, from); len(box) != 0 {
				t.Errorf("a report:\n%s", box[0])
			}
		})
	}
}

// once answers a stage with a reply, the first time that it comes with an
// argument that holds part.
func once(stage, part, reply string) nexthop.Script {
	var first sync.Once
	return nexthop.Script{On: func(_ *nexthop.Session, verb, arg string) (answer string) {
		if verb == stage && strings.Contains(arg, part) {
			first.Do(func() { answer = reply })
		}
		return answer
	}}
}

// TestLostReply: the other server took the message and its reply was lost
// (TRUST.md row 29). It may come twice, but there alone; trace shows why.
func TestLostReply(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	from := sender(t, n, "lost")
	hop := w.domain(t, "lost.example", once("DOT", "", nexthop.Close))
	outgoing{from: from, to: []string{"one@lost.example", "two@lost.example"}}.submit(t, n)
	hop.Wait(t, 2)
	emptyQueue(t, n, "lost.example")
	if a, b := hop.Copies("one@lost.example"), hop.Copies("two@lost.example"); a != 2 || b != 2 {
		t.Errorf("%d and %d copies, want 2", a, b)
	}
	list := hop.Messages()
	if !bytes.Equal(list[0].Octets, list[1].Octets) {
		t.Error("the copies differ: the other server cannot tell that they are the same")
	}
}

// TestSlowOthers: next hops that stall, flood or drip hold up nobody else, and
// are given up at last (TRUST.md row 30).
func TestSlowOthers(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	from := sender(t, n, "slow")
	for i, script := range []nexthop.Script{
		{Replies: map[string]string{"CONNECT": nexthop.Stall}},
		{Replies: map[string]string{"CONNECT": "220 welcome" + nexthop.Drip}},
		{Replies: map[string]string{"EHLO": nexthop.Stall}},
		{Replies: map[string]string{"DATA": nexthop.Stall}},
		{Replies: map[string]string{"BODY": nexthop.Stall}},
		{Replies: map[string]string{"DOT": "250-well" + nexthop.Stall}},
		{Replies: map[string]string{"EHLO": nexthop.Endless}},
		{Replies: map[string]string{"CONNECT": nexthop.Flood}},
	} {
		w.domain(t, fmt.Sprintf("slow%d.example", i), script)
		for range 30 {
			outgoing{from: from, to: []string{fmt.Sprintf("bob@slow%d.example", i)}}.submit(t, n)
		}
	}
	hop := w.domain(t, "quick.example", nexthop.Script{})
	began := time.Now()
	outgoing{from: from, to: []string{"bob@quick.example"}}.submit(t, n)
	hop.Wait(t, 1)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("behind stalled destinations a message took %s", took)
	}
	// The floods end by themselves: they are put off, with the reason.
	for _, domain := range []string{"slow6.example", "slow7.example"} {
		eventually(t, domain+" is put off", func() bool {
			out, err := n.Command(t.Context(), "", "queue", "list", "--domain", domain, "--json")
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(out, "malformed reply")
		})
	}
}

// emptyQueue waits until nothing waits for a domain.
func emptyQueue(t *testing.T, n *node.Node, domain string) {
	t.Helper()
	db := database(t, n)
	eventually(t, "the queue is empty for "+domain, func() bool {
		var left int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM queue_rcpt WHERE address LIKE '%@' || $1`, domain).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
}

// waitingFor waits until mail for a domain was tried in vain and waits for
// another time.
func waitingFor(t *testing.T, n *node.Node, domain string) {
	t.Helper()
	db := database(t, n)
	eventually(t, "mail for "+domain+" was tried and waits", func() bool {
		var tried int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM queue_rcpt r LEFT JOIN queue_destination d ON d.name = r.destination
			WHERE r.address LIKE '%@' || $1 AND (r.attempts > 0 OR d.tried_at IS NOT NULL)`, domain).Scan(&tried); err != nil {
			t.Fatal(err)
		}
		return tried > 0
	})
}
