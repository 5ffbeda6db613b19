package imapd

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"posthouse/imap/wire"
	"posthouse/internal/message"
	"posthouse/mailstore"
)

// Bounds of a section.
const (
	maxSectionPath  = message.MaxDepth + 1
	maxHeaderFields = 1000
)

// bodySection is BODY[…]<n.m>, or one of its old names.
type bodySection struct {
	path   []int
	what   message.Section
	fields []string // HEADER.FIELDS: names as the client wrote them
	not    bool     // HEADER.FIELDS.NOT
	some   bool     // <offset.count>
	offset int64
	count  int64
}

// wholeSections are the items of RFC 822 times (RFC 3501 §6.4.5), and Outlook's
// RFC822.PEEK.
var wholeSections = map[string]fetchItem{
	"RFC822":        wholeSection("RFC822", message.SectionBody, true),
	"RFC822.PEEK":   wholeSection("RFC822", message.SectionBody, false),
	"RFC822.TEXT":   wholeSection("RFC822.TEXT", message.SectionText, true),
	"RFC822.HEADER": wholeSection("RFC822.HEADER", message.SectionHeader, false),
}

func wholeSection(name string, what message.Section, marks bool) fetchItem {
	return sectionItem(name, &bodySection{what: what}, marks)
}

func sectionItem(name string, sec *bodySection, marks bool) fetchItem {
	item := fetchItem{name: name, stored: true, marks: marks, section: sec,
		fields: mailstore.FieldPrefix, write: writeSection}
	if sec.what != message.SectionBody || len(sec.path) > 0 {
		item.fields |= mailstore.FieldParts
	}
	if sec.fields != nil && len(sec.path) == 0 && !sec.not {
		item.fields |= mailstore.FieldHeaderSubset
	}
	return item
}

// parseSection reads what follows "BODY[" or "BODY.PEEK[".
func (f *fetch) parseSection(lex *wire.Lexer, word string) error {
	if word != "BODY" && word != "BODY.PEEK" {
		return wire.Syntaxf("unknown fetch item")
	}
	sec := new(bodySection)
	spec, err := lex.Take(&itemChars, wire.MaxAtom)
	if err != nil {
		return err
	}
	spec = strings.ToUpper(spec)
	if err := sec.parseSpec(lex, spec); err != nil {
		return err
	}
	if err := lex.Require(']'); err != nil {
		return err
	}
	name := "BODY[" + spec + sec.fieldList() + "]"
	if err := sec.parsePartial(lex, false); err != nil {
		return err
	}
	if sec.some {
		name += "<" + strconv.FormatInt(sec.offset, 10) + ">"
	}
	f.items = append(f.items, sectionItem(name, sec, word == "BODY"))
	return nil
}

// parseSpec reads "1.2.HEADER.FIELDS (…)".
func (sec *bodySection) parseSpec(lex *wire.Lexer, spec string) error {
	for spec != "" && spec[0] >= '0' && spec[0] <= '9' {
		number, rest, more := strings.Cut(spec, ".")
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || n == 0 || more && rest == "" || len(sec.path) >= maxSectionPath {
			return wire.Syntaxf("malformed part number")
		}
		sec.path = append(sec.path, int(n))
		spec = rest
	}
	switch spec {
	case "":
	case "HEADER":
		sec.what = message.SectionHeader
	case "TEXT":
		sec.what = message.SectionText
	case "MIME":
		if len(sec.path) == 0 {
			return wire.Syntaxf("MIME without a part number")
		}
		sec.what = message.SectionMIME
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		sec.what, sec.not = message.SectionHeader, spec == "HEADER.FIELDS.NOT"
		return sec.parseFields(lex)
	default:
		return wire.Syntaxf("unknown section")
	}
	return nil
}

func (sec *bodySection) parseFields(lex *wire.Lexer) error {
	if err := lex.SP(); err != nil {
		return err
	}
	sec.fields = []string{}
	err := lex.List(func() error {
		name, err := lex.Astring()
		if err != nil {
			return err
		}
		if len(sec.fields) >= maxHeaderFields || !isFieldName(name) {
			return wire.Syntaxf("malformed list of header fields")
		}
		sec.fields = append(sec.fields, name)
		return nil
	})
	if err == nil && len(sec.fields) == 0 {
		err = wire.Syntaxf("empty list of header fields")
	}
	return err
}

// isFieldName: RFC 5322 §2.2, printable without colon and space. It keeps CR and
// LF out of the response, which repeats the name.
func isFieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

