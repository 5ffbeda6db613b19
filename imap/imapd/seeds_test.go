package imapd

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// sessionSeeds are commands of every kind, whole and broken.
var sessionSeeds = []string{
	"a NOOP\r\n", "a CAPABILITY\r\nb LOGOUT\r\n", "a LOGIN {5+}\r\nalice {3+}\r\nabc\r\n", "a AUTHENTICATE PLAIN AGEAYg==\r\n",
	"a AUTHENTICATE PLAIN\r\n*\r\n", "a STARTTLS\r\nb NOOP\r\n", "a ID (\"name\" {3+}\r\nabc)\r\n", "a FOO {10+}\r\nb LOGOUT\r\n\r\n",
	"a SELECT INBOX\r\nb FETCH 1:* (FLAGS UID ENVELOPE BODY[])\r\n", "a EXAMINE INBOX\r\nb UID FETCH * BODY.PEEK[HEADER.FIELDS (From {2+}\r\nTo)]<0.10>\r\n",
	"a SELECT INBOX\r\nb STORE 1 +FLAGS (\\Seen $x)\r\nc UID STORE 1 -FLAGS.SILENT \\Seen\r\n", "a SELECT INBOX\r\nb COPY 1 Trash\r\nc UID COPY 1:* Nowhere\r\n",
	"a SELECT INBOX\r\nb SEARCH NOT (OR SEEN (1:* UID 5)) SUBJECT {3+}\r\nfoo\r\n", "a SELECT INBOX\r\nb UID SEARCH RETURN (MIN ALL) CHARSET UTF-8 TEXT x\r\n",
	"a LIST \"\" (\"%\" \"*\") RETURN (STATUS (MESSAGES) CHILDREN)\r\n", "a LSUB \"\" *\r\nb XLIST \"\" %\r\n", "a CREATE x/y\r\nb RENAME x z\r\nc DELETE z\r\n",
	"a STATUS INBOX (MESSAGES SIZE)\r\n", "a APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {12+}\r\nSubject: x\r\n\r\n", "a APPEND INBOX ~{3+}\r\na\x00b\r\n",
	"a APPEND INBOX {1+}\r\nx (\\Seen) ~{3+}\r\nabc {0+}\r\n\r\n", "a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1/;SECTION=1\" TEXT {2+}\r\nab)\r\n",
	"a ENABLE UTF8=ACCEPT\r\nb APPEND INBOX UTF8 (~{2+}\r\nab)\r\n", "a SELECT INBOX\r\nb REPLACE 1 INBOX () {1+}\r\nx\r\n",
	"a SELECT INBOX\r\nb FETCH 1:* (PREVIEW (LAZY) EMAILID THREADID SAVEDATE BINARY.PEEK[1]<0.5> BINARY.SIZE[2])\r\n",
	"a SETMETADATA INBOX (/private/a {1+}\r\nx /shared/b NIL)\r\nb GETMETADATA (DEPTH 1 MAXSIZE 3) INBOX (/private {7+}\r\n/shared)\r\n",
	"a GETQUOTAROOT INBOX\r\nb GETQUOTA \"\"\r\nc SETQUOTA \"\" (STORAGE 1)\r\n", "a UNAUTHENTICATE\r\nb NOOP\r\n",
	"a SELECT INBOX\r\nb SEARCH EMAILID M1 THREADID T1 SAVEDON 1-Jan-2020 SAVEDATESUPPORTED\r\n",
	"a IDLE\r\nDONE\r\n", "a ENABLE X Y\r\n", "a NAMESPACE\r\n", "a SUBSCRIBE \"a&b\"\r\n", "a CREATE \"&AAA-\"\r\n",

	"a CHECK\r\nb SELECT INBOX\r\nc CHECK\r\nd NOOP\r\ne CLOSE\r\nf UNSELECT\r\n", "a SELECT INBOX\r\nb UNSELECT\r\nc CHECK\r\n",
	"a SELECT INBOX (CONDSTORE)\r\nb SELECT Trash (QRESYNC (1 2 1:5 (1,3 1,3)))\r\n", "a ENABLE QRESYNC\r\nb SELECT INBOX (QRESYNC (1 1 *:1))\r\nc UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)\r\n",
	"a SELECT INBOX\r\nb STORE 1 (UNCHANGEDSINCE 0) FLAGS ()\r\nc SEARCH MODSEQ \"/flags/\\\\draft\" all 5\r\n",
	"a SELECT INBOX\r\nb MOVE 1 Nowhere\r\nc UID MOVE 9 \"Trash\"\r\nd EXPUNGE\r\ne UID EXPUNGE 1:*\r\n", "a SELECT INBOX\r\nb UID REPLACE 1 Sent (\\Seen) \" 1-Jan-2020 00:00:00 +0000\" ~{3+}\r\na\x00b\r\n",
	"a SELECT INBOX\r\nb SORT (REVERSE DATE DISPLAYFROM) UTF-8 ALL\r\nc UID SORT RETURN (PARTIAL 1:10 COUNT) (SUBJECT {4+}\r\nSIZE) UTF-8 SEEN\r\n",
	"a SELECT INBOX\r\nb THREAD REFERENCES UTF-8 ALL\r\nc UID THREAD ORDEREDSUBJECT US-ASCII NOT DELETED\r\n", "a SELECT INBOX\r\nb SEARCH RETURN (SAVE) SEEN\r\nc FETCH $ FLAGS\r\nd SEARCH UID $ YOUNGER 10\r\n",
	"a SELECT INBOX\r\nb UID SEARCH RETURN (UPDATE CONTEXT PARTIAL -1:-9) FUZZY TEXT {3+}\r\nabc\r\nc CANCELUPDATE \"b\"\r\n",
	"a ESEARCH IN (mailboxes {5+}\r\nINBOX subtree \"Tr*sh\" selected personal subscribed inboxes subtree-one (a b)) RETURN (COUNT ALL) CHARSET UTF-8 SUBJECT x\r\n",
	"a SETACL INBOX bob@example.test +lrswipkxtea\r\nb GETACL INBOX\r\nc LISTRIGHTS INBOX {16+}\r\nbob@example.test\r\nd MYRIGHTS {5+}\r\nINBOX\r\ne DELETEACL INBOX bob@example.test\r\n",
	"a NOTIFY SET STATUS (SELECTED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (From)]) MessageExpunge)) (SUBTREE {5+}\r\nINBOX (MailboxName FlagChange))\r\nb NOTIFY NONE\r\n",
	"a UNSUBSCRIBE {5+}\r\nTrash\r\nb SUBSCRIBE Trash\r\n", "a AUTHENTICATE SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\nYz1iaXdz\r\n", "a AUTHENTICATE OAUTHBEARER =\r\nAQ==\r\n",
	"a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n*\r\n", "a AUTHENTICATE XOAUTH2 {3+}\r\nabc\r\n", "a COMPRESS DEFLATE\r\n" + squeezeSeed("b NOOP\r\nc SELECT INBOX\r\nd COMPRESS DEFLATE\r\n"), "a COMPRESS {7+}\r\nDEFLATE\r\n",
	"a COMPRESS DEFLATE\r\nb NOOP\r\n", "a EXAMINE {5+}\r\nINBOX (X {1+}\r\ny)\r\n", "a STATUS {5+}\r\nINBOX (MESSAGES HIGHESTMODSEQ MAILBOXID DELETED)\r\nb GETQUOTAROOT {5+}\r\nINBOX\r\n",
}

