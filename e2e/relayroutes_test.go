package e2e

import (
	"os"
	"strings"
	"testing"

	"posthouse/internal/test/nexthop"
)

// TestSmarthost: one relay takes all mail, by command and at once; its password
// stands neither in the log nor open in the database (TRUST.md row 36).
func TestSmarthost(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	const secret = "a smarthost's word"
	hop := nexthop.Start(t, nexthop.Script{TLS: w.ca.Config("127.0.0.1", "localhost"), Auth: map[string]string{"site": secret}})
	config := write(t, folder(t), "debug.toml", []byte("[log]\nlevel = \"debug\"\n"))
	if err := os.Chmod(config, 0o644); err != nil {
		t.Fatal(err)
	}
	n := start(t, append(w.flags("500ms", "10m"), "--ephemeral", "--config", config)...)
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{secret + "\n", []string{"relay", "add", "upstream", hop.Addr.String(), "--user", "site", "--password-stdin", "--tls", "verified"}},
		{"", []string{"relay", "route", "--all", "upstream"}},
	} {
		if _, err := n.Command(t.Context(), c.stdin, c.args...); err != nil {
			t.Fatal(err)
		}
	}
	outgoing{from: "alice@example.test", to: []string{"bob@anywhere.example", "carol@elsewhere.example"}}.submit(t, n)
	m := hop.Wait(t, 1)[0]
	if m.User != "site" || m.TLS == nil || len(m.Rcpts) != 2 {
		t.Errorf("user %q, TLS %v, %d recipients: one message for both was due", m.User, m.TLS != nil, len(m.Rcpts))
	}
	out, err := n.Command(t.Context(), "", "relay", "list", "--json")
	if err != nil || strings.Contains(out, secret) || !strings.Contains(out, "upstream") {
		t.Errorf("relay list: %s, %v", out, err)
	}
	if strings.Contains(n.Log(), secret) {
		t.Error("the password stands in the log")
	}
	db := database(t, n)
	var found bool
	if err := db.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM relay r WHERE r::text LIKE '%' || $1 || '%')`, secret).Scan(&found); err != nil || found {
		t.Errorf("the password lies open in the database: %v, %v", found, err)
	}
}

// TestFallbackRelay: where port 25 is closed to us, or a destination refuses us
// as a client, the fallback takes the mail; where it refuses the mail, not.
func TestFallbackRelay(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	fallback := nexthop.Start(t, nexthop.Script{})
	n := start(t, append(w.flags("500ms", "10m"), "--ephemeral")...)
	for _, args := range [][]string{{"relay", "add", "escape", fallback.Addr.String(), "--tls", "never"}, {"relay", "fallback", "escape"}} {
		if _, err := n.Command(t.Context(), "", args...); err != nil {
			t.Fatal(err)
		}
	}
	w.dns.Add("closed.example. MX 10 mx.closed.example.", "mx.closed.example. A "+w.address())
	w.domain(t, "hates-us.example", nexthop.Script{Replies: map[string]string{"CONNECT": "554 5.7.1 your address is on a list" + nexthop.Close}})
	refuses := w.domain(t, "hates-it.example", nexthop.Script{Replies: map[string]string{"RCPT": "550 5.1.1 nobody"}})
	open := w.domain(t, "open.example", nexthop.Script{})
	const from = "alice@example.test"
	for _, domain := range []string{"closed.example", "hates-us.example", "hates-it.example", "open.example"} {
		outgoing{from: from, to: []string{"bob@" + domain}}.submit(t, n)
	}
	fallback.Wait(t, 2)
	open.Wait(t, 1)
	parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob@hates-it.example", "failed", "5.1.1")
	for address, want := range map[string]int{"bob@closed.example": 1, "bob@hates-us.example": 1, "bob@hates-it.example": 0, "bob@open.example": 0} {
		if got := fallback.Copies(address); got != want {
			t.Errorf("the fallback got %d for %s, want %d", got, address, want)
		}
	}
	if refuses.Sessions() == 0 {
		t.Error("a host that was there was not asked")
	}
}

// TestBackupMX: we take mail for a domain that lives elsewhere, for recipients
// that its primary knows, keep it while the primary is away, and hand it over
// when it is back.
func TestBackupMX(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	here := w.address() + ":" + w.port
	n := start(t, append(w.flags("500ms", "10m"), "--ephemeral", "--hostname", "backup.example", "--listen", "smtp="+here)...)
	away := make(chan struct{})
	script := nexthop.Script{Rcpt: map[string]string{"nobody@primary.example": "550 5.1.1 nobody"}, On: func(*nexthop.Session, string, string) string {
		select {
		case <-away:
		default:
			return ""
		}
		return "421 4.3.2 away" + nexthop.Close // sessions that are open still hear it, too
	}}
	primary := w.domain(t, "primary.example", script)
	w.dns.Add("primary.example. MX 20 backup.example.", "backup.example. A "+strings.TrimSuffix(here, ":"+w.port))
	if _, err := n.Command(t.Context(), "", "domain", "backup", "add", "primary.example"); err != nil {
		t.Fatal(err)
	}
	send := func(to string, want int) {
		t.Helper()
		c := dialSMTP(t, here)
		defer c.conn.Close()
		c.say(250, "MAIL FROM:<carol@elsewhere.example>")
		c.say(want, "RCPT TO:<%s>", to)
		if want != 250 {
			return
		}
		c.say(354, "DATA")
		if _, err := c.end([]byte("Subject: by the backup\r\n\r\ntext\r\n")); err != nil {
			t.Fatal(err)
		}
		c.say(221, "QUIT") // the 250 was heard: the next is another message
	}
	send("known@primary.example", 250) // a callout tells
	send("nobody@primary.example", 550)
	send("somebody@other.example", 550)
	primary.Wait(t, 1)
	if !primary.Until(func() bool { return primary.Open() == 0 }) { // no session lingers
		t.Fatal("a session with the primary stays open")
	}
	close(away)
	send("known@primary.example", 250) // it is remembered
	send("nobody@primary.example", 550)
	send("stranger@primary.example", 451)
	waitingFor(t, n, "primary.example")
	if primary.Taken() != 1 {
		t.Errorf("%d messages", primary.Taken())
	}
}

// TestLMTPNextHop: a domain's mail goes to an LMTP server, which answers for
// each recipient.
func TestLMTPNextHop(t *testing.T) {
	t.Parallel()
	_, n := sending(t)
	hop := nexthop.Start(t, nexthop.Script{LMTP: true, Dot: map[string]string{"full@lmtp.example": "552 5.2.2 the mailbox is full"}})
	for _, args := range [][]string{{"relay", "add", "store", hop.Addr.String(), "--lmtp", "--tls", "never"}, {"relay", "route", "--to", "lmtp.example", "store"}} {
		if _, err := n.Command(t.Context(), "", args...); err != nil {
			t.Fatal(err)
		}
	}
	from := sender(t, n, "lmtp")
	outgoing{from: from, to: []string{"one@lmtp.example", "full@lmtp.example", "two@lmtp.example"}}.submit(t, n)
	hop.Wait(t, 1)
	parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "full@lmtp.example", "failed", "5.2.2", "the mailbox is full")
	emptyQueue(t, n, "lmtp.example")
	if a, b, c := hop.Copies("one@lmtp.example"), hop.Copies("two@lmtp.example"), hop.Copies("full@lmtp.example"); a != 1 || b != 1 || c != 0 {
		t.Errorf("copies: %d %d %d", a, b, c)
	}
}
