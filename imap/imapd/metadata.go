package imapd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// This file is METADATA (RFC 5464): annotations of mailboxes and, under the name
// "", of the server. What stands under /private of the server belongs to the
// account; what stands under its /shared is not the users' to set. In another's
// mailbox each user has a /private of their own, and /shared is the owner's.

// maxMetadataName bounds the name of an entry, maxMetadataAsked the entries of one
// command.
const (
	maxMetadataName  = 255
	maxMetadataAsked = 100
)

// errMetadataSize tells the largest value that is taken (§4.3).
var errMetadataSize = no("METADATA MAXSIZE 16384", "A value of more than 16384 octets")

// getMetadata is a GETMETADATA (§4.2).
type getMetadata struct {
	maxSize  uint64 // of values; those larger are only measured
	limited  bool
	depth    int // 0, 1, or infinityDepth
	entries  []string
	longest  uint64 // of the values that were too large
	longests bool
}

const infinityDepth = 2

// cmdGetMetadata is GETMETADATA. Options stand before the mailbox (RFC 5464 §5)
// or, as in the RFC's examples, behind it.
func (s *session) cmdGetMetadata(ctx context.Context, c *command) error {
	var get getMetadata
	if c.lex.IsList() {
		if err := get.list(c.lex); err != nil {
			return err
		}
		if err := c.lex.SP(); err != nil {
			return err
		}
	}
	name, err := s.annotated(c.lex)
	if err != nil {
		return err
	}
	for c.lex.Accept(' ') && !c.lex.AtEnd() {
		if len(get.entries) > 0 {
			return wire.Syntaxf("one list of entries is enough")
		}
		if c.lex.IsList() {
			err = get.list(c.lex)
		} else {
			err = get.entry(c.lex)
		}
		if err != nil {
			return err
		}
	}
	if len(get.entries) == 0 {
		return wire.Syntaxf("expected the name of an entry")
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	box, err := s.annotatedBox(ctx, name)
	if err != nil {
		return err
	}
	have, err := s.annotations(ctx, box)
	if err != nil {
		return err
	}
	s.writeMetadata(name, get.choose(have))
	if get.longests {
		c.code = "METADATA LONGENTRIES " + strconv.FormatUint(get.longest, 10)
	}
	return nil
}

// annotated reads the name of a mailbox, or "" for the server.
func (s *session) annotated(lex *wire.Lexer) (string, error) {
	raw, err := lex.Astring()
	if err != nil || raw == "" {
		s.named = append(s.named, raw)
		return "", err
	}
	return s.decodeName(raw)
}

// annotatedBox is the mailbox of that name; that of the server has the ID 0. The
// user needs the right l and one of rswip (§3.3).
func (s *session) annotatedBox(ctx context.Context, name string) (mailstore.Reached, error) {
	if name == "" {
		return mailstore.Reached{Mailbox: mailstore.Mailbox{Account: s.acct()}, Rights: mailstore.AllRights, Personal: true}, nil
	}
	box, err := s.reach(ctx, name, mailstore.RightLookup)
	if err != nil {
		return box, err
	}
	return box, allowed(&box, box.Rights.Any(mailstore.RightRead|mailstore.RightSeen|mailstore.RightWrite|mailstore.RightInsert|mailstore.RightPost))
}

// annotations are those that the user sees.
func (s *session) annotations(ctx context.Context, box mailstore.Reached) ([]mailstore.Annotation, error) {
	have, err := s.srv.Store.Metadata(ctx, box.Account, box.ID)
	if err != nil || box.Personal {
		return have, err
	}
	have = slices.DeleteFunc(have, func(a mailstore.Annotation) bool { return !sharedEntry(a.Entry) })
	private, err := s.srv.Store.Metadata(ctx, s.acct(), box.ID)
	return append(private, have...), err
}

// sharedEntry reports whether an entry is the same for all users.
func sharedEntry(name string) bool { return strings.HasPrefix(name, "/shared") }

// annotate sets annotations. Who may only read another's mailbox changes none
// that others see.
func (s *session) annotate(ctx context.Context, box mailstore.Reached, list []mailstore.Annotation) error {
	if box.Personal {
		return s.srv.Store.SetMetadata(ctx, s.acct(), box.ID, list)
	}
	shared := slices.ContainsFunc(list, func(a mailstore.Annotation) bool { return sharedEntry(a.Entry) })
	if shared && !box.Rights.Has(mailstore.RightWrite) {
		return errNoRight
	}
	if shared && slices.ContainsFunc(list, func(a mailstore.Annotation) bool { return !sharedEntry(a.Entry) }) {
		return no(imap.ResponseCodeCannot, "Private and shared annotations of another's mailbox are not set together")
	}
	acct := s.acct()
	if shared {
		acct = box.Account
	}
	return s.srv.Store.SetMetadata(ctx, acct, box.ID, list)
}

// list reads a list of options or of entries: these begin with a slash.
func (get *getMetadata) list(lex *wire.Lexer) error {
	return lex.List(func() error {
		if c := lex.Peek(); c == '/' || c == '"' || lex.IsLiteral() {
			return get.entry(lex)
		}
		return get.option(lex)
	})
}

func (get *getMetadata) option(lex *wire.Lexer) error {
	word, err := lex.Keyword()
	if err != nil {
		return err
	}
	if err := lex.SP(); err != nil {
		return err
	}
	switch word {
	case "MAXSIZE":
		get.limited = true
		get.maxSize, err = lex.Number64()
		return err
	case "DEPTH":
		depth, err := lex.Keyword()
		if err != nil {
			return err
		}
		switch depth {
		case "0", "1":
			get.depth = int(depth[0] - '0')
		case "INFINITY":
			get.depth = infinityDepth
		default:
			return wire.Syntaxf("unknown depth")
		}
		return nil
	}
	return wire.Syntaxf("unknown option of GETMETADATA")
}

func (get *getMetadata) entry(lex *wire.Lexer) error {
	name, err := metadataEntry(lex)
	if get.entries = append(get.entries, name); len(get.entries) > maxMetadataAsked {
		return wire.Syntaxf("more than %d entries", maxMetadataAsked)
	}
	return err
}

// metadataEntry reads the name of an entry (§3.2): slashes between components,
// printable ASCII without wildcards, compared without regard to case.
func metadataEntry(lex *wire.Lexer) (string, error) {
	name, err := lex.Astring()
	if err != nil {
		return "", err
	}
	name = strings.ToLower(name)
	if len(name) > maxMetadataName {
		return "", wire.Syntaxf("the name of an entry is longer than %d octets", maxMetadataName)
	}
	for _, r := range name {
		if r <= ' ' && r != ' ' || r >= 0x7f || r == '*' || r == '%' {
			return "", wire.Syntaxf("malformed name of an entry")
		}
	}
	if strings.Contains(name, "//") || strings.HasSuffix(name, "/") ||
		name != "/private" && name != "/shared" && !strings.HasPrefix(name, "/private/") && !strings.HasPrefix(name, "/shared/") {
		return "", wire.Syntaxf("entries begin with /private/ or /shared/")
	}
	return name, nil
}

// choose gives what was asked for: entries by name, with NIL for those that are
// not there, and with DEPTH what is below them.
func (get *getMetadata) choose(have []mailstore.Annotation) (out []mailstore.Annotation) {
	told := map[string]bool{}
	tell := func(a mailstore.Annotation) {
		if told[a.Entry] {
			return
		}
		told[a.Entry] = true
		if size := uint64(len(a.Value)); get.limited && size > get.maxSize {
			get.longest, get.longests = max(get.longest, size), true
			return
		}
		out = append(out, a)
	}
	for _, name := range get.entries {
		found := false
		for _, a := range have {
			rest, below := strings.CutPrefix(a.Entry, name+"/")
			below = below && (get.depth == infinityDepth || get.depth == 1 && !strings.Contains(rest, "/"))
			if a.Entry == name || below {
				found = true
				tell(a)
			}
		}
		if !found && get.depth == 0 {
			tell(mailstore.Annotation{Entry: name})
		}
	}
	return out
}

// writeMetadata writes the METADATA response (§4.4.1).
func (s *session) writeMetadata(name string, list []mailstore.Annotation) {
	if len(list) == 0 {
		return
	}
	s.enc.Raw("* METADATA ")
	s.enc.Mailbox(name, s.utf8())
	for i, a := range list {
		s.enc.Raw(map[bool]string{true: " (", false: " "}[i == 0])
		s.entryName(a.Entry)
		s.enc.SP()
		switch {
		case a.Value == nil:
			s.enc.Raw("NIL")
		case bytes.IndexByte(a.Value, 0) >= 0:
			s.enc.Byte('~')
			s.enc.Literal(int64(len(a.Value)))
			s.enc.Bytes(a.Value)
		default:
			s.enc.String(string(a.Value))
		}
	}
	s.enc.Raw(")\r\n")
}

// cmdSetMetadata is SETMETADATA (§4.3): all of it or nothing.
func (s *session) cmdSetMetadata(ctx context.Context, c *command) error {
	name, err := s.annotated(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	var list []mailstore.Annotation
	if err := c.lex.List(func() error {
		if len(list) == maxMetadataAsked {
			return wire.Syntaxf("more than %d entries", maxMetadataAsked)
		}
		entry, err := metadataEntry(c.lex)
		if err != nil {
			return err
		}
		if err := c.lex.SP(); err != nil {
			return err
		}
		value, err := metadataValue(c.lex)
		list = append(list, mailstore.Annotation{Entry: entry, Value: value})
		return err
	}); err != nil {
		return err
	}
	if len(list) == 0 {
		return wire.Syntaxf("nothing to set")
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	for _, a := range list {
		if strings.Count(a.Entry, "/") < 2 {
			return no(imap.ResponseCodeCannot, "That entry cannot have a value")
		}
		if name == "" && !strings.HasPrefix(a.Entry, "/private/") {
			return no(imap.ResponseCodeNoPerm, "The server's shared annotations are not set by IMAP")
		}
	}
	box, err := s.annotatedBox(ctx, name)
	if err != nil {
		return err
	}
	err = s.annotate(ctx, box, list)
	if errors.Is(err, mailstore.ErrTooMuchMetadata) {
		return no("METADATA TOOMANY", "No more than %d entries", mailstore.MaxMetadataEntries)
	}
	return err
}

// metadataValue reads NIL, a string or a literal8. A literal that is too large is
// refused before a client that waits sends it.
func metadataValue(lex *wire.Lexer) ([]byte, error) {
	if !lex.IsLiteral() {
		text, ok, err := lex.Nstring()
		if err != nil || !ok {
			return nil, err
		}
		if len(text) > mailstore.MaxMetadataValue {
			return nil, errMetadataSize
		}
		return []byte(text), nil
	}
	lit, err := lex.Literal()
	if err != nil {
		return nil, err
	}
	if lit.Size > mailstore.MaxMetadataValue {
		return nil, errMetadataSize
	}
	r, err := lex.Open(lit)
	if err != nil {
		return nil, err
	}
	value := make([]byte, lit.Size)
	if _, err := io.ReadFull(r, value); err != nil {
		return nil, err
	}
	if err := lex.CloseLiteral(lit); err != nil {
		return nil, err
	}
	if !lit.Binary && bytes.IndexByte(value, 0) >= 0 {
		return nil, wire.Syntaxf("NUL in a literal")
	}
	return value, nil
}
