package e2e

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/test/nexthop"
)

// TestReportsAskedFor: NOTIFY, RET, ENVID and ORCPT go on to a host that knows
// them; for one that does not, the report that was asked for is ours.
func TestReportsAskedFor(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	knows := w.domain(t, "knows.example", nexthop.Script{})
	not := w.domain(t, "knows-not.example", nexthop.Script{Keywords: []string{"8BITMIME"}})
	from := sender(t, n, "asks")
	outgoing{from: from, params: "RET=HDRS ENVID=order+2B7", to: []string{
		"one@knows.example NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;sales+2Beu@example.com",
		"two@knows.example NOTIFY=NEVER",
		"three@knows-not.example NOTIFY=SUCCESS",
		"four@knows-not.example NOTIFY=FAILURE",
		"five@knows-not.example",
	}}.submit(t, n)

	m := knows.Wait(t, 1)[0]
	if !slices.Contains(m.Params, "RET=HDRS") || !slices.Contains(m.Params, "ENVID=order+2B7") {
		t.Errorf("MAIL with %q", m.Params)
	}
	for _, r := range m.Rcpts {
		want := map[string][]string{
			"one@knows.example": {"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;sales+2Beu@example.com"},
			"two@knows.example": {"NOTIFY=NEVER"},
		}[r.Address]
		for _, p := range want {
			if !slices.Contains(r.Params, p) {
				t.Errorf("RCPT of %s with %q, want %s", r.Address, r.Params, p)
			}
		}
	}
	for _, m := range not.Wait(t, 1) {
		if slices.ContainsFunc(m.Params, func(p string) bool { return strings.HasPrefix(p, "RET") || strings.HasPrefix(p, "ENVID") }) || len(m.Rcpts[0].Params) != 0 {
			t.Errorf("parameters for a host that did not offer them: %q %q", m.Params, m.Rcpts[0].Params)
		}
	}
	r := parseReport(t, awaitMail(t, n, from, 1)[0])
	r.says(t, "three@knows-not.example", "relayed", "2.0.0")
	if r.message.Get("Original-Envelope-Id") != "order+7" {
		t.Errorf("ENVID came back as %q", r.message.Get("Original-Envelope-Id"))
	}
	if bytes.Contains(r.back, []byte("text of")) {
		t.Error("a report of success returns the text")
	}
	emptyQueue(t, n, "knows-not.example")
	emptyQueue(t, n, "knows.example")
	if box := inbox(t, n, from); len(box) != 1 {
		t.Errorf("%d reports, want 1", len(box))
	}
}

