package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// TestPasswordChange changes a password by command while a session is open: the
// session ends, the old password is dead at once, the new one works. Disabling
// does the same, and refuses mail.
func TestPasswordChange(t *testing.T) {
	t.Parallel()
	n := server(t)
	user := account(t, n, "changes")
	ends := func(change ...string) {
		t.Helper()
		c := login(t, n, user, password, nil)
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		idle, err := c.Idle()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- idle.Wait() }()
		begin := time.Now()
		if _, err := n.Command(t.Context(), "another secret\n", change...); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err == nil {
				t.Error("IDLE ended as if nothing had happened")
			}
			t.Logf("%s: the session ended after %s", strings.Join(change[:2], " "), time.Since(begin).Round(time.Millisecond))
		case <-time.After(node.Patience):
			t.Fatalf("%v: the session goes on", change)
		}
	}
	logsIn := func(secret string) bool {
		t.Helper()
		config, err := n.TLS()
		if err != nil {
			t.Fatal(err)
		}
		c, err := imapclient.DialTLS(n.Listen["imaps"], &imapclient.Options{TLSConfig: config})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Login(user, secret).Wait() == nil
	}

	ends("account", "passwd", user, "--password-stdin")
	if logsIn(password) || !logsIn("another secret") {
		t.Error("the old password still works, or the new one does not")
	}
	if _, err := n.Command(t.Context(), password+"\n", "account", "passwd", user, "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	ends("account", "disable", user)
	if logsIn(password) {
		t.Error("a disabled account logs in")
	}
	s := dialSMTP(t, n.Listen["smtp"])
	s.say(250, "MAIL FROM:<sender@example.org>")
	s.say(550, "RCPT TO:<%s>", user)
	if _, err := n.Command(t.Context(), "", "account", "enable", user); err != nil {
		t.Fatal(err)
	}
	if !logsIn(password) {
		t.Error("an account that was enabled again does not log in")
	}
}
