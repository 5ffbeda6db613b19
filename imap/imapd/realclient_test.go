package imapd

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program finds a client that a test needs.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// play runs a client and gives what it printed.
func play(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPythonImaplib(t *testing.T) {
	python := program(t, "python3")
	s := newSite(t)
	out := play(t, python, "testdata/imaplib_session.py", s.addr, aliceName, password)
	if strings.TrimSpace(out) != "done" {
		t.Errorf("imaplib: %s", out)
	}
}

func TestCurl(t *testing.T) {
	curl := program(t, "curl")
	s := newSite(t)
	message := "From: alice@example.test\r\nSubject: by curl\r\n\r\n" + strings.Repeat("0123456789\r\n", 20000)
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(message), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) string {
		return play(t, curl, append([]string{"-sS", "--user", aliceName + ":" + password}, args...)...)
	}
	with("-T", file, "imap://"+s.addr+"/INBOX")
	if got := with("imap://" + s.addr + "/INBOX;MAILINDEX=1"); got != message {
		t.Errorf("%d octets came back as %d others", len(message), len(got))
	}
	if got := with("imap://" + s.addr + "/INBOX?SUBJECT%20curl"); got != "* SEARCH 1\r\n" {
		t.Errorf("SEARCH: %q", got)
	}
	if got := with("-X", "EXAMINE Archive", "imap://"+s.addr); !strings.Contains(got, "* 0 EXISTS") {
		t.Errorf("EXAMINE: %q", got)
	}
}

// mbsync copies folders with UTF-8 names, flags and messages of all sizes, both
// ways; a second run moves nothing.
func TestMbsync(t *testing.T) {
	mbsync := program(t, "mbsync")
	s := newSite(t)
	p := s.login()
	for i, folder := range []string{"INBOX", "Entw&APw-rfe", "a/b", "R&-D"} {
		if i > 0 {
			p.run("C: a CREATE \"" + folder + "\"\nS: a OK …")
		}
		for n := range 5 {
			body := fmt.Sprintf("Message-ID: <%d.%d@example.test>\r\nSubject: %d\r\n\r\n%s\r\n", i, n, n, noise(n*n*n*3000))
			p.send(fmt.Sprintf("a APPEND \"%s\" (\\Seen) {%d+}\r\n%s\r\n", folder, len(body), body))
			p.run("S: a OK [APPENDUID …")
		}
	}

	dir := t.TempDir()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "mbsyncrc")
	if err := os.WriteFile(config, fmt.Appendf(nil, `IMAPAccount alice
Host %s
Port %s
User %s
Pass "%s"
SSLType None
AuthMechs PLAIN

IMAPStore far
Account alice

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`, host, port, aliceName, password, dir, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func() string { t.Helper(); return play(t, mbsync, "-c", config, "-V", "all") }
	run()
	files := maildir(t, filepath.Join(dir, "mail"))
	if len(files) != 20 {
		t.Fatalf("mbsync fetched %d messages of 20", len(files))
	}

	// Second run: nothing moves. Then a flag and a new message, from each side.
	before := s.journal()
	if out := run(); s.journal() != before {
		t.Errorf("the second run changed something:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, "mail", "a", "b", "new", "1.local"), []byte("Subject: from here\n\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.deliver("INBOX", "Subject: from there\n\ny\n")
	run()
	p.run("C: a STATUS a/b (MESSAGES)\nS: * STATUS \"a/b\" (MESSAGES 6)\nS: a OK …")
	if files := maildir(t, filepath.Join(dir, "mail")); len(files) != 22 {
		t.Errorf("%d messages, want 22", len(files))
	}
}

// journal is the state of all mailboxes, as STATUS tells it.
func (s *site) journal() string {
	s.t.Helper()
	boxes, err := s.store.Mailboxes(s.t.Context(), s.alice)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range boxes {
		fmt.Fprintln(&b, m.Name, m.UIDNext, m.HighestModSeq, m.Messages, m.Unseen)
	}
	return b.String()
}

// maildir is the messages below a folder.
func maildir(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if parent := filepath.Base(filepath.Dir(path)); err == nil && !d.IsDir() && (parent == "cur" || parent == "new") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// noise is n octets of text that does not compress to nothing.
func noise(n int) string {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for b.Len() < n {
		fmt.Fprintf(&b, "%d.\r\n", r.Uint64())
	}
	return b.String()
}
