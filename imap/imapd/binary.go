package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"posthouse/imap/wire"
	"posthouse/internal/message"
	"posthouse/internal/spool"
	"posthouse/mailstore"
)

// This file is the FETCH side of BINARY (RFC 3516): parts without their transfer
// encoding. Only leaves have one: BINARY[] and BINARY of a multipart are the
// octets as they are. So are HEADER, TEXT and MIME. The grammar of §7 has neither
// these nor a partial without a count, but programs and other servers do.

// binarySections are the words that come before a part number.
var binarySections = map[string]func(*bodySection) fetchItem{
	"BINARY": func(sec *bodySection) fetchItem { return binaryItem(sec, true) },
	"BINARY.PEEK": func(sec *bodySection) fetchItem {
		return binaryItem(sec, false)
	},
	"BINARY.SIZE": func(sec *bodySection) fetchItem {
		item := binaryItem(sec, false)
		item.write = writeBinarySize
		return item
	},
}

func binaryItem(sec *bodySection, marks bool) fetchItem {
	item := sectionItem("", sec, marks)
	item.fields |= mailstore.FieldParts
	item.write = writeBinary
	return item
}

// parseBinary reads what follows "BINARY[", "BINARY.PEEK[" or "BINARY.SIZE[".
func (f *fetch) parseBinary(lex *wire.Lexer, word string) error {
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
	item := binarySections[word](sec)
	item.name = strings.TrimSuffix(word, ".PEEK") + "[" + spec + sec.fieldList() + "]"
	if word != "BINARY.SIZE" {
		if err := sec.parsePartial(lex, true); err != nil {
			return err
		}
	}
	if sec.some {
		item.name += "<" + strconv.FormatInt(sec.offset, 10) + ">"
	}
	f.items = append(f.items, item)
	return nil
}

// errUnknownCTE is the answer to who asks for a part that cannot be decoded.
var errUnknownCTE = no(codeUnknownCTE, "The transfer encoding of a part is not known")

// errEnough ends the decoding of a part of which the client wants the beginning.
var errEnough = errors.New("enough")

// excerpt keeps what the client wants of the decoded octets, and counts.
type excerpt struct {
	skip, want int64 // still to be passed over, and still to be kept
	dst        io.Writer
	nul        bool
}

func (e *excerpt) Write(p []byte) (int, error) {
	rest := p
	n := min(e.skip, int64(len(rest)))
	e.skip, rest = e.skip-n, rest[n:]
	n = min(e.want, int64(len(rest)))
	e.want, rest = e.want-n, rest[:n]
	e.nul = e.nul || bytes.IndexByte(rest, 0) >= 0
	if _, err := e.dst.Write(rest); err != nil {
		return 0, err
	}
	if e.want == 0 {
		return 0, errEnough
	}
	return len(p), nil
}

// decode writes a part to dst without its encoding. ok is false where there is no
// such part.
func (f *fetch) decode(m *fetched, sec *bodySection, dst io.Writer) (ok bool, err error) {
	if sec.fields != nil {
		out, ok, err := f.headerFields(m, sec)
		if err != nil || !ok {
			return false, err
		}
		if _, err = dst.Write(out); errors.Is(err, errEnough) {
			err = nil
		}
		return true, err
	}
	off, n, ok, err := m.locate(sec)
	if err != nil || !ok {
		return false, err
	}
	encoding := "binary"
	if len(sec.path) > 0 && sec.what == message.SectionBody {
		part, _ := m.parts.index.Lookup(sec.path)
		if !part.IsMultipart && !part.IsMessage {
			encoding = part.Encoding
		}
	}
	if m.body == nil {
		m.body = f.s.srv.Store.OpenBody(f.ctx, m.row)
	}
	err = message.DecodeTransfer(dst, io.NewSectionReader(m.body, off, n), encoding)
	switch {
	case errors.Is(err, errEnough):
		err = nil
	case errors.Is(err, message.ErrUnknownEncoding):
		err = errUnknownCTE
	}
	return true, err
}

// writeBinary decodes into a spool, because the length comes first on the wire,
// and sends a literal8 where there is NUL (§4.2).
func writeBinary(f *fetch, m *fetched, item *fetchItem) error {
	enc, sec := f.s.enc, item.section
	enc.Raw(item.name)
	enc.SP()
	body := spool.New(f.s.srv.SpoolDir, spool.Memory)
	defer func() {
		if err := body.Close(); err != nil {
			f.s.log.Warn("spool not closed", "event", "imap.spool", "error", err)
		}
	}()
	want := &excerpt{want: 1<<63 - 1, dst: body}
	if sec.some {
		want.skip, want.want = sec.offset, sec.count
	}
	ok, err := f.decode(m, sec, want)
	if err != nil || !ok {
		if err != nil {
			f.unreadable(err)
		}
		enc.Raw("NIL")
		return nil
	}
	if want.nul {
		enc.Byte('~')
	}
	enc.Literal(body.Size())
	if _, err := io.CopyBuffer(struct{ io.Writer }{enc}, struct{ io.Reader }{body.NewReader()}, make([]byte, copyBuffer)); err != nil {
		return fmt.Errorf("%w: %w", errTorn, err)
	}
	return nil
}

// writeBinarySize counts the octets that BINARY would give; of what cannot be
// decoded, or is not there, that is none.
func writeBinarySize(f *fetch, m *fetched, item *fetchItem) error {
	var size counter
	_, err := f.decode(m, item.section, &size)
	if err != nil {
		f.unreadable(err)
		size = 0
	}
	f.s.enc.Raw(item.name)
	f.s.enc.SP()
	f.s.enc.Number(uint64(size))
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
