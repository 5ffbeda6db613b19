package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/xdg-go/scram"

	"posthouse/e2e/node"
	"posthouse/internal/test/transcript"
)

// TestSmuggling sends every end of data that some server takes for one, with a
// second message behind it, and counts what IMAP shows: one message or none,
// never two (TRUST.md rows 1, 2). The true end is the control: it gives two.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	n := server(t)
	to := account(t, n, "smuggled")
	c := login(t, n, to, password, nil)
	count := func() uint32 {
		data, err := c.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		return *data.NumMessages
	}
	for i, end := range []string{
		"\r\n.\r\n", // the control
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\n", "\n.\r", "\r.\n", "\r\n.\r\r\n",
		"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\x00\n", "\r\n. \r\n", "\r\n..\r\n", "\v.\r\n", "\u0085.\u0085", "\u2028.\u2028",
	} {
		before := count()
		s := dialSMTP(t, n.Listen["smtp"])
		s.begin(to)
		if _, err := fmt.Fprintf(s.conn, "Subject: outer %d\r\n\r\ntext%sMAIL FROM:<x@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: inner %d\r\n\r\ntext\r\n.\r\nQUIT\r\n", i, end, to, i); err != nil {
			t.Fatal(err)
		}
		for { // until the server closes
			if _, err := s.text.ReadLine(); err != nil {
				break
			}
		}
		got := count() - before
		if i == 0 && got != 2 {
			t.Fatalf("the control gave %d messages", got)
		}
		if i > 0 && got > 1 {
			t.Errorf("%q: %d messages", end, got)
		}
	}
}

// TestSecretsInTheLog logs in by every mechanism of every protocol, well and
// badly, with the log at its most talkative, and looks for what was said
// (TRUST.md row 36).
func TestSecretsInTheLog(t *testing.T) {
	t.Parallel()
	config := write(t, folder(t), "debug.toml", []byte("[log]\nlevel = \"debug\"\n"))
	const user, wrong = "carol@example.test", "a wrong-guess 77"
	n := start(t, "--ephemeral", "--config", config, "--account", user+":"+password)
	var secrets []string
	for _, word := range []string{password, wrong} {
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + word))
		coded := base64.StdEncoding.EncodeToString([]byte(word))
		secrets = append(secrets, word, plain, coded)
		for _, script := range []struct{ listener, lines string }{
			{"smtp", "S: 220 «*»\nC: EHLO x\n...\nS: 250 «*»\nC: AUTH PLAIN " + plain + "\nS: «*»\nC: AUTH " + coded + "\nS: «*»\nC: " + word + "\nS: 500 «*»"},
			{"submission", "S: 220 «*»\nC: EHLO x\n...\nS: 250 «*»\nC: AUTH LOGIN\nS: 334 «*»\nC: " + base64.StdEncoding.EncodeToString([]byte(user)) + "\nS: 334 «*»\nC: " + coded + "\nS: «*»"},
			{"imap", "S: * OK «*»\nC: a LOGIN " + user + " \"" + word + "\"\nS: a «*»"},
			{"imap", "S: * OK «*»\nC: a LOGIN " + user + " \"" + word + "\nS: a BAD «*»\nC: b AUTHENTICATE PLAIN " + plain + "\nS: b «*»"},
			{"pop3", "S: +OK «*»\nC: USER " + user + "\nS: +OK «*»\nC: PASS " + word + "\nS: «*»"},
			{"pop3", "S: +OK «*»\nC: PASS " + word + "\nS: -ERR «*»\nC: AUTH PLAIN " + plain + "\nS: «*»"},
		} {
			c := transcript.Dial(t, n.Listen[script.listener])
			c.Play(script.lines)
			c.Close()
		}
		secrets = append(secrets, scramLogin(t, n, user, word)...)
	}
	if !strings.Contains(n.Log(), "DEBUG") {
		t.Fatal("the log is not at its most talkative")
	}
	for _, secret := range secrets {
		if strings.Contains(n.Log(), secret) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}

// scramLogin does SCRAM over IMAP and gives what the client said of its password.
func scramLogin(t *testing.T, n *node.Node, user, word string) (said []string) {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, word, "")
	if err != nil {
		t.Fatal(err)
	}
	talk := client.NewConversation()
	c := transcript.Dial(t, n.Listen["imap"])
	c.Play("S: * OK «*»")
	first, err := talk.Step("")
	if err != nil {
		t.Fatal(err)
	}
	c.Send("a AUTHENTICATE SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte(first)) + "\r\n")
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.Line(), "+ "))
	if err != nil {
		t.Fatal(err)
	}
	final, err := talk.Step(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	coded := base64.StdEncoding.EncodeToString([]byte(final))
	c.Send(coded + "\r\n")
	c.Line() // the server's proof, or the refusal
	c.Close()
	_, proof, _ := strings.Cut(final, ",p=")
	return []string{coded, proof, final}
}

