package events

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
)

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// account makes one with an id.
func account(t *testing.T, l *Log, id int64, address string) {
	t.Helper()
	_, err := l.pool.Exec(t.Context(), `INSERT INTO account (id, address) OVERRIDING SYSTEM VALUE VALUES ($1, $2)`, id, address)
	must(t, err)
}

// suppressed are the addresses of a question that are on the list, with their reasons.
func suppressed(t *testing.T, s *Suppressions, account int64, list string, addrs ...string) string {
	t.Helper()
	var ask []mail.Address
	for _, a := range addrs {
		ask = append(ask, addr(a))
	}
	found, err := s.Suppressed(t.Context(), account, list, ask...)
	must(t, err)
	var words []string
	for a, f := range found {
		words = append(words, a.String()+" "+string(f.Reason))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func TestSuppression(t *testing.T) {
	l := open(t)
	account(t, l, 5, "alice@example.test")
	account(t, l, 6, "bob@example.test")
	s := NewSuppressions(l.pool)
	ctx := t.Context()
	put := func(address string, e Suppression, want bool) {
		t.Helper()
		added, err := s.Add(ctx, addr(address), e)
		if err != nil || added != want {
			t.Errorf("%s: %v %v", address, added, err)
		}
	}
	put("Carol@Example.org", Suppression{AccountID: 5, Reason: ReasonManual, Note: "asked\r\nby phone"}, true)
	put("carol@example.org", Suppression{AccountID: 5, Reason: ReasonBounced}, false)
	put("carol@example.org", Suppression{AccountID: 5, List: "news", Reason: ReasonUnsubscribed}, true)
	put("dave@example.org", Suppression{Reason: ReasonManual}, true)
	put("dave@example.org", Suppression{Reason: ReasonManual}, false)
	put("erin@example.org", Suppression{AccountID: 5, List: "news", Reason: ReasonUnsubscribed}, true)
	put("erin@example.org", Suppression{AccountID: 99, Reason: ReasonManual}, false) // no such account
	if _, err := s.Add(ctx, addr("x@example.org"), Suppression{Reason: "whim"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	all := []string{"CAROL@example.org", "dave@example.org", "erin@example.org", "frank@example.org"}
	for _, c := range []struct {
		account    int64
		list, want string
	}{
		{5, "", "CAROL@example.org manual, dave@example.org manual"},
		{5, "news", "CAROL@example.org manual, dave@example.org manual, erin@example.org unsubscribed"},
		{6, "news", "dave@example.org manual"},
		{0, "", "dave@example.org manual"},
	} {
		if got := suppressed(t, s, c.account, c.list, all...); got != c.want {
			t.Errorf("account %d, list %q: %s", c.account, c.list, got)
		}
	}
	for q, want := range map[SuppressionQuery]int{
		{}: 4, {Account: 5}: 3, {Account: 5, SiteToo: true}: 4, {SiteToo: true}: 1, {Contains: "CAROL@"}: 2,
		{Reason: ReasonUnsubscribed}: 2, {Limit: 1}: 1, {Contains: "_"}: 0, {Account: 6}: 0,
	} {
		list, err := s.List(ctx, q)
		if err != nil || len(list) != want {
			t.Errorf("%+v: %d %v", q, len(list), err)
		}
	}
	list, err := s.List(ctx, SuppressionQuery{Contains: "carol", Limit: 1})
	must(t, err)
	if list[0].Account != "alice@example.test" || list[0].Note != "asked by phone" || list[0].Address != "carol@example.org" {
		t.Errorf("%+v", list[0])
	}
	if n, err := s.Remove(ctx, 5, addr("carol@EXAMPLE.org")); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if _, err := s.Remove(ctx, 5, addr("dave@example.org")); !errors.Is(err, ErrNotFound) {
		t.Error("the account's removal took the site's entry:", err)
	}
	must(t, second(s.Remove(ctx, 0, addr("dave@example.org"))))
}

func second[T any](_ T, err error) error { return err }

// Hard bounces and complaints of what an account submitted have consequences;
// other failures have none.
func TestHardBouncesAreSuppressed(t *testing.T) {
	l := open(t)
	account(t, l, 5, "alice@example.test")
	s := NewSuppressions(l.pool)
	record(t, l,
		Event{Kind: Bounced, Account: 5, Recipient: "Gone@example.org", Code: 550, Enhanced: "5.1.1", Text: "no such user", Message: "m1"},
		Event{Kind: Bounced, Account: 5, Recipient: "gone@example.org", Code: 550, Enhanced: "5.1.1"},
		Event{Kind: Bounced, Account: 5, Recipient: "full@example.org", Code: 552, Enhanced: "5.2.2"},
		Event{Kind: Bounced, Account: 5, Recipient: "policy@example.org", Code: 550, Enhanced: "5.7.1"},
		Event{Kind: Bounced, Account: 5, Recipient: "late@example.org", Code: 451, Enhanced: "4.1.1"},
		Event{Kind: Bounced, Account: 0, Recipient: "nobody@example.org", Code: 550, Enhanced: "5.1.1"},
		Event{Kind: Bounced, Account: 77, Recipient: "removed@example.org", Code: 550, Enhanced: "5.1.1"},
		Event{Kind: Deferred, Account: 5, Recipient: "deferred@example.org", Code: 550, Enhanced: "5.1.1"})
	l.Add(Event{Kind: Complained, Account: 5, Recipient: "cross@example.org", Text: "abuse"})
	l.Close()
	list, err := s.List(t.Context(), SuppressionQuery{})
	must(t, err)
	var got []string
	for _, e := range list {
		got = append(got, e.Address+" "+string(e.Reason))
	}
	if want := []string{"gone@example.org bounced", "cross@example.org complained"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if list[0].Note != "550 5.1.1 no such user" || list[0].Message != "m1" {
		t.Errorf("%+v", list[0])
	}
}

func TestUnsubscribeTokens(t *testing.T) {
	u, err := NewUnsubscriber(siteKey)
	must(t, err)
	other, err := NewUnsubscriber(bytes.Repeat([]byte{8}, 32))
	must(t, err)
	for _, un := range []Unsubscribe{
		{5, addr("bob@example.org"), "news"}, {1 << 60, addr(`"b ob"@example.org`), ""}, {5, addr("grüße@example.org"), strings.Repeat("ü", 150)},
	} {
		token, err := u.Token(un)
		must(t, err)
		if got, err := u.Open(token); err != nil || got != un {
			t.Errorf("%+v %v, want %+v", got, err, un)
		}
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(token) > 900 {
			t.Errorf("token %q", token)
		}
		if _, err := other.Open(token); !errors.Is(err, ErrToken) {
			t.Error("opened under another key")
		}
		for i := range token {
			damaged := []byte(token)
			damaged[i] ^= 1
			if _, err := u.Open(string(damaged)); !errors.Is(err, ErrToken) {
				t.Errorf("damaged at %d: %v", i, err)
			}
		}
		for i := range token {
			if _, err := u.Open(token[:i]); !errors.Is(err, ErrToken) {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
	}
	for _, un := range []Unsubscribe{{0, addr("bob@example.org"), ""}, {5, mail.Address{}, ""}, {5, addr("bob@example.org"), strings.Repeat("x", 301)}} {
		if _, err := u.Token(un); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", un, err)
		}
	}
}

const arf = `From: <abusedesk@example.net>
Date: Thu, 8 Mar 2005 17:40:36 EDT
Subject: FW: Earn money
To: <abuse@example.test>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
     boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: %s
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <alice@example.test>
%sArrival-Date: Thu, 8 Mar 2005 14:00:00 -0400
Reporting-MTA: dns; mail.example.net
Source-IP: 192.0.2.1
Reported-Domain: example.test

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

Received: from mail.example.test by mail.example.net
 with ESMTP id M63d4137594e46
From: <alice@example.test>
To: %s
Subject: Earn money
Message-ID: <8787KJKJ3K4J3K4J3K4J3.mail@example.test>

Spam
--part1_13d.2e68ed54_boundary--
`

func report(t *testing.T, kind, rcpt, to string) *Report {
	t.Helper()
	r, err := ParseARF(strings.NewReader(strings.ReplaceAll(fmt.Sprintf(arf, kind, rcpt, to), "\n", "\r\n")))
	must(t, err)
	return r
}

func TestParseARF(t *testing.T) {
	r := report(t, "Abuse", "Original-Rcpt-To: rfc822; <bob@example.net>\nOriginal-Rcpt-To: carol@example.net\n", "<undisclosed>")
	if r.Type != "abuse" || r.From != addr("alice@example.test") || !slices.Equal(r.Recipients, []mail.Address{addr("bob@example.net"), addr("carol@example.net")}) ||
		r.HeaderID != "<8787KJKJ3K4J3K4J3K4J3.mail@example.test>" || r.Source != "192.0.2.1" || !r.Arrived.Equal(time.Date(2005, 3, 8, 18, 0, 0, 0, time.UTC)) || r.UserAgent != "SomeGenerator/1.0" {
		t.Errorf("%+v", r)
	}
	for name, text := range map[string]string{
		"nothing": "", "plain": "Subject: x\r\n\r\nhello\r\n", "a DSN": strings.Replace(arf, "feedback-report", "delivery-status", 1),
		"no boundary": "Content-Type: multipart/report; report-type=feedback-report\r\n\r\n",
		"no parts":    "Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\nhello",
		"long header": strings.Repeat("X: y\r\n", 1<<20), "one line": strings.Repeat("x", 4<<20),
	} {
		if _, err := ParseARF(strings.NewReader(text)); !errors.Is(err, ErrNoReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseARF(f *testing.F) {
	f.Add([]byte(arf))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseARF(bytes.NewReader(text))
		if (r == nil) == (err == nil) || err != nil && !errors.Is(err, ErrNoReport) {
			t.Fatal(r, err)
		}
	})
}

// A complaint counts for the recipient of a message from here, once.
func TestComplain(t *testing.T) {
	l := open(t)
	account(t, l, 5, "alice@example.test")
	s := NewSuppressions(l.pool)
	const id = "<8787KJKJ3K4J3K4J3K4J3.mail@example.test>"
	record(t, l, Event{Kind: Received, Message: "m1", HeaderID: id, Account: 5, From: "alice@example.test"},
		Event{Kind: Queued, Message: "m1", Account: 5, Recipient: "Bob@example.net"}, Event{Kind: Delivered, Message: "m1", Account: 5, Recipient: "Bob@example.net"},
		Event{Kind: Delivered, Message: "m1", Account: 5, Recipient: "carol@example.net"})
	for _, c := range []struct {
		kind, rcpt, to string
		want           int
	}{
		{"not-spam", "Original-Rcpt-To: bob@example.net\n", "x", 0},
		{"abuse", "Original-Rcpt-To: victim@example.net\n", "x", 0}, // it was not sent to them
		{"abuse", "", "x", 0}, // one of two: who?
		{"abuse", "Original-Rcpt-To: bob@example.net\n", "x", 1},
		{"abuse", "Original-Rcpt-To: bob@example.net\n", "x", 0}, // again
		{"fraud", "", "Carol <carol@example.net>", 1},
	} {
		found, err := l.Complain(t.Context(), report(t, c.kind, c.rcpt, c.to))
		if err != nil || len(found) != c.want {
			t.Errorf("%+v: %v %v", c, found, err)
		}
	}
	if got := suppressed(t, s, 5, "", "bob@example.net", "carol@example.net", "victim@example.net"); got != "bob@example.net complained, carol@example.net complained" {
		t.Error(got)
	}
	if found, err := l.Complain(t.Context(), &Report{Type: "abuse", HeaderID: "<unknown@example.test>"}); err != nil || len(found) != 0 {
		t.Error(found, err)
	}
}
