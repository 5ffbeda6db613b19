package imapd

import (
	"strings"
	"testing"

	"posthouse/mailstore"
)

// three delivers three messages and opens the mailbox twice.
func three(t *testing.T) (s *site, p, q *peer) {
	s = newSite(t)
	for range 3 {
		s.deliver("INBOX", simpleMessage)
	}
	return s, s.open("INBOX"), s.open("INBOX")
}

// TestCondstore is RFC 7162 §3.1.
func TestCondstore(t *testing.T) {
	_, p, q := three(t)
	p.run(`
		C: a SELECT INBOX (CONDSTORE)
		S: * OK [CLOSED] …
		S: * FLAGS …
		S~: * OK [HIGHESTMODSEQ {start}] …
		S~: a OK [READ-WRITE] …
		C: b STORE 1 +FLAGS (\Seen)
		S: * 1 FETCH (FLAGS (\Seen…) MODSEQ ({one}))
		S: b OK …
		# silence is broken by the mod-sequence alone
		C: c UID STORE 2 +FLAGS.SILENT (\Seen)
		S: * 2 FETCH (UID 2 MODSEQ ({two}))
		S: c OK …
		C: d FETCH 1:3 (FLAGS) (CHANGEDSINCE {start})
		S: * 1 FETCH (FLAGS (\Seen…) MODSEQ ({one}))
		S: * 2 FETCH (FLAGS (\Seen…) MODSEQ ({two}))
		S: d OK …
		C: e UID FETCH 1:* FLAGS (CHANGEDSINCE {one})
		S: * 2 FETCH (UID 2 FLAGS (\Seen…) MODSEQ ({two}))
		S: e OK …
		# iOS
		C: f UID FETCH 1:* (UID) (CHANGEDSINCE 0)
		S: * 1 FETCH (UID 1 MODSEQ ({one}))
		S: * 2 FETCH (UID 2 MODSEQ ({two}))
		S: * 3 FETCH (UID 3 MODSEQ ({three}))
		S: f OK …
		C: g FETCH 1:3 UID (CHANGEDSINCE 999999999999)
		S: g OK …
		C: h FETCH 1 (MODSEQ ENVELOPE)
		S: * 1 FETCH (MODSEQ ({one}) ENVELOPE …)
		S: h OK …
		C: i STATUS INBOX (HIGHESTMODSEQ)
		S: * STATUS "INBOX" (HIGHESTMODSEQ {two})
		S: i OK …
		# nothing is changed by what changes nothing
		C: j STORE 1 +FLAGS (\Seen)
		S: * 1 FETCH (FLAGS (\Seen…) MODSEQ ({one}))
		S: j OK …
		# a body that is read sets \Seen, which is a change
		C: k FETCH 3 BODY[TEXT]
		S: * 3 FETCH (BODY[TEXT] … FLAGS (\Seen…) MODSEQ ({last}))
		S: k OK …
	`)
	q.run(`
		C: a NOOP
		S: * 1 FETCH (FLAGS (\Seen…) UID 1)
		S~: a OK …
		C: b STORE 1 +FLAGS (\Answered)
		S~: b OK …
	`)
}

// TestCondstoreNews: other sessions' changes come with their mod-sequences, each
// with its own.
func TestCondstoreNews(t *testing.T) {
	_, p, q := three(t)
	p.run("C: a ENABLE CONDSTORE\nS: * OK [HIGHESTMODSEQ …] …\nS: * ENABLED CONDSTORE\nS: a OK …\nC: a ENABLE CONDSTORE\nS: * ENABLED\nS: a OK …")
	q.run("C: a STORE 2 +FLAGS.SILENT (\\Seen)\nS: a OK …\nC: a STORE 1,3 +FLAGS.SILENT (\\Flagged)\nS: a OK …")
	p.run(`
		C: b NOOP
		S: * 1 FETCH (FLAGS (\Flagged…) UID 1 MODSEQ ({later}))
		S: * 2 FETCH (FLAGS (\Seen…) UID 2 MODSEQ ({earlier}))
		S: * 3 FETCH (FLAGS (\Flagged…) UID 3 MODSEQ ({later}))
		S: b OK …
		C: c UID FETCH 1:3 MODSEQ
		S: * 1 FETCH (UID 1 MODSEQ ({later}))
		S: * 2 FETCH (UID 2 MODSEQ ({earlier}))
		S: * 3 FETCH (UID 3 MODSEQ ({later}))
		S: c OK …
	`)
	if p.vars["{later}"] <= p.vars["{earlier}"] {
		t.Errorf("%v", p.vars)
	}
}

