package e2e

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// mbsyncConfig is the account and the two stores.
func mbsyncConfig(n *node.Node, user, base string) string {
	return fmt.Sprintf(`IMAPAccount posthouse
Host localhost
Port %s
User %s
Pass "%s"
SSLType IMAPS
CertificateFile %s

IMAPStore remote
Account posthouse

MaildirStore local
Path %[5]s/mail/
Inbox %[5]s/mail/INBOX
SubFolders Verbatim

`, port(n, "imaps"), user, password, n.CA, base)
}

// maildirFiles walks over the messages below a folder.
func maildirFiles(t *testing.T, base string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, sub := range []string{"cur", "new"} {
			for _, depth := range []string{"*", "*/*"} {
				files, err := filepath.Glob(filepath.Join(base, depth, sub, "*"))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					if !yield(f) {
						return
					}
				}
			}
		}
	}
}

const (
	syncFolders = 20 // half of them begin on the server, half in the maildir
	perFolder   = 100
)

// folderNames are in Unicode; mbsync 1.4 keeps them on disk in modified UTF-7.
func folderName(i int) (name, encoded string) {
	words := []struct{ name, encoded string }{
		{"Entwürfe", "Entw&APw-rfe"}, {"日本語", "&ZeVnLIqe-"}, {"R&D", "R&-D"}, {"Ящик", "&BC8ESQQ4BDo-"}, {"plain", "plain"},
	}
	w := words[i%len(words)]
	return fmt.Sprintf("%s %d", w.name, i), fmt.Sprintf("%s %d", w.encoded, i)
}

// flagSets are given to messages in turn, in IMAP's and in maildir's words.
var flagSets = []struct {
	imap    []imap.Flag
	maildir string
}{
	{nil, ""}, {[]imap.Flag{imap.FlagSeen}, "S"}, {[]imap.Flag{imap.FlagSeen, imap.FlagAnswered}, "RS"},
	{[]imap.Flag{imap.FlagFlagged}, "F"}, {[]imap.Flag{imap.FlagDraft}, "D"},
}

// TestMbsync syncs 2,000 messages in 20 folders in both directions. A second
// run must move nothing.
func TestMbsync(t *testing.T) {
	t.Parallel()
	tool(t, "mbsync")
	n := server(t)
	user := account(t, n, "mbsync")
	base := folder(t)
	rc := write(t, base, "mbsyncrc", []byte(mbsyncConfig(n, user, base)+"Channel all\nFar :remote:\nNear :local:\nPatterns *\nCreate Both\nSyncState *\n"))
	c := login(t, n, user, password, nil)
	fillServer(t, c)
	fillMaildir(t, filepath.Join(base, "mail"))

	begin := time.Now()
	command(t, "mbsync", "-q", "-c", rc, "all")
	first := time.Since(begin)
	far, near := serverState(t, c), maildirState(t, filepath.Join(base, "mail"))
	if len(far) != syncFolders*perFolder || len(near) != syncFolders*perFolder {
		t.Fatalf("after the first run: %d messages on the server, %d in the maildir", len(far), len(near))
	}
	compareSides(t, far, near)

	begin = time.Now()
	command(t, "mbsync", "-q", "-c", rc, "all")
	t.Logf("mbsync: first run %s, second %s", first.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	if again := serverState(t, c); !maps.Equal(again, far) {
		t.Error("the second run changed the server")
	}
	if again := maildirState(t, filepath.Join(base, "mail")); !maps.Equal(again, near) {
		t.Error("the second run changed the maildir")
	}
}

func fillServer(t *testing.T, c *imapclient.Client) {
	t.Helper()
	for i := range syncFolders / 2 {
		name, _ := folderName(i)
		if err := c.Create(name, nil).Wait(); err != nil {
			t.Fatalf("CREATE %s: %v", name, err)
		}
		var pending []*imapclient.AppendCommand
		for j := range perFolder {
			text := letter(fmt.Sprintf("far-%d-%d", i, j), 2000, asciiLine)
			cmd := c.Append(name, int64(len(text)), &imap.AppendOptions{Flags: flagSets[j%len(flagSets)].imap})
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
				t.Fatalf("APPEND to %s: %v", name, err)
			}
		}
	}
}

func fillMaildir(t *testing.T, base string) {
	t.Helper()
	for i := syncFolders / 2; i < syncFolders; i++ {
		_, encoded := folderName(i)
		box := filepath.Join(base, encoded)
		for _, sub := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for j := range perFolder {
			text := bytes.ReplaceAll(letter(fmt.Sprintf("near-%d-%d", i, j), 2000, asciiLine), []byte("\r\n"), []byte("\n"))
			name := fmt.Sprintf("1700000000.%d_%d.example:2,%s", i, j, flagSets[j%len(flagSets)].maildir)
			write(t, filepath.Join(box, "cur"), name, text)
		}
	}
}

// serverState gives for each message its mark, and its folder, UID and flags.
func serverState(t *testing.T, c *imapclient.Client) map[string]string {
	t.Helper()
	state := make(map[string]string)
	for i := range syncFolders {
		name, _ := folderName(i)
		box, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatalf("EXAMINE %s: %v", name, err)
		}
		if box.NumMessages == 0 {
			continue
		}
		var all imap.SeqSet
		all.AddRange(1, 0)
		header := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"X-Mark"}, Peek: true}
		messages, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{header}}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			mark := strings.TrimSpace(strings.TrimPrefix(string(m.FindBodySection(header)), "X-Mark:"))
			flags := slices.DeleteFunc(m.Flags, func(f imap.Flag) bool { return f == `\Recent` })
			slices.Sort(flags)
			state[mark] = fmt.Sprint(name, " ", m.UID, " ", flags)
		}
	}
	return state
}

// maildirState gives for each message its mark, and its file.
func maildirState(t *testing.T, base string) map[string]string {
	t.Helper()
	state := make(map[string]string)
	for file := range maildirFiles(t, base) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := bytes.Cut(text, []byte("X-Mark: "))
		mark, _, _ := bytes.Cut(rest, []byte("\n"))
		state[string(mark)] = strings.TrimPrefix(file, base)
	}
	return state
}

// compareSides checks that every message has its folder and flags on both sides.
func compareSides(t *testing.T, far, near map[string]string) {
	t.Helper()
	for i := range syncFolders {
		name, encoded := folderName(i)
		side := "far"
		if i >= syncFolders/2 {
			side = "near"
		}
		for j := range perFolder {
			mark := fmt.Sprintf("%s-%d-%d", side, i, j)
			set := flagSets[j%len(flagSets)]
			flags := slices.Clone(set.imap)
			slices.Sort(flags)
			if got := far[mark]; !strings.HasPrefix(got, name+" ") || !strings.HasSuffix(got, " "+fmt.Sprint(flags)) {
				t.Errorf("%s on the server: %q, want %s with %v", mark, got, name, flags)
			}
			_, got, _ := strings.Cut(near[mark], "2,")
			if !strings.HasPrefix(near[mark], "/"+encoded+"/") || got != set.maildir {
				t.Errorf("%s in the maildir: %q, want %s with %q", mark, near[mark], encoded, set.maildir)
			}
		}
	}
}
