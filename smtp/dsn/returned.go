package dsn

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"posthouse/internal/message"
)

const (
	defaultFull = 1 << 20   // octets of an original that goes back whole
	unaskedFull = 128 << 10 // unless RET=FULL: senders are forged
	maxHeader   = 64 << 10  // octets of a header that goes back
)

// returned is what was found out about the original.
type returned struct {
	full      bool   // it goes back whole
	global    bool   // its header is not ASCII, and it came with SMTPUTF8
	eightBit  bool   // what goes back is not all ASCII
	header    []byte // with the CRLF of its last field, cut after a field
	headForm  form
	subject   string // decoded, one line, short
	date      string
	messageID string // with its brackets; empty: none that can be referred to
}

// inspect reads the original once.
func (d *document) inspect() error {
	if d.Original == nil {
		return nil
	}
	t := &d.returned
	if err := t.readHeader(d.Original); err != nil {
		return err
	}
	t.headForm.Write(t.header)
	t.global = d.SMTPUTF8 && t.headForm.eightBit
	t.eightBit = t.global && t.headForm.mailable()
	limit := d.MaxFull
	if limit == 0 {
		limit = defaultFull
	}
	if d.Return != "FULL" {
		limit = min(limit, unaskedFull)
	}
	if d.Kind != Failed || d.Return == "HDRS" || d.RequireTLS || d.Original.Size() > limit {
		return nil
	}
	var f form
	if _, err := io.Copy(&f, io.NewSectionReader(d.Original, 0, d.Original.Size())); err != nil {
		return err
	}
	if f.mailable() {
		t.full, t.eightBit = true, f.eightBit
	}
	return nil
}

// readHeader takes the header, up to maxHeader octets, and what a person knows
// the message by.
func (t *returned) readHeader(c Content) error {
	buf := make([]byte, min(c.Size(), maxHeader))
	if n, err := c.ReadAt(buf, 0); n < len(buf) && err != nil {
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	switch end := bytes.Index(buf, []byte("\r\n\r\n")); {
	case bytes.HasPrefix(buf, []byte("\r\n")):
		buf = nil
	case end >= 0:
		buf = buf[:end+2]
	case int64(len(buf)) < c.Size():
		buf = lastField(buf)
	}
	t.header = buf
	message.ScanFields(buf, func(name, raw []byte) bool {
		_, value, _ := bytes.Cut(raw, []byte(":"))
		switch strings.ToLower(string(name)) {
		case "subject":
			t.subject = oneLine(message.DecodeHeader(bytes.TrimSpace(value)), 150)
		case "date":
			t.date = oneLine(ascii(string(bytes.TrimSpace(value))), 60)
		case "message-id":
			if id := strings.TrimSpace(string(value)); isMessageID(id) {
				t.messageID = id
			}
		}
		return true
	})
	return nil
}

// lastField cuts behind the last line of a header that is not followed by more
// of its field.
func lastField(b []byte) []byte {
	for end := len(b); ; {
		i := bytes.LastIndex(b[:end], []byte("\r\n"))
		if i < 0 {
			return nil
		}
		if i+2 < len(b) && b[i+2] != ' ' && b[i+2] != '\t' {
			return b[:i+2]
		}
		end = i
	}
}

// form finds out whether a message can be carried as 8bit (RFC 2045 §2.8): no
// NUL, no bare CR or LF, no line of more than 998 octets. A composite part may
// not be encoded in any other way.
type form struct {
	eightBit, broken, cr bool
	line                 int
}

func (f *form) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\n':
			f.broken = f.broken || !f.cr || f.line > 999 // with its CR
			f.line = -1
		case f.cr || c == 0:
			f.broken = true
		case c >= 0x80:
			f.eightBit = true
		}
		f.cr = c == '\r'
		f.line++
	}
	return len(p), nil
}

func (f *form) mailable() bool { return !f.broken && !f.cr && f.line <= 998 }

// giveBack writes the third part.
func (d *document) giveBack(p *printer) {
	if !d.returned.full {
		d.giveHeader(p)
		return
	}
	kind := "message/rfc822"
	if d.returned.global {
		kind = "message/global"
	}
	p.printf("Content-Description: Your message\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", kind, plain(d.returned.eightBit))
	if _, err := io.Copy(p, io.NewSectionReader(d.Original, 0, d.Original.Size())); err != nil && p.err == nil {
		p.err = err
	}
}

// plain is the encoding of what is not encoded.
func plain(eightBit bool) string {
	if eightBit {
		return "8bit"
	}
	return "7bit"
}

// giveHeader returns the header alone: text/rfc822-headers (RFC 6522 §4) or
// message/global-headers (RFC 6533 §6), encoded where it would not pass as it is.
func (d *document) giveHeader(p *printer) {
	kind := "text/rfc822-headers"
	if d.returned.global {
		kind = "message/global-headers"
	}
	p.printf("Content-Description: Header of your message\r\nContent-Type: %s\r\n", kind)
	if f := d.returned.headForm; f.mailable() && (!f.eightBit || d.returned.global) {
		p.printf("Content-Transfer-Encoding: %s\r\n\r\n%s", plain(f.eightBit), d.returned.header)
		return
	}
	p.printf("Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	quoted(p, d.returned.header)
}
