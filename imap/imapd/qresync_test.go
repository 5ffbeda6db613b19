package imapd

import "testing"

// away is a client that has seen eight messages and then goes; UIDs 3 and 6:7
// vanish meanwhile, UID 2 gets a flag, and UID 9 arrives.
func away(t *testing.T) (s *site, p *peer) {
	s = newSite(t)
	for range 8 {
		s.deliver("INBOX", simpleMessage)
	}
	p = s.open("INBOX")
	p.run(`
		C: a ENABLE QRESYNC
		S: * OK [HIGHESTMODSEQ {known}] …
		S: * ENABLED QRESYNC
		S: a OK …
		C: b STATUS INBOX (UIDVALIDITY)
		S: * STATUS "INBOX" (UIDVALIDITY {v})
		S: b OK …
		C: c UNSELECT
		S: c OK …
	`)
	s.open("INBOX").run(`
		C: a UID STORE 3,6:7 +FLAGS.SILENT (\Deleted)
		S: a OK …
		C: b EXPUNGE
		S~: b OK …
		C: c UID STORE 2 +FLAGS.SILENT (\Seen)
		S: c OK …
	`)
	s.deliver("INBOX", simpleMessage)
	return s, p
}

// TestQResync is RFC 7162 §3.2.5.
func TestQResync(t *testing.T) {
	_, p := away(t)
	p.run(`
		C: a SELECT INBOX (QRESYNC ({v} {known}))
		S~: * 6 EXISTS
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 3,6:7
		S: * 2 FETCH (FLAGS (\Seen) UID 2 MODSEQ ({two}))
		S: * 6 FETCH (FLAGS (…) UID 9 MODSEQ ({now}))
		S: a OK [READ-WRITE] …
		# only what the client knows
		C: b SELECT INBOX (QRESYNC ({v} {known} 4:6))
		S: * OK [CLOSED] …
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 6
		S: b OK …
		C: c EXAMINE INBOX (QRESYNC ({v} {known} 1:3 (1,5 1,5)) CONDSTORE)
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 3
		S: * 2 FETCH (FLAGS (\Seen) UID 2 MODSEQ ({two}))
		S: c OK [READ-ONLY] …
		# nothing new
		C: d SELECT INBOX (QRESYNC ({v} {now}))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: d OK …
		# another mailbox had that UIDVALIDITY
		C: e SELECT INBOX (QRESYNC (4711 {known}))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: e OK …
		C: f UID FETCH 1:* (FLAGS) (CHANGEDSINCE {known} VANISHED)
		S: * VANISHED (EARLIER) 3,6:7
		S: * 2 FETCH (UID 2 FLAGS (\Seen) MODSEQ ({two}))
		S: * 6 FETCH (UID 9 FLAGS (…) MODSEQ ({now}))
		S: f OK …
		C: g UID FETCH 4:6,8 (FLAGS) (CHANGEDSINCE {known} VANISHED)
		S: * VANISHED (EARLIER) 6
		S: g OK …
		# all that ever went, from the beginning of time
		C: h UID FETCH 1:* (UID) (CHANGEDSINCE 0 VANISHED)
		S: * VANISHED (EARLIER) 3,6:7
		S~: h OK …
	`)
}

// TestQResyncRefused: what is no QRESYNC.
func TestQResyncRefused(t *testing.T) {
	s, p := away(t)
	s.login().run(`
		C: a SELECT INBOX (QRESYNC (1 1))
		S: a BAD …
		C: b SELECT INBOX
		S~: b OK …
		C: c UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)
		S: c BAD …
	`)
	p.run(`
		C: a SELECT INBOX (QRESYNC ({v}))
		S: a BAD …
		C: a SELECT INBOX (QRESYNC ({v} {known} 1:*))
		S: a BAD …
		C: a SELECT INBOX (QRESYNC ({v} {known} 1:9 (1 *)))
		S: a BAD …
		C: a SELECT INBOX (QRESYNC {v} {known})
		S: a BAD …
		C: b SELECT INBOX
		S~: b OK …
		C: c FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)
		S: c BAD …
		C: c UID FETCH 1:* (FLAGS) (VANISHED)
		S: c BAD …
	`)
}

