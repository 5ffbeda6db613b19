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

// appendArgs is what precedes the message of an APPEND.
type appendArgs struct {
	mailbox  string
	flags    mailstore.Flags
	keywords []string
	date     time.Time // zero: now
}

// cmdAppend is APPEND (RFC 3501 §6.3.11). The message streams into a spool and is
// stored as it is, octet by octet.
func (s *session) cmdAppend(ctx context.Context, c *command) error {
	args, err := s.parseAppend(c.lex)
	if err != nil {
		return err
	}
	lit, err := c.lex.Literal()
	if err != nil {
		return err
	}
	// What can be refused is, before a client that waits sends it all.
	if err := s.admitAppend(ctx, args, lit); err != nil {
		return err
	}
	body := spool.New(s.srv.SpoolDir, spool.Memory)
	defer func() {
		if err := body.Close(); err != nil {
			s.log.Warn("spool not closed", "event", "imap.spool", "error", err)
		}
	}()
	if err := s.spoolLiteral(c.lex, lit, body); err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	return s.deliverAppend(ctx, c, args, body)
}

// parseAppend reads mailbox [SP flag-list] [SP date-time] SP, up to the literal.
func (s *session) parseAppend(lex *wire.Lexer) (args appendArgs, err error) {
	if args.mailbox, err = s.mailboxArg(lex); err != nil {
		return args, err
	}
	if err := lex.SP(); err != nil {
		return args, err
	}
	if lex.IsList() {
		names, err := lex.FlagList()
		if err != nil {
			return args, err
		}
		if args.flags, args.keywords, err = storable(names); err != nil {
			return args, err
		}
		if err := lex.SP(); err != nil {
			return args, err
		}
	}
	if !lex.IsLiteral() {
		if args.date, err = lex.DateTime(); err != nil {
			return args, err
		}
		err = lex.SP()
	}
	return args, err
}

// admitAppend refuses what would fail in the end.
func (s *session) admitAppend(ctx context.Context, args appendArgs, lit *wire.Literal) error {
	switch {
	case lit.Binary:
		return bad("BINARY is not supported")
	case lit.Size == 0:
		return no("", "An empty message cannot be appended")
	case lit.Size > s.srv.MaxMessage:
		return no(imap.ResponseCodeTooBig, "The message is larger than %d octets", s.srv.MaxMessage)
	}
	if _, err := s.srv.Store.Mailbox(ctx, s.acct(), args.mailbox); err != nil {
		return tryCreate(err)
	}
	return s.srv.Store.QuotaOK(ctx, s.acct(), lit.Size)
}

// tryCreate tells the client that CREATE would help (RFC 3501 §7.1).
func tryCreate(err error) error {
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return no(imap.ResponseCodeTryCreate, "No such mailbox")
	}
	return err
}

// errNUL refuses a message that no client could fetch: RFC 3501 has no way to
// transfer NUL, and changing it would break signatures.
var errNUL = no(imap.ResponseCodeCannot, "The message contains NUL octets")

// spoolLiteral reads the message. A fault of ours does not stop the reading: the
// octets have to go somewhere, and a disk may be full for a while.
func (s *session) spoolLiteral(lex *wire.Lexer, lit *wire.Literal, body *spool.Spool) error {
	r, err := lex.Open(lit)
	if err != nil {
		return err
	}
	w := &noNUL{dst: body}
	_, err = io.CopyBuffer(w, r, make([]byte, 32<<10))
	if closed := lex.CloseLiteral(lit); closed != nil {
		return closed
	}
	if errors.Is(err, errNUL) {
		return err
	}
	if err != nil {
		return fmt.Errorf("receive a message for APPEND: %w", err)
	}
	return nil
}

// noNUL passes octets on until there is a NUL among them.
type noNUL struct{ dst io.Writer }

func (w *noNUL) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) >= 0 {
		return 0, errNUL
	}
	return w.dst.Write(p)
}

// deliverAppend stores the message and tells where it went (RFC 4315 §3).
func (s *session) deliverAppend(ctx context.Context, c *command, args appendArgs, body *spool.Spool) error {
	placed, err := s.srv.Store.Deliver(ctx, &mailstore.Delivery{Body: body, Targets: []mailstore.Target{{
		Account: s.acct(), Mailbox: args.mailbox, NoFallback: true,
		Flags: args.flags, Keywords: args.keywords, InternalDate: args.date,
	}}})
	if err != nil {
		return tryCreate(err)
	}
	c.code = fmt.Sprintf("APPENDUID %d %d", placed[0].UIDValidity, placed[0].UID)
	if s.box != nil && s.box.id == placed[0].Mailbox {
		// RFC 3501 §6.3.11: the client should hear EXISTS at once, and the hub
		// may not have told us yet.
		return s.syncNow(ctx, false)
	}
	return nil
}
