package imapd

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/mailstore"
)

// node is a second server on the same database, with a store of its own. Its
// address is what dial connects to.
func (s *site) node(tune ...func(*mailstore.Options)) *site {
	s.t.Helper()
	pool := pgtest.PoolOn(s.t, s.pool.Config().ConnString())
	opt := mailstore.Options{Log: s.srv.Log}
	for _, f := range tune {
		f(&opt)
	}
	store, err := mailstore.Open(s.t.Context(), pool, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.srv.Config
	c.Store = store
	other := &site{t: s.t, srv: New(c), store: store, dir: s.dir, alice: s.alice, pool: pool}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	other.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- other.srv.Serve(ln, false) }()
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := other.srv.Shutdown(ctx); err != nil {
			s.t.Errorf("shutdown of the second node: %v", err)
		}
		if err := <-served; err != nil {
			s.t.Error(err)
		}
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return other
}

// TestOrderOfNews is rule 10: EXPUNGE, EXISTS, FLAGS for a new keyword, FETCH;
// and no EXPUNGE while sequence numbers are in use.
func TestOrderOfNews(t *testing.T) {
	s := newSite(t)
	for range 4 {
		s.deliver("INBOX", simpleMessage)
	}
	p, q := s.open("INBOX"), s.open("INBOX")
	q.run(`
		C: a UID STORE 1,3 +FLAGS.SILENT (\Deleted)
		S: a OK …
		C: b EXPUNGE
		S: * 3 EXPUNGE
		S: * 1 EXPUNGE
		S: b OK …
	`)
	s.deliver("INBOX", simpleMessage)
	q.run(`
		C: c NOOP
		S: * 3 EXISTS
		S: * 1 RECENT
		S: c OK …
		C: d STORE 2 +FLAGS ($Forwarded)
		S: * FLAGS (… $Forwarded)
		S: * OK [PERMANENTFLAGS (… $Forwarded \*)] …
		S: * 2 FETCH (FLAGS ($Forwarded))
		S: d OK …
	`)
	p.run(`
		C: a FETCH 1 UID
		S: * 1 FETCH (UID 1)
		S: * 5 EXISTS
		S: * 4 RECENT
		S: * FLAGS (… $Forwarded)
		S: * OK [PERMANENTFLAGS …] …
		S: * 4 FETCH (FLAGS (\Recent $Forwarded) UID 4)
		S: a OK …
		C: b STORE 2 +FLAGS (\Flagged)
		S: * 2 FETCH (FLAGS (\Flagged \Recent))
		S: b OK …
		C: c NOOP
		S: * 3 EXPUNGE
		S: * 1 EXPUNGE
		S: * 2 RECENT
		S: c OK …
		C: d FETCH 1:* (UID FLAGS)
		S: * 1 FETCH (UID 2 FLAGS (\Flagged \Recent))
		S: * 2 FETCH (UID 4 FLAGS (\Recent $Forwarded))
		S: * 3 FETCH (UID 5 FLAGS ())
		S: d OK …
	`)
}

// TestRecent: \Recent is given to one session; EXAMINE takes none.
func TestRecent(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	s.login().run("C: a EXAMINE INBOX\nS~: * 1 RECENT\nS~: a OK …")
	s.login().run("C: a STATUS INBOX (RECENT)\nS: * STATUS \"INBOX\" (RECENT 1)\nS: a OK …")
	p := s.login()
	p.run("C: a SELECT INBOX\nS~: * 1 RECENT\nS~: a OK …")
	q := s.login()
	q.run("C: a SELECT INBOX\nS~: * 0 RECENT\nS~: a OK …")
	s.deliver("INBOX", simpleMessage)
	p.run("C: b NOOP\nS: * 2 EXISTS\nS: * 2 RECENT\nS: b OK …")
	q.run("C: b NOOP\nS: * 2 EXISTS\nS: * 0 RECENT\nS: b OK …")
	q.run("C: c FETCH 2 FLAGS\nS: * 2 FETCH (FLAGS ())\nS: c OK …")
	p.run("C: c STORE 2 +FLAGS (\\Recent)\nS: c BAD …")
}

