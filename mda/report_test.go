package mda_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/mail"
	"posthouse/mda"
)

// asked is a message from alice to one recipient, with what RCPT said.
func asked(to string, n mail.Notify, original string) *mail.Incoming {
	in := incoming(to)
	in.From = addr("alice@example.test")
	in.Recipients[0].Notify, in.Recipients[0].Original = n, original
	in.EnvelopeID, in.Return = "QQ 314", "FULL"
	return in
}

// TestSuccess is RFC 3461 §5.2.1: a local copy is reported as delivered, if that
// was asked for, and nothing else is.
func TestSuccess(t *testing.T) {
	h := open(t, false)
	h.alias("staff@example.test", "bob@example.test")
	for _, x := range []struct {
		in   *mail.Incoming
		want string // in the report; empty: there is none
	}{
		{asked("bob@example.test", mail.NotifySuccess, "rfc822;robert@example.org"), "Original-Recipient: rfc822; robert@example.org\r\nFinal-Recipient: rfc822; bob@example.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n"},
		{asked("staff@example.test", mail.NotifySuccess|mail.NotifyFailure, ""), "Final-Recipient: rfc822; staff@example.test\r\nAction: delivered\r\n"},
		{asked("bob@example.test", 0, ""), ""},
		{asked("bob@example.test", mail.NotifyNever, ""), ""},
		{asked("bob@example.test", mail.NotifyFailure|mail.NotifyDelay, ""), ""},
	} {
		before := h.inbox(h.alice)
		settle, err := h.deliver(x.in, text)
		if err != nil {
			t.Fatal(err)
		}
		settle(true)
		got := h.inbox(h.alice)[len(before):]
		if x.want == "" && len(got) != 0 {
			t.Errorf("%+v: reported %q", x.in.Recipients, got)
		}
		if x.want == "" {
			continue
		}
		if len(got) != 1 || !strings.Contains(got[0], x.want) || !strings.HasPrefix(got[0], "Return-Path: <>\r\nDelivered-To: alice@example.test\r\nDate: ") ||
			!strings.Contains(got[0], "\r\nOriginal-Envelope-Id: QQ 314\r\n") || !strings.Contains(got[0], "\r\nContent-Type: text/rfc822-headers\r\n") {
			t.Errorf("%+v: reported %q", x.in.Recipients, got)
		}
	}
	nobody := asked("bob@example.test", mail.NotifySuccess, "")
	nobody.From = mail.Address{}
	if _, err := h.deliver(nobody, text); err != nil {
		t.Fatal(err)
	}
	lost := asked("bob@example.test", mail.NotifySuccess, "")
	lost.From = addr("gone@example.test") // the report is dropped, the message is not
	if _, err := h.deliver(lost, text); err != nil {
		t.Fatal(err)
	}
	stranger := asked("bob@example.test", mail.NotifySuccess, "")
	stranger.From = addr("a@far.example")
	if _, err := h.deliver(stranger, text); err != nil {
		t.Fatal(err)
	}
	if q := h.queued(); len(h.inbox(h.bob)) != 8 || len(q) != 1 || q[0].From != "" || !slices.Equal(q[0].Recipients, []string{"a@far.example"}) {
		t.Errorf("bob has %d, queued %+v", len(h.inbox(h.bob)), q)
	}
}

