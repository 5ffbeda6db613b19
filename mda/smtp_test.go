package mda_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/mailstore"
	"posthouse/smtp/smtpd"
)

// serve puts a listener in front of the house.
func (h *house) serve(mode smtpd.Mode) string {
	h.t.Helper()
	srv, err := smtpd.New(smtpd.Config{Hostname: "mx.example.test", Directory: h.dir, Deliverer: h.mda, SpoolDir: h.t.TempDir(),
		Log: slog.New(slog.DiscardHandler), AllowPlainAuth: true, Capture: h.captured != 0, Events: h.events,
		Relays: h.dir.RelaysFor, MaySend: h.dir.MaySend, Allow: h.dir.Allow,
		QuotaOK: func(ctx context.Context, account, octets int64) error {
			return h.store.QuotaOK(ctx, mailstore.AccountID(account), octets)
		}})
	if err != nil {
		h.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln, mode) }()
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			h.t.Error(err)
		}
		if err := <-done; !errors.Is(err, smtpd.ErrClosed) {
			h.t.Error(err)
		}
	})
	return ln.Addr().String()
}

// swaks runs Debian's SMTP test client and returns its transcript.
func swaks(t *testing.T, addr string, args ...string) (out string, code int) {
	t.Helper()
	if _, err := exec.LookPath("swaks"); err != nil {
		t.Skip("swaks is not installed (apt-get install swaks)")
	}
	b, err := exec.CommandContext(t.Context(), "swaks", append([]string{"--server", addr}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(b), code
}

// TestSwaks: the listener, the directory, the mda and the store together, with
// a client that is not ours.
func TestSwaks(t *testing.T) {
	h := open(t, true)
	addr := h.serve(smtpd.LocalMX)
	for i, x := range []struct {
		args []string
		want string // in the transcript
		code int
	}{
		{[]string{"--from", "a@example.org", "--to", "alice@example.test,bob@example.test"}, "250 2.0.0 Ok: stored as ", 0},
		{[]string{"--from", "a@example.org", "--to", "nobody@example.test"}, "550 5.1.1 No such user here", 24},
		{[]string{"--from", "a@example.org", "--to", "x@elsewhere.example"}, "250 2.0.0 Ok: stored as ", 0},
		{[]string{"--from", "alice@example.test", "--to", "bob@example.test", "--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", "secret"}, "235 2.7.0 ", 0},
		{[]string{"--from", "alice@example.test", "--to", "bob@example.test", "--auth", "LOGIN", "--auth-user", "alice@example.test", "--auth-password", "secret"}, "235 2.7.0 ", 0},
		{[]string{"--from", "alice@example.test", "--to", "x@elsewhere.example", "--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", "secret"}, "250 2.0.0 Ok: stored as ", 0},
		{[]string{"--from", "bob@example.test", "--to", "bob@example.test", "--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", "secret"}, "550 5.7.1 You may not send as bob@example.test", 23},
		{[]string{"--from", "alice@example.test", "--to", "bob@example.test", "--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", "wrong"}, "535 5.7.8 ", 28},
		{[]string{"--from", "a@example.org", "--to", "alice@example.test", "--pipeline"}, "250 2.0.0 Ok: stored as ", 0},
	} {
		out, code := swaks(t, addr, x.args...)
		if code != x.code || !strings.Contains(out, x.want) {
			t.Errorf("%d: exit %d\n%s", i, code, out)
		}
	}
	for account, n := range map[int64]int{h.alice: 2, h.bob: 3, h.captured: 2} {
		if got := h.inbox(account); len(got) != n {
			t.Errorf("account %d has %d messages", account, len(got))
		}
	}
	if got := h.inbox(h.alice)[0]; !strings.HasPrefix(got, "Return-Path: <a@example.org>\r\nDelivered-To: alice@example.test\r\nReceived: from ") ||
		!strings.Contains(got, " ([127.0.0.1])\r\n\tby mx.example.test with ESMTP\r\n") {
		t.Errorf("stored %q", got)
	}
}

// TestQuotaAtRcpt: a full mailbox is known before the message comes.
func TestQuotaAtRcpt(t *testing.T) {
	h := open(t, false)
	small := int64(100)
	if err := h.dir.SetQuota(t.Context(), addr("bob@example.test"), &small, nil); err != nil {
		t.Fatal(err)
	}
	out, code := swaks(t, h.serve(smtpd.MX), "--from", "a@example.org", "--to", "bob@example.test", "--body", strings.Repeat("x", 200))
	if code == 0 || !strings.Contains(out, "552 5.2.2 ") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestScram is RFC 7677 over RFC 4954, octet for octet: the server's last
// message comes as a challenge, and is answered with an empty line.
func TestScram(t *testing.T) {
	h := open(t, false)
	conn, err := net.Dial("tcp", h.serve(smtpd.LocalMX))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := textproto.NewConn(conn)
	say := func(code int, format string, args ...any) string {
		t.Helper()
		if format != "" || code == 235 {
			if err := c.PrintfLine(format, args...); err != nil {
				t.Fatal(err)
			}
		}
		_, text, err := c.ReadResponse(code)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	say(220, "")
	if hello := say(250, "EHLO x"); !strings.Contains(hello, "SCRAM-SHA-256") {
		t.Fatalf("not offered: %s", hello)
	}
	client, err := scram.SHA256.NewClient("alice@example.test", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	talk := client.NewConversation()
	message, format := "", "AUTH SCRAM-SHA-256 %s"
	for range 2 {
		answer, err := talk.Step(message)
		if err != nil {
			t.Fatal(err)
		}
		challenge, err := base64.StdEncoding.DecodeString(say(334, format, base64.StdEncoding.EncodeToString([]byte(answer))))
		if err != nil {
			t.Fatal(err)
		}
		message, format = string(challenge), "%s"
	}
	if _, err := talk.Step(message); err != nil || !talk.Valid() {
		t.Fatalf("the server did not prove itself: %v", err)
	}
	say(235, "")
	say(250, "MAIL FROM:<alice@example.test>")
	say(250, "RCPT TO:<x@elsewhere.example>")
	say(221, "QUIT")
}

// TestRefusalsAreRecorded: those that somebody may ask about, and not what
// robots try.
func TestRefusalsAreRecorded(t *testing.T) {
	h := open(t, false)
	addr := h.serve(smtpd.LocalMX)
	as := func(who string, args ...string) []string {
		return append([]string{"--auth", "PLAIN", "--auth-user", who, "--auth-password", "secret"}, args...)
	}
	for i, x := range []struct {
		args []string
		code int
	}{
		{[]string{"--from", "robot@example.org", "--to", "info@example.test,admin@example.test"}, 24},
		{[]string{"--from", "a@example.org", "--to", "alice@example.test,nobody@example.test"}, 0},
		{[]string{"--from", "b@example.org", "--to", "alice@example.test,bob@example.test", "--body", "bare \r CR"}, 26},
		{as("alice@example.test", "--from", "alice@example.test", "--to", "gone@example.test"), 24},
		{as("alice@example.test", "--from", "bob@example.test", "--to", "bob@example.test"), 23},
	} {
		if out, code := swaks(t, addr, x.args...); code != x.code {
			t.Errorf("%d: exit %d\n%s", i, code, out)
		}
	}
	h.events.Close()
	list, err := h.events.Find(t.Context(), events.Query{Kinds: []events.Kind{events.Refused}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprintf("%s %s %d %s", e.From, e.Recipient, e.Code, e.Enhanced))
		if e.Message == "" || !strings.Contains(e.Remote, "([127.0.0.1])") || e.Text == "" {
			t.Errorf("%+v", e)
		}
	}
	slices.Sort(got)
	want := []string{"a@example.org nobody@example.test 550 5.1.1", "alice@example.test gone@example.test 550 5.1.1",
		"b@example.org alice@example.test 550 5.6.0", "b@example.org bob@example.test 550 5.6.0", "bob@example.test  550 5.7.1"}
	if !slices.Equal(got, want) {
		t.Errorf("recorded\n%s", strings.Join(got, "\n"))
	}
}

// TestBackup: mail for a domain that lives elsewhere is queued for it, and only
// for whom it knows.
func TestBackup(t *testing.T) {
	h := open(t, false)
	if _, err := h.dir.AddBackup(t.Context(), directory.BackupDomain{Name: "backup.example", Recipients: directory.Listed}, false); err != nil {
		t.Fatal(err)
	}
	if err := h.dir.ListRecipients(t.Context(), "backup.example", []mail.Address{addr("a@backup.example")}, nil); err != nil {
		t.Fatal(err)
	}
	server := h.serve(smtpd.MX)
	for to, want := range map[string]int{"a@backup.example": 0, "b@backup.example": 24, "a@far.example": 24} {
		if out, code := swaks(t, server, "--from", "x@example.org", "--to", to); code != want {
			t.Errorf("%s: exit %d\n%s", to, code, out)
		}
	}
	if q := h.queued(); len(q) != 1 || q[0].Account != 0 || !slices.Equal(q[0].Recipients, []string{"a@backup.example"}) {
		t.Errorf("queued %+v", q)
	}
}