// TestIdle is rule 5.
func TestIdle(t *testing.T) {
	s := newSite(t)
	p := s.open("INBOX")
	s.deliver("INBOX", simpleMessage) // just before IDLE
	p.run("C: a IDLE\nS: + …\nS: * 1 EXISTS\nS: * 1 RECENT")
	for i := range 5 {
		s.deliver("INBOX", simpleMessage)
		p.run("S: * " + string(rune('2'+i)) + " EXISTS\nS: * {n} RECENT")
		delete(p.vars, "{n}")
	}
	q := s.open("INBOX")
	q.run("C: a STORE 1:2 +FLAGS.SILENT (\\Deleted)\nS: a OK …")
	p.run("S~: * 1 FETCH (FLAGS (\\Deleted \\Recent) UID 1)\nS: * 2 FETCH (FLAGS (\\Deleted \\Recent) UID 2)")
	q.run("C: b EXPUNGE\nS~: b OK …")
	p.run(`
		S: * 2 EXPUNGE
		S: * 1 EXPUNGE
		S: * 4 RECENT
		C: done
		S: a OK …
		C: b IDLE
		S: + …
		C: c NOOP
		S: b BAD …
		C: d NOOP
		S: d OK …
	`)
}

func TestIdleKeepalive(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Timeouts.Keepalive = 50 * time.Millisecond })
	p := s.login()
	p.run("C: a IDLE\nS: + …\nS: * OK Still here\nS: * OK Still here\nC: DONE\nS~: a OK …")
}

// TestTwoNodes: two servers on one database see each other's changes.
func TestTwoNodes(t *testing.T) {
	s := newSite(t)
	other := s.node()
	p, q := s.open("INBOX"), other.open("INBOX")
	p.run("C: a IDLE\nS: + …")
	other.deliver("INBOX", simpleMessage)
	p.run("S: * 1 EXISTS\nS: * {n} RECENT\nC: DONE\nS: a OK …")
	q.run("C: a NOOP\nS: * 1 EXISTS\nS: * {n} RECENT\nS: a OK …\nC: b IDLE\nS: + …")
	if p.vars["{n}"] == q.vars["{n}"] {
		t.Errorf("both or none have \\Recent: %s", p.vars["{n}"])
	}
	p.run("C: b STORE 1 +FLAGS.SILENT (\\Deleted $x)\nS~: b OK …")
	q.run("S: * FLAGS (… $x)\nS: * OK [PERMANENTFLAGS …] …\nS: * 1 FETCH (FLAGS …$x) UID 1)")
	p.run("C: c EXPUNGE\nS: * 1 EXPUNGE\nS~: c OK …")
	q.run("S: * 1 EXPUNGE\nC: DONE\nS~: b OK …")
}

func TestStore(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.deliver("INBOX", simpleMessage)
	}
	s.open("INBOX").run(`
		C: a STORE 1 FLAGS (\Seen \flagged)
		S: * 1 FETCH (FLAGS (\Flagged \Seen \Recent))
		S: a OK …
		C: b UID STORE 1 -FLAGS \Flagged
		S: * 1 FETCH (UID 1 FLAGS (\Seen \Recent))
		S: b OK …
		C: c STORE 1 +FLAGS.SILENT \Answered \Draft
		S: c OK …
		C: d FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS (\Answered \Seen \Draft \Recent))
		S: d OK …
		C: e STORE 1 FLAGS ()
		S: * 1 FETCH (FLAGS (\Recent))
		S: e OK …
		C: f STORE 2:3 +FLAGS (Junk $label1)
		S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft Junk $label1)
		S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft Junk $label1 \*)] …
		S: * 2 FETCH (FLAGS (\Recent Junk $label1))
		S: * 3 FETCH (FLAGS (\Recent Junk $label1))
		S: f OK …
		C: g STORE 2 +FLAGS.SILENT (junk)
		S: g OK …
		C: h UID STORE 999 +FLAGS (\Seen)
		S: h OK …
		C: i STORE 9 +FLAGS (\Seen)
		S: i BAD …
		C: j STORE 1 +FLAGS (\Foo)
		S: j BAD …
		C: k STORE 1 +FLAGS (\Recent)
		S: k BAD …
		C: l STORE 1 FOO (\Seen)
		S: l BAD …
		C: m STORE 1 +FLAGS
		S: m BAD …
	`)
}

