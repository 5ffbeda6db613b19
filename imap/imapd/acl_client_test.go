package imapd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imaplib as two users.
func TestPythonImaplibShares(t *testing.T) {
	python := program(t, "python3")
	s := newSite(t)
	s.account(bobName)
	if out := play(t, python, "testdata/imaplib_shared.py", s.addr, aliceName, bobName, password); strings.TrimSpace(out) != "done" {
		t.Errorf("imaplib: %s", out)
	}
}

// mbsync fetches what another account shares, moves nothing the second time, and
// brings what is written here there.
func TestMbsyncShared(t *testing.T) {
	mbsync := program(t, "mbsync")
	s, alice, _ := withBob(t)
	alice.run("C: a SETACL Work bob@example.test lrswite\nS: a OK …\nC: a SETACL Sent bob@example.test l\nS: a OK …")
	dir := t.TempDir()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "mbsyncrc")
	if err := os.WriteFile(config, fmt.Appendf(nil, `IMAPAccount bob
Host %s
Port %s
User %s
Pass "%s"
SSLType None
AuthMechs PLAIN

IMAPStore far
Account bob
Path "Other Users/alice@example.test/"

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns * !INBOX
Create Both
Expunge Both
SyncState *
`, host, port, bobName, password, dir, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func() string { t.Helper(); return play(t, mbsync, "-c", config, "-V", "all") }
	run()
	if files := maildir(t, filepath.Join(dir, "mail", "Work")); len(files) != 3 {
		t.Fatalf("mbsync fetched %d messages of 3", len(files))
	}
	before := s.journal()
	if out := run(); s.journal() != before {
		t.Errorf("the second run changed something:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, "mail", "Work", "new", "1.local"), []byte("Subject: from here\n\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run()
	alice.run("C: a STATUS Work (MESSAGES)\nS: * STATUS \"Work\" (MESSAGES 4)\nS: a OK …")
}