// squeezeSeed is what a client says under COMPRESS.
func squeezeSeed(said string) string {
	var b bytes.Buffer
	if err := flate.StatelessDeflate(&b, []byte(said), false, nil); err != nil {
		panic(err)
	}
	return b.String()
}

// TestSeedsAreComplete: each command there is, in the form with UID too, is
// played by a seed. Whoever adds a command adds one.
func TestSeedsAreComplete(t *testing.T) {
	var played = map[string]bool{"UID": true, "COMPRESS": true}
	for _, seed := range sessionSeeds {
		for line := range strings.SplitSeq(seed, "\r\n") {
			words := strings.Fields(strings.ToUpper(line))
			if len(words) > 2 && words[1] == "UID" {
				played["UID "+words[2]] = true
			} else if len(words) > 1 {
				played[words[1]] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		if !played[name] {
			t.Errorf("no seed says %s", name)
		}
	}
}

// positions are where an argument of the seed begins: not within a literal.
func positions(seed string) (at []int) {
	for i := 0; i < len(seed); i++ {
		if rest := seed[i:]; strings.HasPrefix(rest, "+}\r\n") {
			open := strings.LastIndexByte(seed[:i], '{')
			size := 0
			for _, c := range seed[open+1 : i] {
				size = 10*size + int(c-'0')
			}
			i += len("+}\r\n") + size - 1
			continue
		}
		if c := seed[i]; (c == ' ' || c == '(') && i+1 < len(seed) {
			at = append(at, i+1)
		}
	}
	return at
}

// TestLiteralsEverywhere is TRUST row 5 for every command and each of its
// arguments: a literal over the limit stands there, full of commands, and none
// runs. The next command is answered, or the connection closes.
func TestLiteralsEverywhere(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	account, err := s.dir.Account(t.Context(), mustAddress(t, aliceName))
	if err != nil {
		t.Fatal(err)
	}
	guests := New(Config{Hostname: "mail.example.test"})
	played := 0
	for _, seed := range sessionSeeds {
		if strings.Contains(seed, "COMPRESS DEFLATE\r\n") {
			continue // what follows is no text
		}
		for _, i := range positions(seed) {
			for _, evil := range []string{"{70000+}\r\n" + strings.Repeat("x LOGOUT\r\n", 7000), "{70000}\r\n", "~{5+}\r\nx \x00\r\n"} {
				said := seed[:i] + evil + seed[i:] + "\r\nz NOOP\r\n"
				for who, out := range map[string]string{"alice": playTape(t, s.srv, said, &account), "a guest": playTape(t, guests, said, nil)} {
					played++
					for _, answer := range []string{"\nx OK", "\nx NO", "\nx BAD", "\n* BYE Good"} {
						if strings.Contains(out, answer) {
							t.Errorf("%s: a literal in %.80q, at %d: %q", who, seed, i, out)
						}
					}
					// Without "+" what follows may be the octets that were announced.
					if strings.Contains(evil, "+}") && !strings.Contains(out, "z OK") && !strings.Contains(out, "* BYE") {
						t.Errorf("%s: out of step: a literal in %.80q, at %d: %q", who, seed, i, out)
					}
				}
			}
		}
	}
	if played < 1000 {
		t.Errorf("%d sessions played", played)
	}
}