// TestKeywordLimit: the table of keywords is full at some time.
func TestKeywordLimit(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	p := s.open("INBOX")
	var all []string
	for i := range mailstore.MaxKeywords {
		all = append(all, "k"+string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	p.run("C: a STORE 1 +FLAGS.SILENT (" + strings.Join(all, " ") + ")\nS: * FLAGS …\nS: * OK [PERMANENTFLAGS (… kcc)] …\nS: a OK …")
	p.run("C: b STORE 1 +FLAGS.SILENT (onemore)\nS: b NO [LIMIT] …")
	p.run("C: c STORE 1 +FLAGS.SILENT (KAA)\nS: c OK …")
}

func TestExpunge(t *testing.T) {
	s := newSite(t)
	for range 6 {
		s.deliver("INBOX", simpleMessage)
	}
	p := s.open("INBOX")
	p.run(`
		C: a STORE 1:4 +FLAGS.SILENT (\Deleted)
		S: a OK …
		C: b UID EXPUNGE 2,5:*
		S: * 2 EXPUNGE
		S: * 5 RECENT
		S: b OK …
		C: c UNSELECT
		S: c OK …
		C: d FETCH 1 FLAGS
		S: d BAD …
		C: e SELECT INBOX
		S~: * 5 EXISTS
		S~: e OK …
		C: f CLOSE
		S: f OK …
		C: g SELECT INBOX
		S~: * 2 EXISTS
		S~: g OK …
		C: h UID FETCH 1:* UID
		S: * 1 FETCH (UID 5)
		S: * 2 FETCH (UID 6)
		S: h OK …
		C: i EXPUNGE
		S: i OK …
		# a command that is none changes nothing; one that fails unselects
		C: ia SELECT
		S: ia BAD …
		C: ib SELECT INBOX (NONSENSE)
		S: ib BAD …
		C: ic FETCH 1 UID
		S: * 1 FETCH (UID 5)
		S: ic OK …
		C: j SELECT Nowhere
		S~: j NO [NONEXISTENT] …
		C: k FETCH 1 UID
		S: k BAD …
	`)
}

func TestCopyMove(t *testing.T) {
	s := newSite(t)
	for range 4 {
		s.deliver("INBOX", simpleMessage)
	}
	p := s.open("INBOX")
	p.run(`
		C: a STORE 2 +FLAGS.SILENT (\Seen $x)
		S~: a OK …
		C: b COPY 2:3 Archive
		S: b OK [COPYUID {validity} 2:3 1:2] …
		C: c UID COPY 4 Archive
		S: c OK [COPYUID {validity} 4 3] …
		C: d COPY 1 Nowhere
		S: d NO [TRYCREATE] …
		C: e UID COPY 99 Archive
		S: e OK …
		C: f MOVE 1 Trash
		S: * OK [COPYUID {trash} 1 1] …
		S: * 1 EXPUNGE
		S: * 3 RECENT
		S: f OK …
		C: g UID MOVE 3:4 Trash
		S: * OK [COPYUID {trash} 3:4 2:3] …
		S: * 3 EXPUNGE
		S: * 2 EXPUNGE
		S: * 1 RECENT
		S: g OK …
		C: h MOVE 1 Nowhere
		S: h NO [TRYCREATE] …
		C: i UID MOVE 99 Trash
		S: i OK …
		C: j EXAMINE Archive
		S~: * 3 EXISTS
		S~: j OK …
		C: k FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS (\Seen … $x))
		S: k OK …
		C: l UID MOVE 1 INBOX
		S: l NO [READ-ONLY] …
		C: m UID COPY 1 INBOX
		S: m OK [COPYUID {inbox} 1 5] …
	`)
}

// TestEmptyMailbox is rule 7: sets on an empty mailbox are OK.
func TestEmptyMailbox(t *testing.T) {
	newSite(t).open("INBOX").run(`
		C: a UID FETCH 1:* (FLAGS)
		S: a OK …
		C: b FETCH 1:* (FLAGS)
		S: b OK …
		C: c UID FETCH * UID
		S: c OK …
		C: d UID STORE 1:* +FLAGS (\Seen)
		S: d OK …
		C: e UID COPY 1:* Trash
		S: e OK …
		C: f UID MOVE 1 Trash
		S: f OK …
		C: g UID EXPUNGE 1:*
		S: g OK …
	`)
}

// TestLongSet: 20,000 UIDs in one line.
func TestLongSet(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	var set strings.Builder
	for i := range 20_000 {
		if i > 0 {
			set.WriteByte(',')
		}
		set.WriteString(mailstore.UIDs(mailstore.UID(2*i + 1)).String())
	}
	p := s.open("INBOX")
	p.run("C: a UID FETCH " + set.String() + " UID\nS: * 1 FETCH (UID 1)\nS: a OK …")
	p.send("b UID FETCH " + strings.Repeat("1,", 600<<10) + "1 UID\r\n")
	p.run("S: * BYE …")
}

// TestDeletedWhileSelected: another session deletes the mailbox.
func TestDeletedWhileSelected(t *testing.T) {
	s := newSite(t)
	if _, err := s.store.CreateMailbox(t.Context(), s.alice, "Old", mailstore.None); err != nil {
		t.Fatal(err)
	}
	p := s.open("Old")
	if err := s.store.DeleteMailbox(t.Context(), s.alice, "Old"); err != nil {
		t.Fatal(err)
	}
	p.run("C: a NOOP\nS: * BYE …\nEOF:")
}