// TestNoReportOnReports: what fails with the null reverse-path, or with
// NOTIFY=NEVER, ends without a word (TRUST.md row 18).
func TestNoReportOnReports(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	refuses := nexthop.Script{Replies: map[string]string{"RCPT": "550 5.1.1 nobody"}}
	hop := w.domain(t, "silent.example", refuses)
	from := sender(t, n, "never")
	outgoing{from: from, to: []string{"bob@silent.example NOTIFY=NEVER"}}.submit(t, n)
	emptyQueue(t, n, "silent.example")

	// An alias that leads to where nobody is, and a report that comes to it.
	if _, err := n.Command(t.Context(), "", "alias", "add", "away@example.test", "bob@silent.example"); err != nil {
		t.Fatal(err)
	}
	c := dialSMTP(t, n.Listen["smtp"])
	c.say(250, "MAIL FROM:<>")
	c.say(250, "RCPT TO:<away@example.test>")
	c.say(354, "DATA")
	if _, err := c.end([]byte("Subject: failure notice\r\nAuto-Submitted: auto-replied\r\n\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	hop.Until(func() bool { return hop.Sessions() >= 2 || len(hop.Session(1).Commands()) > 6 })
	emptyQueue(t, n, "silent.example")
	if box := inbox(t, n, from); len(box) != 0 {
		t.Errorf("a report in spite of NOTIFY=NEVER:\n%s", box[0])
	}
	db := database(t, n)
	var waiting int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM queue_message WHERE ref IN (SELECT ref FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id WHERE r.address LIKE '%silent.example')`).Scan(&waiting); err != nil || waiting != 0 {
		t.Errorf("%d messages about a report wait, %v", waiting, err)
	}
}

// TestExpiry: what cannot be delivered in time bounces, with the last words of
// the other server, and once.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	n := start(t, append(w.flags("500ms", "3s"), "--ephemeral")...)
	const from = "alice@example.test"
	w.domain(t, "late.example", nexthop.Script{Replies: map[string]string{"RCPT": "450 4.2.1 the mailbox is asleep"}})
	w.dns.Add("dead.example. MX 10 mx.dead.example.", "mx.dead.example. A "+w.address())
	outgoing{from: from, to: []string{"bob@late.example", "bob@dead.example"}}.submit(t, n)
	for _, raw := range awaitMail(t, n, from, 2) {
		r := parseReport(t, raw)
		if strings.Contains(r.rcpts[0].Get("Final-Recipient"), "late.example") {
			r.says(t, "bob@late.example", "failed", "4.4.7", "the mailbox is asleep")
		} else {
			r.says(t, "bob@dead.example", "failed", "4.4.7", "dead.example")
		}
	}
	emptyQueue(t, n, "late.example")
	emptyQueue(t, n, "dead.example")
	if box := inbox(t, n, from); len(box) != 2 {
		t.Errorf("%d reports, want 2", len(box))
	}
}

// TestHostileWords: whatever a next hop says, and whatever a client coded into
// ENVID and ORCPT, it stays within its line: in the report, in the queue, and in
// what is said to the next hop (TRUST.md row 9).
func TestHostileWords(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	hop := w.domain(t, "hostile.example", nexthop.Script{On: func(_ *nexthop.Session, verb, arg string) string {
		switch {
		case verb != "RCPT":
			return ""
		case strings.Contains(arg, "<bad@"):
			return "550-5.1.1 \x1b[31mred\x07\x01 \xff\xfe X-Injected: one\r\n550-5.1.1 <script>alert(1)</script>\r\n550 5.1.1 " + strings.Repeat("long ", 300)
		case strings.Contains(arg, "<odd@"):
			return "550 5.9.999999999 --=_\r\n"
		}
		return ""
	}})
	from := sender(t, n, "hostile")
	outgoing{from: from, to: []string{"bad@hostile.example", "odd@hostile.example"}}.submit(t, n)
	refused := 0
	for _, o := range []outgoing{
		{from: from, params: "ENVID=a+0D+0AX-Injected:+20two", to: []string{"good@hostile.example"}},
		{from: from, to: []string{"good@hostile.example ORCPT=rfc822;a+0D+0AX-Injected:+20three"}},
		{from: from, to: []string{"bad@hostile.example ORCPT=rfc822;a+0A+0AX-Injected:+20four"}},
	} {
		if code, _ := o.try(t, n); code >= 500 {
			refused++
		}
	}
	reports := 0
	for _, raw := range awaitMail(t, n, from, 1) {
		reports++
		r := parseReport(t, raw)
		for _, field := range []string{"Diagnostic-Code", "Status", "Original-Recipient"} {
			for _, f := range r.rcpts {
				if strings.ContainsAny(f.Get(field), "\x00\x07\x1b\r") {
					t.Errorf("%s: %q", field, f.Get(field))
				}
			}
		}
		for line := range bytes.Lines(raw) {
			if bytes.HasPrefix(line, []byte("X-Injected")) || bytes.ContainsAny(line, "\x00\x07\x1b") || len(line) > 1000 ||
				bytes.ContainsRune(bytes.TrimSuffix(line, []byte("\r\n")), '\r') {
				t.Errorf("a line of the report: %q", line)
			}
		}
	}
	emptyQueue(t, n, "hostile.example")
	for i := range hop.Sessions() {
		for _, line := range hop.Session(i + 1).Lines() {
			if strings.HasPrefix(line, "X-Injected") {
				t.Errorf("said to the next hop: %q", line)
			}
		}
	}
	t.Logf("%d of 3 refused, %d reports", refused, reports)
}
