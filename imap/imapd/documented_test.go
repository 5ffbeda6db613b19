package imapd

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

var someRFC = regexp.MustCompile(`^(\d{4}|none: )`)

// TestCapabilitiesAreDocumented holds that docs/imap.md has a row for all that is
// advertised in any state, and for nothing else: each with when, an RFC and a test.
func TestCapabilitiesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/imap.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // by capability: when
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.Trim(line, "|\n "), " | ")
		if len(f) != 4 || f[0] == "capability" {
			continue
		}
		if !someRFC.MatchString(f[2]) || !strings.Contains(f[3], "Test") {
			t.Errorf("%s: RFC %q, test %q", f[0], f[2], f[3])
		}
		for name := range strings.SplitSeq(f[0], ", ") {
			if rows[name] != "" {
				t.Errorf("%s has two rows", name)
			}
			rows[name] = f[1]
		}
	}
	advertised := map[string]states{"STARTTLS": guest, "LOGINDISABLED": guest, "APPENDLIMIT=n": loggedIn}
	for _, m := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "XOAUTH2"} { // all of directory.Mechanisms
		advertised[string(imap.AuthCap(m))] = guest
	}
	for _, e := range extensions {
		advertised[string(e.cap)] = e.in
	}
	for name, in := range advertised {
		when := map[states]string{anyState: "always", guest: "before login", loggedIn: "after login"}[in]
		if when == "" || !strings.HasPrefix(rows[name], when) {
			t.Errorf("%s is advertised %s; docs/imap.md says %q", name, when, rows[name])
		}
	}
	for name := range rows {
		if _, ok := advertised[name]; !ok {
			t.Errorf("docs/imap.md has a row for %s, which is not advertised", name)
		}
	}
}
