package imapd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/spool"
	"posthouse/mailstore"
)

// appending is an APPEND, or a REPLACE, while it is read.
type appending struct {
	s        *session
	ctx      context.Context
	lex      *wire.Lexer
	mailbox  string
	to       mailstore.Reached // the mailbox, once something was admitted
	messages []appended
	size     int64 // octets of all messages so far
	replaces bool  // REPLACE: the quota is asked once the old message is out
}

// appended is one message of it.
type appended struct {
	flags    mailstore.Flags
	keywords []string
	date     time.Time // zero: now
	body     *spool.Spool
}

// cmdAppend is APPEND (RFC 3501 §6.3.11), of one message or of several (RFC
// 3502). They stream into spools and are stored as they are, octet by octet, in
// one transaction.
func (s *session) cmdAppend(ctx context.Context, c *command) error {
	a := &appending{s: s, ctx: ctx, lex: c.lex}
	defer a.close()
	if err := a.destination(); err != nil {
		return err
	}
	for more := true; more; more = c.lex.Peek() == ' ' {
		if len(a.messages) > 0 && c.lex.Accept(' ') && c.lex.AtEnd() {
			break // a space too many
		}
		if err := a.message(); err != nil {
			return err
		}
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	return a.deliver(c, nil)
}

// destination reads the mailbox and the space behind it. What can be refused is,
// before a client that waits sends it all; but not before the message's flags and
// date are known to be well formed.
func (a *appending) destination() (err error) {
	if a.mailbox, err = a.s.mailboxArg(a.lex); err != nil {
		return err
	}
	return a.lex.SP()
}

// message reads [flag-list SP] [date-time SP] and the message.
func (a *appending) message() (err error) {
	if len(a.messages) == mailstore.MaxTogether {
		return no(imap.ResponseCodeLimit, "More than %d messages in one APPEND", mailstore.MaxTogether)
	}
	a.messages = append(a.messages, appended{})
	m := &a.messages[len(a.messages)-1]
	if a.lex.IsList() {
		names, err := a.lex.FlagList()
		if err != nil {
			return err
		}
		if m.flags, m.keywords, err = storable(names); err != nil {
			return err
		}
		if err := a.lex.SP(); err != nil {
			return err
		}
	}
	if a.lex.Peek() == '"' {
		if m.date, err = a.lex.DateTime(); err != nil {
			return err
		}
		if err := a.lex.SP(); err != nil {
			return err
		}
	}
	if a.lex.IsLiteral() {
		err = a.literal(m)
	} else {
		err = a.data(m)
	}
	if err == nil && m.body.Size() == 0 {
		err = errEmptyMessage
	}
	return err
}

// appendData are the words that a message may begin with instead of being a
// literal. They are added by the files that honour them.
var appendData = map[string]func(a *appending, m *appended) error{}

func (a *appending) data(m *appended) error {
	word, err := a.lex.Keyword()
	if err != nil {
		return err
	}
	read, ok := appendData[word]
	if !ok {
		return wire.Syntaxf("expected a literal")
	}
	return read(a, m)
}

// errEmptyMessage is also how a client takes back the messages that it has sent
// before (RFC 3502 §4).
var errEmptyMessage = no("", "An empty message cannot be appended")

// literal reads a message that is one literal.
func (a *appending) literal(m *appended) error {
	lit, err := a.lex.Literal()
	if err != nil {
		return err
	}
	if lit.Size == 0 {
		return errEmptyMessage
	}
	a.open(m)
	if err := a.admit(m, lit.Size); err != nil {
		return err
	}
	return a.receive(lit, m)
}

// admit refuses what would fail in the end, with size octets more for m.
func (a *appending) admit(m *appended, size int64) error {
	if size > a.s.srv.MaxMessage-m.body.Size() {
		return no(imap.ResponseCodeTooBig, "The message is larger than %d octets", a.s.srv.MaxMessage)
	}
	if size > maxAppends*a.s.srv.MaxMessage-a.size {
		return no(imap.ResponseCodeTooBig, "The messages of one APPEND are larger than %d octets", maxAppends*a.s.srv.MaxMessage)
	}
	if err := a.reach(); err != nil {
		return err
	}
	if a.replaces {
		return nil
	}
	return a.s.srv.Store.QuotaOK(a.ctx, a.to.Account, a.size+size)
}

// reach finds the mailbox and checks the right.
func (a *appending) reach() (err error) {
	a.to, err = a.s.reach(a.ctx, a.mailbox, mailstore.RightInsert)
	return tryCreate(err)
}

// Bounds of the messages of one APPEND together: on disk as so many of the
// largest, in memory as so many spools; the others go to files at once.
const (
	maxAppends       = 4
	spoolsInMemory   = 16
	spoolMemoryRest  = 4 << 10
	copyBuffer       = 32 << 10
	maxAppendedParts = 1000 // of CATENATE
)

// open gives the message its spool.
func (a *appending) open(m *appended) {
	memory := spool.Memory
	if len(a.messages) > spoolsInMemory {
		memory = spoolMemoryRest
	}
	m.body = spool.New(a.s.srv.SpoolDir, memory)
}

// close gives the spools back.
func (a *appending) close() {
	for _, m := range a.messages {
		if m.body == nil {
			continue
		}
		if err := m.body.Close(); err != nil {
			a.s.log.Warn("spool not closed", "event", "imap.spool", "error", err)
		}
	}
}

// tryCreate tells the client that CREATE would help (RFC 3501 §7.1).
func tryCreate(err error) error {
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return no(imap.ResponseCodeTryCreate, "No such mailbox")
	}
	return err
}

