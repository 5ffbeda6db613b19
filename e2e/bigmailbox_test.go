package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// bigMailbox is the variable that says how many messages TestBigMailbox has the
// clients read:
//
//	POSTHOUSE_BIG_MAILBOX=20000 go test -timeout 30m -v -run TestBigMailbox ./e2e
const bigMailbox = "POSTHOUSE_BIG_MAILBOX"

// TestBigMailbox has real clients read a mailbox: no error, and a second
// synchronisation moves nothing.
func TestBigMailbox(t *testing.T) {
	t.Parallel()
	n := server(t)
	user := account(t, n, "big")
	count := 1000
	if text := os.Getenv(bigMailbox); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	c := login(t, n, user, password, nil)
	begin := time.Now()
	fillInbox(t, c, count)
	t.Logf("%d messages appended in %s", count, time.Since(begin).Round(time.Millisecond))
	base := folder(t)
	patience := node.Patience + time.Duration(count)*50*time.Millisecond // for a synchronisation

	t.Run("mbsync", func(t *testing.T) {
		tool(t, "mbsync")
		at := subfolder(t, base, "mbsync")
		rc := write(t, at, "mbsyncrc", []byte(mbsyncConfig(n, user, at)+"Channel inbox\nFar :remote:INBOX\nNear :local:INBOX\nCreate Near\nSync All\nExpunge Both\nSyncState *\n"))
		subfolder(t, at, "mail")
		twice(t, c, filepath.Join(at, "mail"), count, func() { commandWithin(t, patience, "mbsync", "-q", "-c", rc, "inbox") })
	})
	t.Run("offlineimap", func(t *testing.T) {
		tool(t, "offlineimap")
		at := subfolder(t, base, "offlineimap")
		rc := write(t, at, "rc", fmt.Appendf(nil, `[general]
accounts = a
metadata = %[1]s/meta
ui = quiet
[Account a]
localrepository = l
remoterepository = r
[Repository l]
type = Maildir
localfolders = %[1]s/mail
[Repository r]
type = IMAP
remotehost = localhost
remoteport = %[2]s
remoteuser = %[3]s
remotepass = %[4]s
ssl = yes
sslcacertfile = %[5]s
folderfilter = lambda name: name == 'INBOX'
`, at, port(n, "imaps"), user, password, n.CA))
		twice(t, c, filepath.Join(at, "mail"), count, func() { commandWithin(t, patience, "offlineimap", "-o", "-c", rc) })
	})
	t.Run("curl", func(t *testing.T) {
		tool(t, "curl")
		url := fmt.Sprintf("imaps://localhost:%s/INBOX", port(n, "imaps"))
		// No more than 5,000 numbers: of a line longer than its buffer curl 7.88 keeps
		// the first 40 octets and the end ("Excessive server response line length
		// received, 65536 bytes. Stripping"), whatever server sends it. Several SEARCH
		// responses would not help: over 300 kB of them it gives up with error 56, and
		// imaplib's callers read the first alone. imaplib is given every number, below.
		most := min(5000, count)
		some := strings.Fields(string(command(t, "curl", "-sS", "--cacert", n.CA, "-u", user+":"+password, fmt.Sprintf("%s?1:%d", url, most))))
		if len(some) != most+2 || some[2] != "1" || some[most+1] != strconv.Itoa(most) {
			t.Errorf("SEARCH 1:%d gave %d numbers", most, len(some)-2)
		}
		last := command(t, "curl", "-sS", "--cacert", n.CA, "-u", user+":"+password, fmt.Sprintf("%s;UID=%d", url, count))
		since(t, last, fmt.Sprintf("big-%d", count-1))
	})
	t.Run("imaplib", func(t *testing.T) {
		out := command(t, "/usr/bin/python3", "testdata/imaplib_all.py", "localhost", port(n, "imaps"), user, password, n.CA, fmt.Sprint(count))
		t.Logf("%s", out)
	})
}

// subfolder makes a folder in base.
func subfolder(t *testing.T, base, name string) string {
	t.Helper()
	dir := filepath.Join(base, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fillInbox appends messages, many on their way at once.
func fillInbox(t *testing.T, c *imapclient.Client, count int) {
	t.Helper()
	for from := 0; from < count; from += 100 {
		var pending []*imapclient.AppendCommand
		for i := from; i < min(from+100, count); i++ {
			text := letter(fmt.Sprintf("big-%d", i), 1500, asciiLine)
			cmd := c.Append("INBOX", int64(len(text)), &imap.AppendOptions{Flags: flagSets[i%len(flagSets)].imap})
			if _, err := cmd.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Close(); err != nil {
				t.Fatal(err)
			}
			pending = append(pending, cmd)
		}
		for _, cmd := range pending {
			if _, err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// twice synchronises: the first time all messages come, the second time nothing
// moves, here or there.
func twice(t *testing.T, c *imapclient.Client, mail string, count int, sync func()) {
	t.Helper()
	begin := time.Now()
	sync()
	first := time.Since(begin)
	near, far := maildirState(t, mail), inboxState(t, c)
	if len(near) != count || len(far) != count {
		t.Fatalf("%d messages came of %d, %d are on the server", len(near), count, len(far))
	}
	begin = time.Now()
	sync()
	t.Logf("%d messages: first run %s, second %s", count, first.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	if !maps.Equal(maildirState(t, mail), near) || !maps.Equal(inboxState(t, c), far) {
		t.Error("the second run moved something")
	}
}

// inboxState gives the flags of each message in INBOX.
func inboxState(t *testing.T, c *imapclient.Client) map[imap.UID]string {
	t.Helper()
	if _, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	var all imap.SeqSet
	all.AddRange(1, 0)
	list, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	state := make(map[imap.UID]string, len(list))
	for _, m := range list {
		flags := map[string]bool{}
		for _, f := range m.Flags {
			flags[string(f)] = f != `\Recent`
		}
		state[m.UID] = fmt.Sprint(flags)
	}
	return state
}
