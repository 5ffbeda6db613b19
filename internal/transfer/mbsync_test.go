package transfer_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/internal/transfer"
)

// TestMbsync imports a Maildir that mbsync has made, in the two ways in which it
// lays out sub-folders.
func TestMbsync(t *testing.T) {
	if _, err := exec.LookPath("mbsync"); err != nil {
		t.Skip("no mbsync here (apt-get install isync)")
	}
	address := memoryServer(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, address, "INBOX", 0, 5)
	fill(t, address, "Lists", 10, 11)
	fill(t, address, "Lists/Été & co", 20, 22)
	s := storetest.Open(t)
	for _, layout := range []string{"Verbatim", "Maildir++"} {
		dir := t.TempDir()
		inbox, path := filepath.Join(dir, "m", "INBOX"), "Path "+filepath.Join(dir, "m")+"/\n"
		root := filepath.Join(dir, "m")
		if layout == "Maildir++" {
			inbox, path, root = filepath.Join(dir, "m"), "", filepath.Join(dir, "m")
		}
		write(t, filepath.Join(root, "README"), "no folder")
		rc := filepath.Join(dir, "mbsyncrc")
		write(t, rc, fmt.Sprintf(`IMAPAccount far
Host %s
Port %s
User alice@example.test
Pass %s
SSLType None
AuthMechs LOGIN

IMAPStore far
Account far

MaildirStore near
%sInbox %s
SubFolders %s

Channel all
Far :far:
Near :near:
Patterns *
Create Near
CopyArrivalDate yes
SyncState *
`, host, port, imapPassword, path, inbox, layout))
		if out, err := exec.Command("mbsync", "-q", "-c", rc, "all").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", layout, err, out)
		}
		// read and answered there meanwhile
		found, err := filepath.Glob(filepath.Join(inbox, "new", "*,U=2:2,"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		seen := filepath.Join(inbox, "cur", filepath.Base(found[0])+"RS")
		if err := os.Rename(found[0], seen); err != nil {
			t.Fatal(err)
		}
		who := account(t, s, fmt.Sprintf("alice%d@example.test", len(layout)))
		doImport(t, s, who, openMaildir(t, root), transfer.Options{}, 8, 0)
		want := []string{imapLine("Lists", "00000 []", 10), imapLine("Lists/Été & co", "00000 []", 20), imapLine("Lists/Été & co", "00000 []", 21)}
		for n := range 5 {
			flags := "00000 []"
			if n == 1 {
				flags = "00011 []"
			}
			want = append(want, imapLine("INBOX", flags, n))
		}
		got := content(t, s, who)
		for i := range got { // which mbsync adds
			got[i] = tuid.ReplaceAllString(got[i], "")
		}
		same(t, got, want)
		// mbsync numbers a file anew
		if err := os.Rename(seen, strings.Replace(seen, ",U=2", ",U=99", 1)); err != nil {
			t.Fatal(err)
		}
		doImport(t, s, who, openMaildir(t, root), transfer.Options{}, 0, 8)
	}
}

var tuid = regexp.MustCompile(`X-TUID: .{12}\\r\\n`)
