package imapd

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// maxFetchItems bounds the items of one FETCH.
const maxFetchItems = 500

// markBatch is how many messages are marked \Seen at a time, before they are
// sent: no more than these are marked in vain when the client goes away.
const markBatch = 250

// fetch is a FETCH that is being answered.
type fetch struct {
	s     *session
	ctx   context.Context
	names flagNames

	items    []fetchItem
	fields   mailstore.Fields
	stored   bool             // something beyond UID and FLAGS is asked for
	marks    bool             // a body is asked for without PEEK
	hasFlags bool             // FLAGS is asked for
	marked   mailstore.UIDSet // became \Seen: their FLAGS are part of the answer
	failed   error            // the first body that could not be read

	changedSince *mailstore.ModSeq // CHANGEDSINCE
	vanished     bool              // VANISHED
	partial      *partialRange     // PARTIAL
	needsModSeq  bool              // some answers tell mod-sequences
	modSeqs      mailstore.Marks   // of the batch that is being answered
}

// fetched is one message while it is written.
type fetched struct {
	seq   int
	uid   mailstore.UID
	flags mailstore.Flags
	row   *mailstore.Message // nil unless fetch.stored
	body  *mailstore.BodyReader
	parts *parts
}

// cmdFetch is FETCH and UID FETCH (RFC 3501 §6.4.5).
func (s *session) cmdFetch(ctx context.Context, c *command) error {
	set, err := c.lex.NumSet()
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	f := &fetch{s: s, ctx: ctx}
	if err := f.parse(c); err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if f.needsModSeq {
		s.aware()
	}
	if f.changedSince != nil {
		// Who polls for changes hears of what other servers did, too.
		if err := s.syncNow(ctx, !c.uid); err != nil {
			return err
		}
	}
	uids, err := s.messages(set, c.uid)
	if err != nil {
		return err
	}
	if f.vanished {
		if err := s.earlier(ctx, set, *f.changedSince); err != nil {
			return err
		}
	}
	missing, err := f.run(uids)
	if err == nil {
		err = f.failed
	}
	if err == nil && missing > 0 && !c.uid { // RFC 2180 §4.1.3
		err = no("EXPUNGEISSUED", "%d of the messages have been deleted", missing)
	}
	return err
}

// parse reads the items and the modifiers.
func (f *fetch) parse(c *command) error {
	var err error
	if c.lex.IsList() {
		err = c.lex.List(func() error { return f.parseItem(c.lex, false) })
	} else {
		err = f.parseItem(c.lex, true)
	}
	if err != nil {
		return err
	}
	if len(f.items) == 0 {
		return wire.Syntaxf("nothing to fetch")
	}
	for c.lex.Accept(' ') && c.lex.IsList() {
		if err := f.parseModifiers(c); err != nil {
			return err
		}
	}
	if c.uid && !f.has("UID") {
		f.items = append([]fetchItem{fetchAttributes["UID"]}, f.items...)
	}
	f.prepare()
	f.marks = f.marks && f.s.may(mailstore.RightSeen) == nil
	f.needsModSeq = f.fetchesModSeq()
	if f.vanished && (!c.uid || f.changedSince == nil || !f.s.enabled[qresync]) {
		return bad("VANISHED is for UID FETCH with CHANGEDSINCE, after ENABLE QRESYNC")
	}
	f.items = once(f.items)
	return nil
}

// prepare sums up what the items need.
func (f *fetch) prepare() {
	for _, item := range f.items {
		f.fields |= item.fields
		f.stored = f.stored || item.stored
		f.marks = f.marks || item.marks
	}
	f.hasFlags = f.has("FLAGS")
}

// once drops what was asked for twice. BODY[] and BODY.PEEK[] are one item in
// the answer; two partials that begin alike are not.
func once(items []fetchItem) []fetchItem {
	seen := make(map[string]bool, len(items))
	return slices.DeleteFunc(items, func(item fetchItem) bool {
		key := item.name
		if item.section != nil && item.section.some {
			key += strconv.FormatInt(item.section.count, 10)
		}
		was := seen[key]
		seen[key] = true
		return was
	})
}

// fetchModifiers are those of RFC 4466 §2.4.
var fetchModifiers = map[string]func(f *fetch, c *command) error{}

func (f *fetch) parseModifiers(c *command) error {
	return c.lex.List(func() error {
		word, err := c.lex.Keyword()
		if err != nil {
			return err
		}
		modifier, ok := fetchModifiers[word]
		if !ok {
			return wire.Syntaxf("unknown modifier")
		}
		return modifier(f, c)
	})
}

func (f *fetch) has(name string) bool {
	for _, item := range f.items {
		if item.name == name {
			return true
		}
	}
	return false
}