// TestQResyncPruned: the journal does not reach back to what the client knows.
func TestQResyncPruned(t *testing.T) {
	s, p := away(t)
	if _, err := s.pool.Exec(t.Context(), `WITH d AS (DELETE FROM mailbox_change WHERE true) UPDATE mailbox SET change_floor = modseq`); err != nil {
		t.Fatal(err)
	}
	p.run(`
		C: a SELECT INBOX (QRESYNC ({v} {known}))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 3,6:7
		S: * 2 FETCH (FLAGS (\Seen) UID 2 MODSEQ ({two}))
		S: * 6 FETCH (FLAGS (…) UID 9 MODSEQ ({now}))
		S: a OK …
		C: b SELECT INBOX (QRESYNC ({v} {known} 1:4,7:8))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 3,7
		S: * 2 FETCH …
		S: b OK …
		# number 2 is UID 2 still; number 5 was UID 5 and is 8 now
		C: c SELECT INBOX (QRESYNC ({v} {known} (1:2,5 1:2,5)))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 3,6:7
		S~: c OK …
		# UID 5 has the number 4: what stands before it is what stood before it
		C: d SELECT INBOX (QRESYNC ({v} {known} 1:8 (4 5)))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 6:7
		S~: d OK …
		C: e UID FETCH 2:6 (UID) (CHANGEDSINCE 1 VANISHED)
		S: * VANISHED (EARLIER) 3,6
		S~: e OK …
		# a mod-sequence that never was
		C: f SELECT INBOX (QRESYNC ({v} 99999999))
		S~: * OK [HIGHESTMODSEQ {now}] …
		S: * VANISHED (EARLIER) 3,6:7
		S: f OK …
	`)
}

// TestVanished is RFC 7162 §3.2.10: in every way in which messages go.
func TestVanished(t *testing.T) {
	s := newSite(t)
	for range 9 {
		s.deliver("INBOX", simpleMessage)
	}
	p, q, idle := s.open("INBOX"), s.open("INBOX"), s.open("INBOX")
	for _, one := range []*peer{p, idle} {
		one.run("C: a ENABLE QRESYNC\nS~: * ENABLED QRESYNC\nS: a OK …")
	}
	idle.run("C: b IDLE\nS: + …")
	p.run(`
		C: a STORE 2:3,5 +FLAGS.SILENT (\Deleted)
		S~: a OK …
		C: b UID EXPUNGE 1:2
		S: * VANISHED 2
		S: * … RECENT
		S: b OK [HIGHESTMODSEQ {one}] …
		C: c EXPUNGE
		S: * VANISHED 3,5
		S: * … RECENT
		S: c OK [HIGHESTMODSEQ {two}] …
		C: d UID MOVE 1 Archive
		S: * OK [COPYUID …
		S: * VANISHED 1
		S: * … RECENT
		S: d OK [HIGHESTMODSEQ {three}] …
		C: e EXPUNGE
		S: e OK EXPUNGE completed
	`)
	idle.run("S~: * VANISHED 2\nS~: * VANISHED 3,5\nS~: * VANISHED 1\nC: DONE\nS~: b OK …")
	// the others hear EXPUNGE
	q.run("C: a NOOP\nS~: * 5 EXPUNGE\nS: * 3 EXPUNGE\nS: * 2 EXPUNGE\nS: * 1 EXPUNGE\nS~: a OK …")
	q.run("C: b STORE 1 +FLAGS.SILENT (\\Deleted)\nS~: b OK …\nC: c EXPUNGE\nS~: * 1 EXPUNGE\nS~: c OK …")
	p.run(`
		# not while numbers are in use
		C: f FETCH 1 (FLAGS)
		S: * 1 FETCH (FLAGS …
		S!: * VANISHED…
		C: g UID FETCH 1:* (UID)
		S~: * VANISHED 4
		S~: g OK …
		C: h UNSELECT
		S: h OK …
	`)
}