// TestBruteForce guesses one account's password over all protocols at once from
// one address: it is slowed, then banned, on every port. The owner, who was seen
// at another address before, notices nothing (TRUST.md row 12).
func TestBruteForce(t *testing.T) {
	t.Parallel()
	const user = "carol@example.test"
	n := start(t, "--ephemeral", "--limits", "--account", user+":"+password)
	try := func(from, listener, word string) string {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", n.Listen[listener])
		if err != nil {
			t.Error(err)
			return ""
		}
		c := transcript.New(t, conn)
		defer c.Close()
		switch listener {
		case "imap":
			c.Play("S: * OK «*»\nC: a LOGIN " + user + " \"" + word + "\"")
			return strings.TrimPrefix(c.Line(), "a ")
		case "pop3":
			c.Play("S: +OK «*»\nC: USER " + user + "\nS: +OK «*»\nC: PASS " + word)
			return c.Line()
		}
		c.Play("S: 220 «*»\nC: EHLO x\n...\nS: 250 «*»\nC: AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+word)))
		return c.Line()
	}
	listeners := []string{"imap", "pop3", "submission"}
	good := func(answer string) bool {
		return strings.HasPrefix(answer, "OK") || strings.HasPrefix(answer, "+OK") || strings.HasPrefix(answer, "235")
	}
	if answer := try("127.0.0.2", "imap", password); !good(answer) {
		t.Fatal(answer)
	}
	var guessers sync.WaitGroup
	for g := range 4 {
		guessers.Go(func() {
			for i := range 6 {
				try("127.0.0.66", listeners[(g+i)%3], fmt.Sprintf("guess %d-%d", g, i))
			}
		})
	}
	ended := make(chan struct{})
	go func() { guessers.Wait(); close(ended) }()
	for guessing := true; guessing; {
		for _, listener := range listeners {
			began := time.Now()
			if answer := try("127.0.0.2", listener, password); !good(answer) || time.Since(began) > 3*time.Second {
				t.Errorf("the owner, over %s: %q after %s", listener, answer, time.Since(began))
			}
		}
		select {
		case <-ended:
			guessing = false
		case <-time.After(time.Second):
		}
	}
	for _, listener := range listeners {
		if answer := try("127.0.0.66", listener, password); !strings.Contains(answer, "Too many") {
			t.Errorf("after 24 guesses %s answers %q", listener, answer)
		}
	}
	if answer := try("127.0.0.77", "imap", password); !good(answer) {
		t.Errorf("the owner at a new address: %q", answer)
	}
}

// TestDatabaseFrozen stops the private Postgres in the middle of sessions, so
// that it neither answers nor fails: each protocol says that it is a matter of
// time, stays in step, and goes on when the database does.
func TestDatabaseFrozen(t *testing.T) {
	t.Parallel()
	n := start(t, "--ephemeral")
	alice := n.Accounts[0]
	deliver(t, n.Listen["smtp"], alice.Address, "before")
	words := alice.Address + " " + alice.Password
	smtp, guest := transcript.Dial(t, n.Listen["smtp"]), transcript.Dial(t, n.Listen["imap"])
	smtp.Play("S: 220 «*»\nC: EHLO x\n...\nS: 250 «*»\nC: MAIL FROM:<x@example.org>\nS: 250 «*»")
	guest.Play("S: * OK «*»")
	imap, pop := transcript.Dial(t, n.Listen["imap"]), transcript.Dial(t, n.Listen["pop3"])
	imap.Play("S: * OK «*»\nC: a LOGIN " + words + "\nS: a OK «*»\nC: b SELECT INBOX\n...\nS: b OK «*»")
	pop.Play("S: +OK «*»\nC: USER " + alice.Address + "\nS: +OK «*»\nC: PASS " + alice.Password + "\nS: +OK «*»")

	frozen := []int{n.Postgres.PID}
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(n.Postgres.PID)).Output()
	if err != nil {
		t.Fatal("the backends:", err)
	}
	for pid := range strings.FieldsSeq(string(out)) {
		if k, err := strconv.Atoi(pid); err == nil {
			frozen = append(frozen, k)
		}
	}
	signal := func(s syscall.Signal) {
		for _, pid := range frozen {
			if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
				t.Error(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	thawed := false
	thaw := func() {
		if !thawed {
			slices.Reverse(frozen) // the postmaster last: it misses nobody
			signal(syscall.SIGCONT)
			thawed = true
		}
	}
	defer thaw()
	smtp.Send("RCPT TO:<bob@localhost>\r\nNOOP\r\n") // all at once: a POP3 session is lost with its lease, after 30 s
	guest.Send("a LOGIN " + words + "\r\nb NOOP\r\n")
	pop.Play("C: NOOP\nS: +OK «*»")
	guest.Play("S: a NO [UNAVAILABLE] «*»\nS: b OK «*»")
	smtp.Play("S: 451 4.3.0 «*»\nS: 250 «*»")
	thaw()
	smtp.Play("C: RCPT TO:<bob@localhost>\nS: 250 «*»")
	guest.Play("C: c LOGIN " + words + "\nS: c OK «*»")
	imap.Play("C: d FETCH 1 ENVELOPE\n...\nS: d OK «*»")
	pop.Play("C: DELE 1\nS: +OK «*»\nC: QUIT\nS: +OK «*»")
}
