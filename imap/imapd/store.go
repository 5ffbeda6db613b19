package imapd

import (
	"context"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// storing is a STORE.
type storing struct {
	change mailstore.FlagChange
	silent bool
}

// storeModifiers are those of RFC 4466 §2.5.
var storeModifiers = map[string]func(st *storing, c *command) error{}

var errReadOnly = no("READ-ONLY", "The mailbox is opened read-only")

// cmdStore is STORE and UID STORE (RFC 3501 §6.4.6).
func (s *session) cmdStore(ctx context.Context, c *command) error {
	set, err := c.lex.NumSet()
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	st := new(storing)
	if err := st.parse(c); err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if err := s.mayStore(st); err != nil {
		return err
	}
	uids, err := s.messages(set, c.uid)
	if err != nil || uids.IsEmpty() {
		return err
	}
	if st.change.UnchangedSince != nil {
		s.aware()
	}
	done, storeErr := s.srv.Store.StoreFlags(ctx, s.box.account, s.box.id, uids, st.change)
	// A STORE that failed halfway changed something: that is told too.
	view, changes, err := s.srv.Store.AdvanceStored(ctx, s.box.view, !c.uid, &done)
	if err != nil {
		s.box.stale = true
		if storeErr != nil {
			return storeErr
		}
		return err
	}
	n := s.took(view, changes, !c.uid)
	if err := s.tellStored(ctx, c, st, n, uids.Subtract(done.Modified)); err != nil {
		return err
	}
	if storeErr != nil {
		return storeErr
	}
	return s.stored(c, uids, done.Modified)
}

// stored decides the tagged answer: by number, NO when some of the messages are
// not there any more (RFC 2180 §4.2.1).
func (s *session) stored(c *command, uids, left mailstore.UIDSet) error {
	gone := false
	if !c.uid && s.box.view.AnyGone() {
		for uid := range uids.Each {
			seq, ok := s.box.view.Seq(uid)
			gone = gone || ok && s.box.view.Gone(seq)
		}
	}
	return s.modified(c, left, gone)
}

func (st *storing) parse(c *command) error {
	if c.lex.IsList() {
		err := c.lex.List(func() error {
			word, err := c.lex.Keyword()
			if err != nil {
				return err
			}
			modifier, ok := storeModifiers[word]
			if !ok {
				return wire.Syntaxf("unknown modifier")
			}
			return modifier(st, c)
		})
		if err != nil {
			return err
		}
		if err := c.lex.SP(); err != nil {
			return err
		}
	}
	item, err := c.lex.Keyword()
	if err != nil {
		return err
	}
	item, st.silent = strings.CutSuffix(item, ".SILENT")
	switch item {
	case "FLAGS":
		st.change.Op = mailstore.SetFlags
	case "+FLAGS":
		st.change.Op = mailstore.AddFlags
	case "-FLAGS":
		st.change.Op = mailstore.RemoveFlags
	default:
		return wire.Syntaxf("expected FLAGS, +FLAGS or -FLAGS")
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	flags, err := storeFlags(c.lex)
	if err != nil {
		return err
	}
	st.change.Flags, st.change.Keywords, err = storable(flags)
	return err
}

// storeFlags reads a list of flags, or flags without parentheses.
func storeFlags(lex *wire.Lexer) (flags []imap.Flag, err error) {
	if lex.IsList() {
		return lex.FlagList()
	}
	for {
		f, err := lex.Flag()
		if err != nil {
			return nil, err
		}
		if flags = append(flags, f); !lex.Accept(' ') {
			return flags, nil
		}
		if len(flags) >= wire.MaxFlags {
			return nil, wire.Syntaxf("more than %d flags", wire.MaxFlags)
		}
	}
}

// tellStored writes what is new: for the messages of this STORE in the form
// that it asked for, and for others as ever. A session that knows of
// mod-sequences hears those of its own changes even when it asked for silence
// (RFC 7162 §3.1.3).
func (s *session) tellStored(ctx context.Context, c *command, st *storing, n news, uids mailstore.UIDSet) error {
	own := uids
	if st.silent {
		own = s.expected(st, n, uids)
	}
	n.Flagged = n.Flagged.Subtract(own)
	s.tell(ctx, n)
	if st.silent && !s.enabled[condstore] {
		return nil
	}
	if st.silent && st.change.UnchangedSince != nil {
		own = uids.Subtract(n.Flagged) // those that were as they should be, too
	}
	var marks mailstore.Marks
	if s.enabled[condstore] {
		var err error
		if marks, err = s.srv.Store.ModSeqs(ctx, s.box.view, own, 0); err != nil {
			return err
		}
	}
	names := flagNames{table: s.box.view.Keywords()}
	for uid := range own.Each {
		if seq, ok := s.box.view.Seq(uid); ok {
			s.tellOwn(c, st, &names, seq, uid, marks)
		}
	}
	return nil
}

// tellOwn writes the FETCH for a message of this STORE.
func (s *session) tellOwn(c *command, st *storing, names *flagNames, seq int, uid mailstore.UID, marks mailstore.Marks) {
	m, there := marks.Of(uid)
	if s.box.view.Gone(seq) || s.enabled[condstore] && !there {
		return // expunged: nothing was stored
	}
	s.enc.Raw("* ")
	s.enc.Number(uint64(seq))
	s.enc.Raw(" FETCH (")
	sep := ""
	if c.uid || s.enabled[qresync] { // RFC 7162 §3.2.4
		s.enc.Raw("UID ")
		s.enc.Number(uint64(uid))
		sep = " "
	}
	if !st.silent {
		s.enc.Raw(sep + "FLAGS " + names.text(s.box.view.Flags(seq), s.box.recent.Contains(uid)))
		sep = " "
	}
	if there {
		s.enc.Raw(sep)
		s.writeModSeq(m)
	}
	s.enc.Raw(")\r\n")
}

// expected are those of uids that have the flags which the client, who asked for
// silence, must think they have. If another session changed more, it is told.
func (s *session) expected(st *storing, n news, uids mailstore.UIDSet) mailstore.UIDSet {
	view := s.box.view
	bits := st.change.Flags
	for i, name := range view.Keywords() {
		for _, k := range st.change.Keywords {
			if name != "" && strings.EqualFold(name, k) {
				bits |= mailstore.KeywordFlag(i)
			}
		}
	}
	var same mailstore.UIDSet
	for uid := range n.Flagged.Intersect(uids).Each {
		seq, ok := view.Seq(uid)
		before, was := n.old.Seq(uid)
		if !ok || !was {
			continue
		}
		want := bits
		switch old := n.old.Flags(before); st.change.Op {
		case mailstore.AddFlags:
			want |= old
		case mailstore.RemoveFlags:
			want = old &^ bits
		}
		if view.Flags(seq) == want {
			same.Add(uid)
		}
	}
	return same
}
