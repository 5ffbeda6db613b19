package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/storetest"
	"posthouse/internal/transfer"
)

const dovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:DIR/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
passdb {
  driver = static
  args = password=PASSWORD
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR/home/%u
}
service imap-login {
  inet_listener imap {
    port = PORT
  }
  inet_listener imaps {
    port = 0
  }
}
namespace inbox {
  inbox = yes
  separator = .
  prefix = INBOX.
}
`

// dovecot runs Debian's Dovecot with Maildirs, a namespace prefix and a dot
// between levels, as Courier had it.
func dovecot(t *testing.T) (address, mail string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("Dovecot needs root to run as another user")
	}
	if _, err := exec.LookPath("dovecot"); err != nil {
		t.Skip("no dovecot here (apt-get install dovecot-imapd)")
	}
	dir, err := os.MkdirTemp("", "posthouse-dovecot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	conf := strings.NewReplacer("DIR", dir, "PORT", port, "PASSWORD", imapPassword).Replace(dovecotConf)
	write(t, filepath.Join(dir, "dovecot.conf"), conf)
	for _, sub := range []string{"run", "state", "mail", "home"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("chmod 755 %s && chown nobody:nogroup %s/mail %s/home", dir, dir, dir)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command("dovecot", "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if text, err := os.ReadFile(filepath.Join(dir, "dovecot.log")); err == nil && t.Failed() {
			t.Logf("%s%s", log.Bytes(), text)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address, filepath.Join(dir, "mail", "alice@example.test")
		}
		if time.Now().After(deadline) {
			t.Fatalf("Dovecot does not listen: %v: %s", err, log.Bytes())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestDovecot imports from a running Dovecot, then the Maildir that it keeps,
// then gives it a Maildir of ours.
func TestDovecot(t *testing.T) {
	address, mail := dovecot(t)
	s := storetest.Open(t)
	alice, bob := account(t, s, "alice@example.test"), account(t, s, "bob@example.test")
	fill(t, address, "INBOX", 0, 150, `\Seen`, "$label1")
	fill(t, address, "INBOX.Sent Items", 200, 202, `\Answered`, `\Flagged`)
	fill(t, address, "INBOX.Lists.Été & co", 300, 301, `\Draft`)
	doImport(t, s, alice, openIMAP(t, address, ""), transfer.Options{}, 153, 0)
	want := []string{imapLine("Sent", "00110 []", 200), imapLine("Sent", "00110 []", 201), imapLine("Lists/Été & co", "10000 []", 300)}
	for n := range 150 {
		want = append(want, imapLine("INBOX", "00001 [$label1]", n))
	}
	same(t, content(t, s, alice), want)
	doImport(t, s, alice, openIMAP(t, address, ""), transfer.Options{}, 0, 153)
	doImport(t, s, bob, openMaildir(t, mail), transfer.Options{}, 153, 0)
	same(t, content(t, s, bob), want)

	// back: Dovecot serves what was exported, with the UIDs that it had here
	to, err := transfer.NewMaildir(strings.TrimSuffix(mail, "alice@example.test")+"bob@example.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Export(context.Background(), s, alice, to, transfer.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "-R", "nobody:nogroup", filepath.Dir(mail)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	carol := account(t, s, "carol@example.test")
	source, err := transfer.OpenIMAP(context.Background(), transfer.IMAPServer{Address: address, Plain: true, User: "bob@example.test", Password: imapPassword})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	doImport(t, s, carol, source, transfer.Options{}, 153, 0)
	same(t, content(t, s, carol), want)
}