// TestCondstoreEnabledBy: each command of §3.1 that makes a session aware.
func TestCondstoreEnabledBy(t *testing.T) {
	for _, command := range []string{"STATUS INBOX (HIGHESTMODSEQ)", "FETCH 1 MODSEQ", "FETCH 1 FLAGS (CHANGEDSINCE 0)",
		"STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Draft)", "SEARCH MODSEQ 1", "ENABLE CONDSTORE", "ENABLE QRESYNC", "LIST \"\" INBOX RETURN (STATUS (HIGHESTMODSEQ))"} {
		t.Run(strings.Fields(command)[0], func(t *testing.T) {
			_, p, q := three(t)
			q.run("C: a STORE 1 +FLAGS (\\Seen)\nS~: a OK …")
			p.run("C: a NOOP\nS: * 1 FETCH (FLAGS (\\Seen…) UID 1)\nS: a OK …")
			p.run("C: b " + command + "\nS~: * OK [HIGHESTMODSEQ …] …\nS~: b OK …")
			q.run("C: b STORE 2 +FLAGS (\\Seen)\nS~: b OK …")
			p.run("C: c NOOP\nS: * 2 FETCH (FLAGS (\\Seen…) UID 2 MODSEQ (…))\nS: c OK …")
		})
	}
}

// TestUnchangedSince is RFC 7162 §3.1.3.
func TestUnchangedSince(t *testing.T) {
	_, p, q := three(t)
	p.run("C: a ENABLE CONDSTORE\nS: * OK [HIGHESTMODSEQ {start}] …\nS~: a OK …")
	q.run("C: a STORE 2 +FLAGS (theirs)\nS~: a OK …")
	p.run(`
		C: b STORE 1:3 (UNCHANGEDSINCE {start}) +FLAGS.SILENT ($Mine)
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS …
		S: * 2 FETCH (FLAGS (…theirs) UID 2 MODSEQ ({theirs}))
		S: * 1 FETCH (MODSEQ ({mine}))
		S: * 3 FETCH (MODSEQ ({mine}))
		S: b OK [MODIFIED 2] …
		C: c UID STORE 1:* (UNCHANGEDSINCE {theirs}) +FLAGS ($More)
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS …
		S: * 2 FETCH (UID 2 FLAGS (…theirs $More) MODSEQ (…))
		S: c OK [MODIFIED 1,3] …
		# every message has flags, set or not, so 0 always fails
		C: d STORE 1:3 (UNCHANGEDSINCE 0) +FLAGS ($More)
		S: d OK [MODIFIED 1:3] …
		# what is so already is told, and is no change
		C: e STORE 3 (UNCHANGEDSINCE {mine}) +FLAGS.SILENT ($Mine)
		S: * 3 FETCH (MODSEQ ({mine}))
		S: e OK STORE completed
		C: f UID STORE 99 (UNCHANGEDSINCE 1) +FLAGS ($More)
		S: f OK …
		C: g STORE 1 (UNCHANGEDSINCE) +FLAGS ($More)
		S: g BAD …
		C: g STORE 1 (NONSENSE 1) +FLAGS ($More)
		S: g BAD …
	`)
	// one is expunged, which is not told in a STORE by number; one has changed
	q.run("C: b STORE 1 +FLAGS.SILENT (\\Deleted)\nS~: b OK …\nC: b EXPUNGE\nS~: b OK …\nC: b STORE 2 +FLAGS.SILENT (\\Draft)\nS~: b OK …")
	p.run(`
		C: h STORE 1:2 (UNCHANGEDSINCE {mine}) +FLAGS.SILENT (\Flagged)
		S~: h NO [MODIFIED 2] …
		C: i STORE 1 (UNCHANGEDSINCE {mine}) +FLAGS.SILENT (\Flagged)
		S: i NO [EXPUNGEISSUED] …
		C: j NOOP
		S: * 1 EXPUNGE
		S~: j OK …
	`)
}

