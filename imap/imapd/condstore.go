package imapd

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// CONDSTORE (RFC 7162 §3.1): mod-sequences of messages and mailboxes. Every
// mailbox has them, so NOMODSEQ is never said.
const condstore imap.Cap = "CONDSTORE"

func init() {
	statusItems["HIGHESTMODSEQ"] = func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.HighestModSeq) }
	selectParams["CONDSTORE"] = func(s *session, lex *wire.Lexer, sel *selection) error {
		sel.condstore = true
		return nil
	}
	enableable[condstore] = (*session).aware
	fetchAttributes["MODSEQ"] = fetchItem{name: "MODSEQ", write: writeModSeq}
	fetchModifiers["CHANGEDSINCE"] = parseChangedSince
	storeModifiers["UNCHANGEDSINCE"] = parseUnchangedSince
	searchKeys["MODSEQ"] = modSeqKey
}

// aware makes the session one that hears mod-sequences (§3.1): by ENABLE, or
// because it used one of the commands that do it. Of the mailbox that is selected
// already it is told how far it knows it.
func (s *session) aware() {
	if s.enabled[condstore] {
		return
	}
	s.enable(condstore)
	if s.box != nil {
		s.enc.Raw("* OK [" + highestModSeq(s.box.told) + "] Highest\r\n")
	}
}

func highestModSeq(m mailstore.ModSeq) string {
	return "HIGHESTMODSEQ " + strconv.FormatUint(uint64(m), 10)
}

// modSeqValue reads mod-sequence-valzer: 0 is welcome, as iOS sends it.
func modSeqValue(lex *wire.Lexer) (mailstore.ModSeq, error) {
	n, err := lex.Number64()
	return mailstore.ModSeq(n), err
}

// fetchesModSeq reports whether the answers of a FETCH need mod-sequences.
func (f *fetch) fetchesModSeq() bool {
	return f.changedSince != nil || f.has("MODSEQ") || f.marks && f.s.enabled[condstore]
}

// parseChangedSince reads CHANGEDSINCE n (§3.1.4.1), which asks for MODSEQ, too.
func parseChangedSince(f *fetch, c *command) error {
	if err := c.lex.SP(); err != nil {
		return err
	}
	n, err := modSeqValue(c.lex)
	if err != nil {
		return err
	}
	f.changedSince = &n
	if !f.has("MODSEQ") {
		f.items = append(f.items, fetchAttributes["MODSEQ"])
	}
	return nil
}

// markBatches is how many messages' mod-sequences a FETCH holds in memory.
const markBatches = 5000

// withModSeqs answers in batches, each with its mod-sequences: for all of uids, or
// those that changed since.
func (f *fetch) withModSeqs(uids mailstore.UIDSet, run func(mailstore.UIDSet) (int, error)) (missing int, err error) {
	if f.changedSince != nil {
		since, err := f.s.srv.Store.Since(f.ctx, f.s.box.view, *f.changedSince, uids, 0)
		if err != nil {
			return 0, err
		}
		uids = f.page(since.Changed.UIDs())
	}
	for !uids.IsEmpty() && err == nil {
		batch := firstUIDs(uids, markBatches)
		uids = uids.Subtract(batch)
		var n int
		n, err = run(batch)
		missing += n
	}
	return missing, err
}

// readModSeqs reads the mod-sequences of a batch: after what the FETCH itself
// changed.
func (f *fetch) readModSeqs(batch mailstore.UIDSet) (err error) {
	if f.needsModSeq {
		f.modSeqs, err = f.s.srv.Store.ModSeqs(f.ctx, f.s.box.view, batch, 0)
	}
	return err
}

// modSeq is that of a message of the batch. One that was expunged, which the
// client was not told, has none any more: it must not let the client think that
// it knows more than it was told.
func (f *fetch) modSeq(uid mailstore.UID) mailstore.ModSeq {
	if m, ok := f.modSeqs.Of(uid); ok {
		return m
	}
	return f.s.box.told
}

func writeModSeq(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.writeModSeq(f.modSeq(m.uid))
	return nil
}

