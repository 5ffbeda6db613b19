package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMutt has mutt open a mailbox on a terminal, with its cache of headers and
// QRESYNC: the first time it reads the headers of all messages, the second time
// of none, and nothing changes on the server. In the clear below TLS and with
// COMPRESS=DEFLATE it is the same.
func TestMutt(t *testing.T) {
	t.Parallel()
	tool(t, "mutt")
	tool(t, "script")
	const count = 300
	n := server(t)
	user := account(t, n, "mutt")
	c := login(t, n, user, password, nil)
	fillInbox(t, c, count)
	before := inboxState(t, c)
	for _, deflate := range []string{"no", "yes"} {
		t.Run("deflate "+deflate, func(t *testing.T) {
			home := folder(t)
			rc := write(t, home, "rc", fmt.Appendf(nil, `set folder = "imaps://localhost:%s/"
set spoolfile = "+INBOX"
set imap_user = %q
set imap_pass = %q
set certificate_file = %q
set header_cache = %q
set imap_qresync = yes
set imap_deflate = %s
set quit = yes
set mail_check = 600
`, port(n, "imaps"), user, password, n.CA, filepath.Join(home, "cache"), deflate))
			if headers := openInMutt(t, home, rc, deflate == "yes"); headers != count {
				t.Errorf("mutt read %d headers of %d", headers, count)
			}
			if headers := openInMutt(t, home, rc, deflate == "yes"); headers != 0 {
				t.Errorf("the second time mutt read %d headers again", headers)
			}
			if !maps.Equal(before, inboxState(t, c)) {
				t.Error("mutt changed something")
			}
		})
	}
}

var muttHeader = regexp.MustCompile(`(?m)< \* \d+ FETCH \(.*BODY\[HEADER`)

// openInMutt has mutt open the mailbox and quit at once, and counts the headers
// that its log says it was sent.
func openInMutt(t *testing.T, home, rc string, deflate bool) (headers int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "script", "-qec", "mutt -n -R -d 3 -F "+rc+" -e 'push <quit>'", filepath.Join(home, "screen"))
	cmd.Env = append(os.Environ(), "HOME="+home, "TERM=xterm", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mutt: %v\n%q", err, tail(out))
	}
	log, err := os.ReadFile(filepath.Join(home, ".muttdebug0"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(log)
	if !strings.Contains(text, "QRESYNC") || !strings.Contains(text, "LOGOUT") || strings.Contains(text, "COMPRESS DEFLATE") != deflate {
		t.Fatalf("mutt did not do what was due:\n%s", tail(log))
	}
	return len(muttHeader.FindAllString(text, -1))
}