// run answers for all messages, and counts those that are not there any more.
func (f *fetch) run(uids mailstore.UIDSet) (missing int, err error) {
	if f.changedSince == nil {
		uids = f.page(uids)
	}
	if f.needsModSeq {
		return f.withModSeqs(uids, f.answer)
	}
	return f.answer(uids)
}

func (f *fetch) answer(uids mailstore.UIDSet) (missing int, err error) {
	if !f.stored {
		return 0, f.fromView(uids)
	}
	if !f.marks {
		return f.fromStore(uids)
	}
	for !uids.IsEmpty() {
		batch := firstUIDs(uids, markBatch)
		uids = uids.Subtract(batch)
		if err := f.mark(batch); err != nil {
			return missing, err
		}
		n, err := f.fromStore(batch)
		if missing += n; err != nil {
			return missing, err
		}
	}
	return missing, nil
}

// fromView answers FLAGS and UID without a query.
func (f *fetch) fromView(uids mailstore.UIDSet) error {
	if err := f.readModSeqs(uids); err != nil {
		return err
	}
	view := f.s.box.view
	f.names.table = view.Keywords()
	for _, r := range uids {
		lo, _ := view.Seq(r.Lo)
		hi, _ := view.Seq(r.Hi)
		m := new(fetched)
		view.Each(lo, hi, func(seq int, uid mailstore.UID, flags mailstore.Flags) bool {
			m.seq, m.uid, m.flags = seq, uid, flags
			return f.write(m) == nil
		})
	}
	return f.s.enc.Err()
}

// fromStore answers from pages of prepared bytes. While a page is written no
// transaction and no connection of the database is held.
func (f *fetch) fromStore(uids mailstore.UIDSet) (missing int, err error) {
	if err := f.readModSeqs(uids); err != nil {
		return 0, err
	}
	s := f.s
	f.names.table = s.box.view.Keywords()
	missing = uids.Len()
	group := bodyGroup{f: f}
	err = f.read(uids, func(row *mailstore.Message) error {
		seq, ok := s.box.view.Seq(row.UID)
		if !ok {
			return nil
		}
		missing--
		m := &fetched{seq: seq, uid: row.UID, flags: s.box.view.Flags(seq), row: row}
		return group.write(m)
	})
	if err == nil {
		err = group.flush()
	}
	return missing, err
}

// mark sets \Seen where it is not set, and brings the view forward, so that the
// answers show it.
func (f *fetch) mark(batch mailstore.UIDSet) error {
	s := f.s
	var unseen mailstore.UIDSet
	for uid := range batch.Each {
		if seq, ok := s.box.view.Seq(uid); ok && s.box.view.Flags(seq)&mailstore.FlagSeen == 0 {
			unseen.Add(uid)
		}
	}
	if unseen.IsEmpty() {
		return nil
	}
	done, err := s.srv.Store.StoreFlags(f.ctx, s.box.account, s.box.id, unseen,
		mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagSeen})
	if err != nil {
		return err
	}
	n, err := s.advance(f.ctx, true)
	if err != nil {
		return err
	}
	f.marked = f.marked.Union(done.Changed)
	n.Flagged = n.Flagged.Subtract(done.Changed)
	s.tell(f.ctx, n)
	return nil
}

// write writes the response for one message. An error ends the whole FETCH.
func (f *fetch) write(m *fetched) error {
	enc := f.s.enc
	enc.Raw("* ")
	enc.Number(uint64(m.seq))
	enc.Raw(" FETCH (")
	for i := range f.items {
		if i > 0 {
			enc.SP()
		}
		if err := f.items[i].write(f, m, &f.items[i]); err != nil {
			return err
		}
	}
	if !f.hasFlags && f.marked.Contains(m.uid) {
		enc.Raw(" FLAGS " + f.names.text(m.flags, f.s.box.recent.Contains(m.uid)))
	}
	if f.marked.Contains(m.uid) && f.s.enabled[condstore] && !f.has("MODSEQ") {
		enc.SP()
		f.s.writeModSeq(f.modSeq(m.uid))
	}
	enc.Raw(")\r\n")
	return enc.Err()
}

// unreadable notes that a part could not be read, after NIL was written for it:
// the rest of the answer goes on, and the tagged one is NO.
func (f *fetch) unreadable(err error) {
	if f.failed == nil {
		f.failed = err
	}
}

// errTorn ends the session: a literal was announced and cannot be completed.
var errTorn = fmt.Errorf("%w: the body ended in the middle of a literal", errClosed)

// firstUIDs is the first n UIDs of a set.
func firstUIDs(set mailstore.UIDSet, n int) mailstore.UIDSet {
	var out mailstore.UIDSet
	for _, r := range set {
		if size := int(r.Hi-r.Lo) + 1; size >= n {
			out.AddRange(r.Lo, r.Lo+mailstore.UID(n-1))
			break
		} else {
			n -= size
			out.AddRange(r.Lo, r.Hi)
		}
	}
	return out
}