// errNUL refuses a message that not every client could fetch: RFC 3501 has no
// way to transfer NUL, and changing it would break signatures.
var errNUL = no(imap.ResponseCodeCannot, "The message contains NUL octets")

// receive reads an admitted literal behind what the message has already. A fault
// of ours does not stop the reading: the octets have to go somewhere, and a disk
// may be full for a while.
func (a *appending) receive(lit *wire.Literal, m *appended) error {
	r, err := a.lex.Open(lit)
	if err != nil {
		return err
	}
	w := &noNUL{dst: m.body, refusal: errNUL}
	if lit.Binary {
		w.refusal = errBinaryStorage
	}
	_, err = io.CopyBuffer(w, r, make([]byte, copyBuffer))
	if closed := a.lex.CloseLiteral(lit); closed != nil {
		return closed
	}
	a.size += lit.Size
	if w.seen {
		return err
	}
	if err != nil {
		return fmt.Errorf("receive a message for APPEND: %w", err)
	}
	return nil
}

// noNUL passes octets on until there is a NUL among them.
type noNUL struct {
	dst     io.Writer
	refusal error
	seen    bool
}

func (w *noNUL) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) >= 0 {
		w.seen = true
		return 0, w.refusal
	}
	return w.dst.Write(p)
}

// deliver stores the messages, in the place of old if that is not nil, and tells
// where they went (RFC 4315 §3).
func (a *appending) deliver(c *command, old *mailstore.Replaced) error {
	s := a.s
	if !a.to.Personal { // it may have taken a while to come here
		if err := a.reach(); err != nil {
			return err
		}
	}
	to := &a.to
	list := make([]*mailstore.Delivery, len(a.messages))
	for i, m := range a.messages {
		if !to.Rights.Has(mailstore.RightWrite) { // RFC 4314 §4: flags without a right are dropped
			m.keywords = nil
		}
		list[i] = &mailstore.Delivery{Body: m.body, Targets: []mailstore.Target{{
			Account: to.Account, Mailbox: to.Own, NoFallback: true,
			Flags: m.flags & to.Rights.KeepFlags(), Keywords: m.keywords, InternalDate: m.date,
		}}}
	}
	var placed []mailstore.Placed
	if err := s.slowly(a.ctx, c, func(ctx context.Context) (err error) {
		if len(list) == 1 && old == nil { // it may share its transaction with others
			placed, err = s.srv.Store.Deliver(ctx, list[0])
		} else {
			placed, err = s.srv.Store.DeliverTogether(ctx, to.Account, list, old)
		}
		return err
	}); err != nil {
		return tryCreate(err)
	}
	var uids mailstore.UIDSet
	for _, p := range placed {
		uids.Add(p.UID)
	}
	c.code = fmt.Sprintf("APPENDUID %d %s", placed[0].UIDValidity, uids)
	if s.box != nil && s.box.id == placed[0].Mailbox {
		s.placed = uids
	}
	if s.placed != nil && old == nil {
		// RFC 3501 §6.3.11: the client should hear EXISTS at once, and the hub
		// may not have told us yet.
		return s.syncNow(a.ctx, false)
	}
	return nil
}
