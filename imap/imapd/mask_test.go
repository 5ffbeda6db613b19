package imapd

import (
	"crypto/tls"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/mail"
)

// What is hidden is not told, and ENABLE leaves it off; what is not hidden stays.
func TestMask(t *testing.T) {
	s := newSite(t)
	hide := func(address, client string, capabilities ...string) {
		t.Helper()
		var a mail.Address
		if address != "" {
			a = mustAddress(t, address)
		}
		if err := s.dir.SetMask(t.Context(), a, client, capabilities); err != nil {
			t.Fatal(err)
		}
	}
	hide(aliceName, "", "CONDSTORE", "quota")
	s.account("bob@example.test")
	p := s.login()
	list := told(p)
	lacks(t, list, "CONDSTORE", "QRESYNC", "QUOTA", "QUOTA=RES-STORAGE")
	has(t, list, "IMAP4rev1", "MOVE", "UTF8=ACCEPT", "IMAP4rev2")
	p.run(`C: c ENABLE CONDSTORE QRESYNC UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: c OK …`)
	q := s.dial()
	q.run(`C: a LOGIN bob@example.test "correct horse"
		S: a OK [CAPABILITY …] Logged in
		C: b ENABLE CONDSTORE
		S: * ENABLED CONDSTORE
		S: b OK …`)
	has(t, told(q), "CONDSTORE", "QRESYNC", "QUOTA")

	// By the program's name, before login and after, and in open sessions at once.
	hide("", "Outlook*", "MOVE", "AUTH=SCRAM-SHA-256", "IDLE")
	p = s.dial()
	p.run(`C: a ID ("name" "Outlook for Everybody" "version" "16")
		S: * ID (…)
		S: a OK …`)
	list = told(p)
	lacks(t, list, "IDLE", "AUTH=SCRAM-SHA-256", "IMAP4rev2")
	has(t, list, "AUTH=PLAIN", "IMAP4rev1")
	p.run(`C: c LOGIN bob@example.test "correct horse"
		S: c OK [CAPABILITY …] Logged in
		C: d ENABLE IMAP4rev2
		S: * ENABLED
		S: d OK …`)
	list = told(p)
	lacks(t, list, "MOVE", "IDLE", "IMAP4rev2")
	has(t, list, "CONDSTORE")
	hide("", "Outlook*")
	has(t, told(p), "MOVE", "IDLE", "IMAP4rev2")
}

// told is what a session answers to CAPABILITY.
func told(p *peer) string {
	p.t.Helper()
	p.send("told CAPABILITY\r\n")
	list := p.read()
	p.run("S: told OK …")
	return list
}

// A program from which SCRAM-SHA-256-PLUS is hidden says that it could bind its
// login and was not offered to: that is no attack then.
func TestMaskScramPlus(t *testing.T) {
	s := newSite(t, withTLS(testCertificate(t)))
	if err := s.dir.SetMask(t.Context(), mail.Address{}, "old*", []string{"AUTH=SCRAM-SHA-256-PLUS"}); err != nil {
		t.Fatal(err)
	}
	first := base64.StdEncoding.EncodeToString([]byte("y,,n=" + aliceName + ",r=abc"))
	for program, reply := range map[string]string{"old one": "S: + …\nC: *\nS: b BAD …", "new one": "S: b NO …"} {
		c, err := tls.Dial("tcp", s.tls, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		newPeer(t, c).run("S: * OK …\nC: a ID (\"name\" \"" + program + "\")\nS: * ID (…)\nS: a OK …\nC: b AUTHENTICATE SCRAM-SHA-256 " + first + "\n" + reply)
	}
}

// has and lacks look for words of a list of capabilities.
func has(t *testing.T, list string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !slices.Contains(strings.Fields(list), w) {
			t.Errorf("no %s in %s", w, list)
		}
	}
}

func lacks(t *testing.T, list string, words ...string) {
	t.Helper()
	for _, w := range words {
		if slices.Contains(strings.Fields(list), w) {
			t.Errorf("%s in %s", w, list)
		}
	}
}
