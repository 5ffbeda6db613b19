package imapd

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/message"
	"posthouse/mailstore"
)

// This file is CATENATE (RFC 4469): a message that APPEND puts together from
// literals and from parts of messages that are here. URLs (RFC 5092) are those of
// this account: "/mailbox;UIDVALIDITY=n/;UID=n/;SECTION=s/;PARTIAL=o.n", or ";UID=…"
// alone for the selected mailbox.

func init() { appendData["CATENATE"] = (*appending).catenate }

func (a *appending) catenate(m *appended) error {
	if err := a.lex.SP(); err != nil {
		return err
	}
	a.open(m)
	parts := 0
	if err := a.lex.List(func() error {
		if parts++; parts > maxAppendedParts {
			return no(imap.ResponseCodeLimit, "More than %d parts", maxAppendedParts)
		}
		return a.part(m)
	}); err != nil {
		return err
	}
	if parts == 0 {
		return wire.Syntaxf("nothing to catenate")
	}
	return nil
}

// part reads one cat-part (RFC 4469 §5, RFC 6855 §4).
func (a *appending) part(m *appended) error {
	kind, err := a.lex.Keyword()
	if err != nil {
		return err
	}
	switch kind {
	case "UTF8":
		return a.utf8Literal(m)
	case "TEXT":
		if err := a.lex.SP(); err != nil {
			return err
		}
		lit, err := a.lex.Literal()
		if err != nil {
			return err
		}
		if err := a.admit(m, lit.Size); err != nil {
			return err
		}
		return a.receive(lit, m)
	case "URL":
		if err := a.lex.SP(); err != nil {
			return err
		}
		text, err := a.lex.Astring()
		if err != nil {
			return err
		}
		return a.referred(m, text)
	}
	return wire.Syntaxf("unknown part of a message")
}

// badURL is the answer to a URL that gives nothing (§4).
func badURL(text string) error {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == ']' || r >= 0x7f {
			return '?'
		}
		return r
	}, text[:min(len(text), 1000)])
	return no(imap.ResponseCode("BADURL "+clean), "That URL does not lead to a part of a message here")
}

// partURL is a URL that was read.
type partURL struct {
	mailbox  string // empty: the selected one
	validity uint32 // 0: any
	uid      mailstore.UID
	section  bodySection
}

// referred adds what a URL leads to.
func (a *appending) referred(m *appended, text string) error {
	u, ok := parsePartURL(text)
	if !ok {
		return badURL(text)
	}
	acct, box, validity, err := a.mailboxOf(u)
	if errors.Is(err, mailstore.ErrNoMailbox) || err == nil && u.validity != 0 && u.validity != validity {
		return badURL(text)
	}
	if err != nil {
		return err
	}
	f := &fetch{s: a.s, ctx: a.ctx}
	item := sectionItem("", &u.section, false)
	var row *mailstore.Message
	if err := a.s.srv.Store.Messages(a.ctx, acct, box, mailstore.UIDs(u.uid), item.fields|mailstore.FieldParts, func(r *mailstore.Message) error {
		row = r
		return nil
	}); err != nil {
		return err
	}
	there, err := a.present(acct, box, u.uid)
	if err != nil {
		return err
	}
	if row == nil || !there {
		return badURL(text)
	}
	return a.copyPart(m, f, &fetched{uid: u.uid, row: row}, &u.section, text)
}

// mailboxOf finds the mailbox of a URL, whose it is, and its UIDVALIDITY.
func (a *appending) mailboxOf(u partURL) (mailstore.AccountID, mailstore.MailboxID, uint32, error) {
	if u.mailbox == "" {
		if a.s.box == nil {
			return 0, 0, 0, mailstore.ErrNoMailbox
		}
		if err := a.s.recheck(a.ctx); err != nil {
			return 0, 0, 0, err
		}
		return a.s.box.account, a.s.box.id, a.s.box.validity, nil
	}
	box, err := a.s.reach(a.ctx, u.mailbox, mailstore.RightRead)
	if errors.Is(err, errNoRight) {
		err = mailstore.ErrNoMailbox // BADURL, as for any that leads nowhere
	}
	return box.Account, box.ID, box.UIDValidity, err
}