// TestUnchangedSinceRace: of two who change at once only one succeeds.
func TestUnchangedSinceRace(t *testing.T) {
	_, p, q := three(t)
	for round := range 20 {
		p.run("C: a FETCH 1 MODSEQ\nS~: * 1 FETCH (MODSEQ ({m}))\nS: a OK …")
		m := p.vars["{m}"]
		delete(p.vars, "{m}")
		won := 0
		for _, one := range []*peer{p, q} {
			one.send("b STORE 1 (UNCHANGEDSINCE " + m + ") FLAGS.SILENT (k" + string(rune('a'+round%2)) + " " + map[bool]string{true: "p", false: "q"}[one == p] + ")\r\n")
		}
		for _, one := range []*peer{p, q} {
			got := one.read()
			for strings.HasPrefix(got, "*") {
				got = one.read()
			}
			if !strings.Contains(got, "[MODIFIED 1]") {
				won++
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d succeeded", round, won)
		}
	}
}

// TestSearchModSeq is RFC 7162 §3.1.5.
func TestSearchModSeq(t *testing.T) {
	_, p, q := three(t)
	q.run("C: a STORE 1 +FLAGS (\\Seen)\nS~: a OK …\nC: a STORE 3 +FLAGS (\\Seen)\nS~: a OK …")
	p.run(`
		C: a NOOP
		S~: a OK …
		C: a FETCH 1:3 MODSEQ
		S~: * 1 FETCH (MODSEQ ({one}))
		S: * 2 FETCH (MODSEQ ({two}))
		S: * 3 FETCH (MODSEQ ({three}))
		S: a OK …
		C: b SEARCH MODSEQ {one}
		S: * SEARCH 1 3 (MODSEQ {three})
		S: b OK …
		C: c UID SEARCH MODSEQ "/flags/\\draft" all {two} UID 1:2
		S: * SEARCH 1 2 (MODSEQ {one})
		S: c OK …
		C: d SEARCH MODSEQ "/flags/\\seen" priv 999999999
		S: * SEARCH
		S: d OK …
		C: e SEARCH RETURN (ALL) NOT MODSEQ {three}
		S: * ESEARCH (TAG "e") ALL 1:2 MODSEQ {one}
		S: e OK …
		C: f UID SEARCH RETURN (MIN) OR MODSEQ {three} MODSEQ {two}
		S: * ESEARCH (TAG "f") UID MIN 1 MODSEQ {one}
		S: f OK …
		C: g SEARCH RETURN (MIN MAX COUNT) MODSEQ 0
		S: * ESEARCH (TAG "g") MIN 1 MAX 3 COUNT 3 MODSEQ {three}
		S: g OK …
		C: h SEARCH RETURN (COUNT) MODSEQ 999999999
		S: * ESEARCH (TAG "h") COUNT 0
		S: h OK …
		C: i SEARCH MODSEQ
		S: i BAD …
		C: i SEARCH MODSEQ "/other" all 1
		S: i BAD …
		C: i SEARCH MODSEQ 99999999999999999999
		S: i BAD …
	`)
	p.run("C: j SEARCH" + strings.Repeat(" MODSEQ 5", maxModSeqKeys+1) + "\nS: j NO [LIMIT] …")
}

// TestModSeqOfLargeStore: what goes in several transactions is as exact.
func TestModSeqOfLargeStore(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	for range 11 { // 2,048 messages
		m, err := s.store.Mailbox(t.Context(), s.alice, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.Copy(t.Context(), s.alice, m.ID, mailstore.UIDsBetween(1, 2048), s.alice, "INBOX"); err != nil {
			t.Fatal(err)
		}
	}
	p := s.open("INBOX")
	p.run(`
		C: a ENABLE CONDSTORE
		S: * OK [HIGHESTMODSEQ {start}] …
		S~: a OK …
		C: b STORE 77 +FLAGS.SILENT (\Seen)
		S~: b OK …
		C: c UID STORE 1:2048 (UNCHANGEDSINCE {start}) +FLAGS.SILENT (\Draft)
		S~: * 2048 FETCH (UID 2048 MODSEQ ({last}))
		S~: c OK [MODIFIED 77] …
		C: d SEARCH RETURN (COUNT) UNDRAFT
		S: * ESEARCH (TAG "d") COUNT 1
		S: d OK …
		C: e STATUS INBOX (HIGHESTMODSEQ)
		S: * STATUS "INBOX" (HIGHESTMODSEQ {last})
		S~: e OK …
	`)
}
