package e2e

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"
)

// TestFetchmail empties a mailbox over POP3S while an IMAP session that idles
// on it sees each message go.
func TestFetchmail(t *testing.T) {
	t.Parallel()
	tool(t, "swaks")
	tool(t, "fetchmail")
	n := server(t)
	user := account(t, n, "fetchmail")
	const letters = 25
	for i := range letters {
		// One connection each: it is the retrieval that is tested here.
		command(t, "curl", "-sS", "smtp://"+n.Listen["smtp"]+"/client.example.org", "--mail-from", "sender@example.org",
			"--mail-rcpt", user, "-T", write(t, folder(t), "letter", letter(fmt.Sprint("pop-", i), 4000, asciiLine)))
	}

	var gone, present atomic.Int64
	c := login(t, n, user, password, &imapclient.UnilateralDataHandler{
		Expunge: func(uint32) { gone.Add(1) },
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				present.Store(int64(*data.NumMessages))
			}
		},
	})
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages != letters {
		t.Fatalf("SELECT: %+v, %v", box, err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}

	dir := folder(t)
	rc := write(t, dir, "fetchmailrc", fmt.Appendf(nil, `poll localhost service %s protocol pop3 auth password
	user "%s" password "%s" ssl sslcertck sslcertfile "%s" mda "cat >> %s/got" fetchall
`, port(n, "pop3s"), user, password, n.CA, dir))
	command(t, "fetchmail", "-f", rc, "--pidfile", dir+"/pid", "--idfile", dir+"/ids", "--nosyslog", "-s")
	eventually(t, "an EXPUNGE for every message", func() bool { return gone.Load() == letters })
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 0 {
		t.Fatalf("the mailbox afterwards: %+v, %v", box, err)
	}
}