// fieldList is the list as the response repeats it.
func (sec *bodySection) fieldList() string {
	if sec.fields == nil {
		return ""
	}
	words := make([]string, len(sec.fields))
	for i, name := range sec.fields {
		words[i] = name
		if strings.ContainsAny(name, `(){%*"\]`) {
			words[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
		}
	}
	return " (" + strings.Join(words, " ") + ")"
}

// parsePartial reads "<offset.count>", and where it may be open "<offset>", which
// is everything from there on.
func (sec *bodySection) parsePartial(lex *wire.Lexer, open bool) error {
	if !lex.Accept('<') {
		return nil
	}
	offset, err := lex.Number()
	if err != nil {
		return err
	}
	sec.some, sec.offset, sec.count = true, int64(offset), math.MaxInt64
	if open && lex.Accept('>') {
		return nil
	}
	if err := lex.Require('.'); err != nil {
		return err
	}
	count, err := lex.Number()
	if err != nil {
		return err
	}
	if count == 0 {
		return wire.Syntaxf("a partial of no octets")
	}
	sec.count = int64(count)
	return lex.Require('>')
}

// cut is the range asked for of n octets.
func (sec *bodySection) cut(n int64) (off, count int64) {
	if !sec.some {
		return 0, n
	}
	off = min(sec.offset, n)
	return off, min(sec.count, n-off)
}

// parts is the decoded index of a message's parts.
type parts struct {
	index message.PartIndex
	err   error
}

// needsBody reports whether a section has to be read from the body.
func (m *fetched) needsBody(sec *bodySection) bool {
	return sec != nil && (sec.fields == nil || !sec.inSubset(m.row))
}

// inSubset reports whether the header fields kept with the message are enough.
func (sec *bodySection) inSubset(row *mailstore.Message) bool {
	return sec.fields != nil && len(sec.path) == 0 && !sec.not && message.SubsetCovers(row.HeaderSubset, sec.fields)
}

// locate says where a section lies in the octets of the message, prefix included.
func (m *fetched) locate(sec *bodySection) (off, n int64, ok bool, err error) {
	prefix := int64(len(m.row.Prefix))
	if len(sec.path) == 0 && sec.what == message.SectionBody {
		return 0, m.row.Size, true, nil
	}
	if m.parts == nil {
		m.parts = new(parts)
		m.parts.index, m.parts.err = message.DecodeParts(m.row.Parts)
	}
	if m.parts.err != nil {
		return 0, 0, false, m.parts.err
	}
	off, n, ok = m.parts.index.Range(sec.path, sec.what)
	if len(sec.path) == 0 && sec.what == message.SectionHeader {
		return 0, prefix + n, ok, nil // the prefix is part of the header
	}
	return prefix + off, n, ok, nil
}

func writeSection(f *fetch, m *fetched, item *fetchItem) error {
	enc, sec := f.s.enc, item.section
	enc.Raw(item.name)
	enc.SP()
	if sec.fields != nil {
		return f.writeFields(m, sec)
	}
	off, n, ok, err := m.locate(sec)
	if err != nil || !ok {
		if err != nil {
			f.unreadable(err)
		}
		enc.Raw("NIL")
		return nil
	}
	skip, count := sec.cut(n)
	return f.writeRange(m, off+skip, count)
}

// writeRange writes octets of the body as a literal, frame by frame.
func (f *fetch) writeRange(m *fetched, off, count int64) error {
	enc := f.s.enc
	if count == 0 {
		enc.Raw(`""`)
		return nil
	}
	if m.body == nil {
		m.body = f.s.srv.Store.OpenBody(f.ctx, m.row)
	}
	out := &literalWriter{enc: enc, size: count}
	n, err := m.body.WriteRange(f.ctx, out, off, count)
	switch {
	case err == nil && n == count:
		return nil
	case out.begun: // nothing can mend a literal that is too short
		return fmt.Errorf("%w: %d of %d octets: %w", errTorn, n, count, err)
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	f.unreadable(err)
	enc.Raw("NIL")
	return nil
}

// literalWriter announces the literal when its first octets are there, and not
// before: until then a failure can still be answered.
type literalWriter struct {
	enc   *wire.Encoder
	size  int64
	begun bool
}

func (w *literalWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.enc.Literal(w.size)
	}
	return w.enc.Write(p)
}

// writeFields writes HEADER.FIELDS: from the subset kept with the message if
// that is enough, else from its header.
func (f *fetch) writeFields(m *fetched, sec *bodySection) error {
	out, ok, err := f.headerFields(m, sec)
	if err != nil || !ok {
		if err != nil {
			f.unreadable(err)
		}
		f.s.enc.Raw("NIL")
		return nil
	}
	skip, count := sec.cut(int64(len(out)))
	f.s.enc.Literal(count)
	f.s.enc.Bytes(out[skip : skip+count])
	return nil
}

// headerFields are the fields asked for, and the empty line behind them. ok is
// false where there is no such part.
func (f *fetch) headerFields(m *fetched, sec *bodySection) (out []byte, ok bool, err error) {
	if sec.inSubset(m.row) {
		out = message.FilterFields(out, m.row.Prefix, sec.fields, false)
		out = message.FilterFields(out, m.row.HeaderSubset, sec.fields, false)
	} else {
		header, ok, err := f.header(m, sec)
		if err != nil || !ok {
			return nil, false, err
		}
		out = message.FilterFields(out, header, sec.fields, sec.not)
	}
	return append(out, "\r\n"...), true, nil
}

// maxHeader bounds the header that is held in memory for HEADER.FIELDS, in
// octets; of a larger one the fields in its first part are found.
const maxHeader = 1 << 20

func (f *fetch) header(m *fetched, sec *bodySection) (header []byte, ok bool, err error) {
	off, n, ok, err := m.locate(sec)
	if err != nil || !ok {
		return nil, false, err
	}
	if m.body == nil {
		m.body = f.s.srv.Store.OpenBody(f.ctx, m.row)
	}
	header = make([]byte, min(n, maxHeader))
	if got, err := m.body.ReadAt(header, off); err != nil && !(err == io.EOF && got == len(header)) {
		return nil, false, err
	}
	return header, true, nil
}
