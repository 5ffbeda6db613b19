package imapd

import (
	"context"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// QRESYNC (RFC 7162 §3.2): a client that comes back hears what happened meanwhile,
// and expunges by UID. A VANISHED that is wrong empties a client's folder: what is
// named was looked for in the view and is not there.
const qresync imap.Cap = "QRESYNC"

func init() {
	enableable[qresync] = func(s *session) {
		s.aware()
	}
	selectParams["QRESYNC"] = parseResync
	fetchModifiers["VANISHED"] = func(f *fetch, c *command) error {
		f.vanished = true
		return nil
	}
}

// resync is what a client knows of a mailbox that it selects (§3.2.5).
type resync struct {
	validity uint32
	since    mailstore.ModSeq
	known    wire.NumSet // nil: all UIDs there were
	seqs     wire.NumSet // numbers that the client knows, …
	uids     wire.NumSet // … and the UIDs that they had
}

// parseResync reads SP "(" uidvalidity SP mod-sequence [SP known-uids] [SP
// seq-match-data] ")".
func parseResync(s *session, lex *wire.Lexer, sel *selection) error {
	if !s.enabled[qresync] {
		return bad("QRESYNC was not enabled")
	}
	if err := lex.SP(); err != nil {
		return err
	}
	if err := lex.Enter(); err != nil {
		return err
	}
	r := new(resync)
	var err error
	if r.validity, err = lex.Number(); err != nil {
		return err
	}
	if err := lex.SP(); err != nil {
		return err
	}
	if r.since, err = modSeqValue(lex); err != nil {
		return err
	}
	if err := r.parseKnown(lex); err != nil {
		return err
	}
	sel.resync = r
	return lex.Leave()
}

func (r *resync) parseKnown(lex *wire.Lexer) (err error) {
	if !lex.Accept(' ') {
		return nil
	}
	if !lex.IsList() {
		if r.known, err = knownSet(lex); err != nil || !lex.Accept(' ') {
			return err
		}
	}
	if err := lex.Enter(); err != nil {
		return err
	}
	if r.seqs, err = knownSet(lex); err != nil {
		return err
	}
	if err := lex.SP(); err != nil {
		return err
	}
	if r.uids, err = knownSet(lex); err != nil {
		return err
	}
	return lex.Leave()
}

// knownSet reads a set without "*", which would not say what the client knows.
func knownSet(lex *wire.Lexer) (wire.NumSet, error) {
	set, err := lex.NumSet()
	if set.Saved() {
		return nil, bad("$ is not a UID that is known")
	}
	for _, r := range set {
		if r.First == wire.Star || r.Last == wire.Star {
			return nil, bad("* is not a UID that is known")
		}
	}
	return set, err
}

// resync tells what happened to the messages that the client knows: VANISHED
// first, then FETCH (§3.2.5.1).
func (s *session) resync(ctx context.Context, r *resync) error {
	view := s.box.view
	if r.validity != s.box.validity || view.UIDNext() <= 1 {
		return nil // the client's knowledge is of another mailbox, or there was nothing to know
	}
	known := mailstore.UIDsBetween(1, view.UIDNext()-1)
	if r.known != nil {
		known = uidSet(r.known.Within(uint32(view.UIDNext() - 1))).Intersect(known)
	}
	since, err := s.srv.Store.Since(ctx, view, r.since, known, r.matched(view))
	if err != nil {
		return inBox(err)
	}
	s.tellEarlier(since.Vanished)
	names := flagNames{table: view.Keywords()}
	for _, m := range since.Changed {
		if seq, ok := view.Seq(m.UID); ok {
			s.tellFlags(&names, seq, m.UID, m.ModSeq)
		}
	}
	return s.enc.Err()
}

// matched is the highest UID that still has the number which the client gives for
// it (§3.2.5.2): as many messages stand before it as did, and none is ever put
// in between, so none of them vanished. Pairs are read as far as both sets go.
func (r *resync) matched(view *mailstore.View) mailstore.UID {
	var best mailstore.UID
	uids := r.uids.Within(1)
	for _, seqs := range r.seqs.Within(1) {
		for seq := uint64(seqs.First); seq <= uint64(seqs.Last); seq++ {
			if len(uids) == 0 || seq > uint64(view.Len()) {
				return best
			}
			if uid := mailstore.UID(uids[0].First); view.UID(int(seq)) == uid {
				best = uid
			}
			if uids[0].First++; uids[0].First > uids[0].Last {
				uids = uids[1:]
			}
		}
	}
	return best
}

// uidSet turns ranges of a client into a set.
func uidSet(ranges []wire.NumRange) mailstore.UIDSet {
	set := make(mailstore.UIDSet, 0, len(ranges))
	for _, r := range ranges {
		set.AddRange(mailstore.UID(r.First), mailstore.UID(r.Last))
	}
	return set
}

// earlier answers UID FETCH (CHANGEDSINCE n VANISHED) (§3.2.6): before the FETCHs.
func (s *session) earlier(ctx context.Context, set wire.NumSet, n mailstore.ModSeq) error {
	view := s.box.view
	if view.UIDNext() <= 1 {
		return nil
	}
	since, err := s.srv.Store.Since(ctx, view, n, uidSet(set.Within(uint32(view.UIDNext()-1))), 0)
	if err != nil {
		return inBox(err)
	}
	s.tellEarlier(since.Vanished)
	return nil
}

func (s *session) tellEarlier(gone mailstore.UIDSet) {
	if !gone.IsEmpty() {
		s.enc.Raw("* VANISHED (EARLIER) ")
		s.enc.Bytes(gone.AppendTo(nil))
		s.enc.CRLF()
	}
}

// tellVanished is what EXPUNGE is to a client that enabled QRESYNC (§3.2.10).
func (s *session) tellVanished(gone mailstore.UIDSet) {
	if gone.IsEmpty() {
		return
	}
	s.enc.Raw("* VANISHED ")
	s.enc.Bytes(gone.AppendTo(nil))
	s.enc.CRLF()
	s.box.recent = s.box.recent.Subtract(gone)
}

// toldAll puts into the tagged answer how far the client knows the mailbox after
// messages went (§3.2.7, §3.2.8): not where news could not be fetched. CLOSE has
// no such answer, as it tells nothing of the news.
func (s *session) toldAll(c *command) {
	if s.enabled[qresync] && !s.box.stale && c.code == "" {
		c.code = highestModSeq(s.box.told)
	}
}