// writeModSeq writes the FETCH item.
func (s *session) writeModSeq(m mailstore.ModSeq) {
	s.enc.Raw("MODSEQ (")
	s.enc.Number(uint64(m))
	s.enc.Byte(')')
}

// parseUnchangedSince reads UNCHANGEDSINCE n (§3.1.3).
func parseUnchangedSince(st *storing, c *command) error {
	if err := c.lex.SP(); err != nil {
		return err
	}
	n, err := modSeqValue(c.lex)
	st.change.UnchangedSince = &n
	return err
}

// modified decides the tagged answer of a conditional STORE: MODIFIED names what
// was left alone because it changed since, by number or by UID as the command
// did. With gone, some messages are not there any more.
func (s *session) modified(c *command, left mailstore.UIDSet, gone bool) error {
	if !c.uid {
		left = s.sequenceNumbers(left)
	}
	code := ""
	if !left.IsEmpty() {
		code = "MODIFIED " + left.String()
	}
	if gone {
		if code == "" {
			code = "EXPUNGEISSUED"
		}
		return no(imap.ResponseCode(code), "Some of the messages have been deleted")
	}
	if c.code = code; code != "" {
		c.text = "Conditional STORE left some messages alone"
	}
	return nil
}

// maxModSeqKeys bounds how often one search asks the database for them.
const maxModSeqKeys = 20

// modSeqKey reads MODSEQ [entry type] n (§3.1.5). Metadata items have no
// mod-sequences of their own here: the message's counts (the RFC allows it).
func modSeqKey(p *searchParser) (c mailstore.Criteria, err error) {
	if err := p.lex.SP(); err != nil {
		return c, err
	}
	if p.lex.IsString() {
		if err := modSeqEntry(p.lex); err != nil {
			return c, err
		}
	}
	n, err := modSeqValue(p.lex)
	if err != nil {
		return c, err
	}
	if p.modSeqs++; p.modSeqs > maxModSeqKeys {
		return c, no("LIMIT", "More than %d MODSEQ keys", maxModSeqKeys)
	}
	p.s.aware()
	if n <= 1 {
		return mailstore.Criteria{}, nil // every message
	}
	since := func(ctx context.Context, s *session, box *mailbox) (mailstore.UIDSet, error) {
		if n > box.view.ModSeq() {
			return nil, nil
		}
		since, err := s.srv.Store.Since(ctx, box.view, n-1, box.view.UIDs(1, box.view.Len()), 0)
		return since.Changed.UIDs(), err
	}
	if p.late != nil {
		return p.late.add(since), nil
	}
	uids, err := since(p.ctx, p.s, p.s.box)
	return mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: uids}, err
}

// modSeqEntry reads "/flags/name" SP (all | priv | shared) SP.
func modSeqEntry(lex *wire.Lexer) error {
	name, err := lex.QuotedOrLiteral()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToLower(name), "/flags/") {
		return bad("Unknown entry name")
	}
	if err := lex.SP(); err != nil {
		return err
	}
	kind, err := lex.Keyword()
	if err != nil {
		return err
	}
	if kind != "ALL" && kind != "PRIV" && kind != "SHARED" {
		return bad("Expected all, priv or shared")
	}
	return lex.SP()
}

// highestOf is the highest mod-sequence among messages of the view, which SEARCH
// and SORT answer with when the program asks for MODSEQ (§3.1.5, §3.1.6).
func (s *session) highestOf(ctx context.Context, view *mailstore.View, uids mailstore.UIDSet) (top mailstore.ModSeq, err error) {
	for !uids.IsEmpty() {
		batch := firstUIDs(uids, markBatches)
		uids = uids.Subtract(batch)
		marks, err := s.srv.Store.ModSeqs(ctx, view, batch, 0)
		if err != nil {
			return 0, err
		}
		for _, m := range marks {
			top = max(top, m.ModSeq)
		}
	}
	return top, nil
}

// inBox maps the loss of the selected mailbox to the end of the session.
func inBox(err error) error {
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return bye(imap.ResponseCodeNonExistent, "The selected mailbox was deleted")
	}
	return err
}