// TestForwardedNotify is RFC 3461 §5.2.7: an alias to one place passes all on;
// one to several reports success itself, and asks for the rest.
func TestForwardedNotify(t *testing.T) {
	h := openWith(t, false, func(c *mda.Config) {
		c.Forward = func(_ context.Context, from mail.Address, via string) (mail.Address, error) {
			return mail.Address{Local: "SRS0=" + from.Local, Domain: via}, nil
		}
	})
	h.alias("one@example.test", "a@far.example")
	h.alias("two@example.test", "b@far.example", "bob@example.test")
	for _, in := range []*mail.Incoming{
		asked("one@example.test", mail.NotifySuccess|mail.NotifyDelay, ""),
		asked("one@example.test", mail.NotifySuccess, "rfc822;x@y"),
		asked("two@example.test", mail.NotifySuccess, ""),
		asked("two@example.test", mail.NotifySuccess|mail.NotifyFailure, ""),
		asked("two@example.test", 0, ""),
	} {
		if _, err := h.deliver(in, text); err != nil {
			t.Fatal(err)
		}
	}
	stranger := incoming("one@example.test")
	if _, err := h.deliver(stranger, text); err != nil {
		t.Fatal(err)
	}
	rows, err := h.pool.Query(t.Context(), `SELECT m.reverse_path || ' ' || r.address || ' ' || r.notify || ' ' || r.original
		FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id ORDER BY m.id`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	const from = "alice@example.test "
	want := []string{
		from + fmt.Sprintf("a@far.example %d rfc822;one@example.test", mail.NotifySuccess|mail.NotifyDelay),
		from + fmt.Sprintf("a@far.example %d rfc822;x@y", mail.NotifySuccess),
		from + fmt.Sprintf("b@far.example %d rfc822;two@example.test", mail.NotifyNever),
		from + fmt.Sprintf("b@far.example %d rfc822;two@example.test", mail.NotifyFailure),
		from + "b@far.example 0 rfc822;two@example.test",
		"SRS0=sender@example.test a@far.example 0 rfc822;one@example.test", // a sender of our own needs no rewriting
	}
	if rows.Err() != nil || !slices.Equal(got, want) {
		t.Errorf("queued %q, %v", got, rows.Err())
	}
	reports := h.inbox(h.alice)
	if len(reports) != 2 || !strings.Contains(reports[0], "Final-Recipient: rfc822; two@example.test\r\nAction: expanded\r\n") {
		t.Errorf("alice has %q", reports)
	}
}

// TestRecord: what trace will tell of a message.
func TestRecord(t *testing.T) {
	h := open(t, false)
	h.alias("both@example.test", "bob@example.test", "a@far.example")
	in := incoming("alice@example.test", "both@example.test", "c@far.example")
	in.Account, in.Remote, in.TLS = h.alice, "client [192.0.2.1]", "TLS 1.3"
	in.Recipients[0].Notify = mail.NotifySuccess
	in.From = addr("alice@example.test")
	if _, err := h.deliver(in, "Message-ID: <m@example.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	h.events.Close()
	list, err := h.events.Events(t.Context(), "id1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Recipient, " ", e.Text, " ", e.HeaderID, e.Subject, e.Remote, e.TLS))
	}
	slices.Sort(got)
	want := []string{
		"queued a@far.example forwarded by both@example.test ", "queued c@far.example  ",
		"received   <m@example.test>Grüßeclient [192.0.2.1]TLS 1.3",
		"reported alice@example.test delivered ", "stored alice@example.test  ", "stored both@example.test for bob@example.test ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("recorded\n%s", strings.Join(got, "\n"))
	}
}

// TestReturn: what comes back for a rewritten sender goes to whom it stands for,
// and nobody else is relayed to by it.
func TestReturn(t *testing.T) {
	back := map[string]mail.Address{"srs0=far@example.test": addr("x@far.example"), "srs0=here@example.test": addr("bob@example.test")}
	h := openWith(t, false, func(c *mda.Config) {
		c.Return = func(_ context.Context, to mail.Address) (mail.Address, error) {
			if strings.HasPrefix(to.Local, "srs0=forged") {
				return mail.Address{}, mail.Refuse(550, mail.Enhanced{5, 1, 1}, "Forged")
			}
			return back[to.String()], nil
		}
	})
	for to, code := range map[string]int{"srs0=far@example.test": 0, "srs0=here@example.test": 0, "srs0=forged@example.test": 550,
		"nobody@example.test": 550, "srs0=forged@far.example": 550, "postmaster@mx.example.test": 0} {
		in := incoming(to)
		in.From = mail.Address{}
		_, err := h.deliver(in, text)
		var e *mail.Error
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &e) || e.Code != code) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if q := h.queued(); len(q) != 1 || !slices.Equal(q[0].Recipients, []string{"x@far.example"}) || q[0].Via != "srs0=far@example.test" {
		t.Errorf("queued %+v", q)
	}
	if n := len(h.inbox(h.bob)); n != 1 {
		t.Errorf("bob has %d", n)
	}
}