// present reports whether a message was not expunged: its row stays for a while.
func (a *appending) present(acct mailstore.AccountID, box mailstore.MailboxID, uid mailstore.UID) (bool, error) {
	view, _, err := a.s.srv.Store.Load(a.ctx, acct, box)
	if err != nil {
		return false, err
	}
	_, ok := view.Seq(uid)
	return ok, nil
}

// copyPart adds a section of a message.
func (a *appending) copyPart(m *appended, f *fetch, from *fetched, sec *bodySection, text string) error {
	var fields []byte
	off, n, ok, err := from.locate(sec)
	if err == nil && ok && sec.fields != nil {
		if fields, ok, err = f.header(from, sec); err == nil && ok {
			fields = append(message.FilterFields(nil, fields, sec.fields, sec.not), "\r\n"...)
			off, n = 0, int64(len(fields))
		}
	}
	if err != nil {
		return err
	}
	if !ok {
		return badURL(text)
	}
	skip, count := sec.cut(n)
	if err := a.admit(m, count); err != nil {
		return err
	}
	a.size += count
	if fields != nil {
		_, err = m.body.Write(fields[skip : skip+count])
		return err
	}
	if from.body == nil {
		from.body = a.s.srv.Store.OpenBody(a.ctx, from.row)
	}
	wrote, err := from.body.WriteRange(a.ctx, m.body, off+skip, count)
	if err == nil && wrote != count {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read a part for CATENATE: %w", err)
	}
	return nil
}

// parsePartURL reads a URL (RFC 5092 §11), of which only what follows the server
// may be there.
func parsePartURL(text string) (u partURL, ok bool) {
	if len(text) > 4000 {
		return u, false
	}
	path, params, found := cutFold(text, ";UID=")
	if !found {
		return u, false
	}
	path = strings.Trim(path, "/")
	if name, validity, found := cutFold(path, ";UIDVALIDITY="); found {
		n, err := strconv.ParseUint(validity, 10, 32)
		if err != nil || n == 0 || name == "" {
			return u, false
		}
		path, u.validity = name, uint32(n)
	}
	if path != "" {
		name, err := url.PathUnescape(path)
		if err != nil {
			return u, false
		}
		if u.mailbox, err = wire.DecodeMailbox(name, true); err != nil {
			return u, false
		}
	}
	params, partial, cut := cutFold(params, "/;PARTIAL=")
	if !cut {
		params, partial, cut = cutFold(params, ";PARTIAL=")
	}
	if cut && !u.section.cutBy(partial) {
		return u, false
	}
	number, section, cut := cutFold(params, "/;SECTION=")
	if !cut {
		number, section, cut = cutFold(params, ";SECTION=")
	}
	if cut && !u.section.named(section) {
		return u, false
	}
	uid, err := strconv.ParseUint(number, 10, 32)
	u.uid = mailstore.UID(uid)
	return u, err == nil && uid > 0
}

// cutBy reads "offset.count" or "offset" (RFC 5092 §11, partial-range).
func (sec *bodySection) cutBy(text string) bool {
	offset, count, counted := strings.Cut(text, ".")
	off, err := strconv.ParseUint(offset, 10, 32)
	if err != nil {
		return false
	}
	n := uint64(1<<63 - 1)
	if counted {
		if n, err = strconv.ParseUint(count, 10, 32); err != nil || n == 0 {
			return false
		}
	}
	sec.some, sec.offset, sec.count = true, int64(off), int64(n)
	return true
}

// named reads a section as BODY[…] has it, percent-encoded.
func (sec *bodySection) named(text string) bool {
	plain, err := url.PathUnescape(text)
	if err != nil || strings.ContainsAny(plain, "\r\n{\x00") || plain == "" {
		return false
	}
	spec, fields, _ := strings.Cut(plain, " ")
	lex := wire.NewLexer(strings.NewReader(" "+fields+"\r\n"), wire.Guest)
	lex.Begin()
	defer func() {
		lex.Drop()
		lex.Release()
	}()
	if sec.parseSpec(lex, strings.ToUpper(spec)) != nil {
		return false
	}
	return sec.fields == nil && fields == "" || sec.fields != nil && lex.End() == nil
}

// cutFold is strings.Cut at the first place where sep stands in any case.
func cutFold(s, sep string) (before, after string, found bool) {
	for i := 0; i+len(sep) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(sep)], sep) {
			return s[:i], s[i+len(sep):], true
		}
	}
	return s, "", false
}
