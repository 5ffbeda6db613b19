package fiveminutes

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/smtp"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// TestRenewal: the certificate of a server with mail programs on it is renewed. A
// session that idles hears of mail before and after, and stays; who comes anew is
// shown the new certificate, on every listener.
func TestRenewal(t *testing.T) {
	w := newWorld(t, 30*time.Second)
	quickstart := []string{"quickstart", me, "--root", w.root, "--ip", "127.0.0.1", "--dns", w.dns.Addr().String(), "--no-checks"}
	w.run(password+"\n", nil, append(quickstart, "--password-stdin")...)
	w.edit()
	w.publish(w.run("", nil, quickstart...))
	n, err := node.StartSite(w.binary, filepath.Dir(w.root), w.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(n.Log())
		}
	})

	var first *x509.Certificate
	w.await("the first certificate", func() bool {
		first = w.shows(n.Listen["imaps"])
		return first != nil
	})
	news := make(chan uint32, 16)
	c, err := imapclient.DialTLS(n.Listen["imaps"], &imapclient.Options{
		TLSConfig: &tls.Config{ServerName: "mail.example.test", RootCAs: w.roots},
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: func(m *imapclient.UnilateralDataMailbox) {
			if m.NumMessages != nil {
				news <- *m.NumMessages
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(me, password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	hears := func(count uint32) {
		t.Helper()
		w.deliver(n)
		for {
			select {
			case got := <-news:
				if got == count {
					return
				}
			case <-time.After(node.Patience):
				t.Fatalf("the session that idles does not hear of message %d", count)
			}
		}
	}
	hears(1)

	for _, name := range []string{"imaps", "submissions", "pop3s"} {
		w.await("the new certificate on "+name, func() bool {
			if now := w.shows(n.Listen[name]); now == nil || !now.Equal(first) {
				return now != nil
			}
			n.Signal(syscall.SIGHUP) // else it looks every ten minutes
			return false
		})
	}
	hears(2)
	if err := errors.Join(idle.Close(), idle.Wait()); err != nil {
		t.Fatal(err)
	}
	got, err := c.Fetch(imap.SeqSetNum(1, 2), &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil || len(got) != 2 {
		t.Errorf("%d messages, %v", len(got), err)
	}
	if err := c.Logout().Wait(); err != nil {
		t.Error(err)
	}
}

// shows is the certificate that a listener shows; nil while it is none of the
// authority's that is good.
func (w *world) shows(at string) *x509.Certificate {
	c, err := tls.Dial("tcp", at, &tls.Config{ServerName: "mail.example.test", RootCAs: w.roots})
	if err != nil {
		return nil
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

// deliver hands a message in, as another server does.
func (w *world) deliver(n *node.Node) {
	w.t.Helper()
	text := "From: <" + them + ">\r\nTo: <" + me + ">\r\nSubject: news\r\nDate: " + time.Now().Format(time.RFC1123Z) + "\r\n\r\nhello\r\n"
	c, err := smtp.Dial(n.Listen["smtp"])
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Mail(them), c.Rcpt(me)); err != nil {
		w.t.Fatal(err)
	}
	body, err := c.Data()
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = body.Write([]byte(text))
	if err := errors.Join(err, body.Close(), c.Quit()); err != nil {
		w.t.Fatal(err)
	}
}
