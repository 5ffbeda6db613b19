package relay

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"

	"posthouse/internal/message"
)

// errConvert is matched by errors of messages that must stay as they are, or
// whose structure cannot be followed.
var errConvert = errors.New("cannot be converted")

// maxEntityHeader is how long the header of a part to be converted may be.
const maxEntityHeader = 1 << 20

// converter makes 7-bit text of a message (RFC 6152 §3): the bodies that are
// not become quoted-printable or base64, their headers say so, and all else
// stays as it is, octet by octet. Signatures over the converted parts break:
// that of DKIM is put up with, one that is part of the message is not.
type converter struct {
	w      *bufio.Writer
	c      Content
	ix     message.PartIndex
	binary bool // bare CR and LF count as 8-bit, too
}

// convert writes c as 7-bit text.
func convert(w io.Writer, c Content, binary bool) error {
	parsed, err := message.Parse(c, c.Size())
	if err != nil {
		return err
	}
	ix, err := message.DecodeParts(parsed.Parts)
	if err != nil {
		return err
	}
	v := &converter{w: bufio.NewWriterSize(w, blockSize), c: c, ix: ix, binary: binary}
	root, ok := ix.Lookup(nil)
	if !ok {
		return fmt.Errorf("%w: it has no parts", errConvert)
	}
	if err := v.entity(root, root.HeaderOff, root.HeaderLen, root.BodyOff, root.BodyLen); err != nil {
		return err
	}
	return v.w.Flush()
}

// entity writes a header and its body.
func (v *converter) entity(p message.Part, headerOff, headerLen, bodyOff, bodyLen int64) error {
	wide, err := v.wide(bodyOff, bodyLen)
	if err != nil {
		return err
	}
	if !wide {
		return v.raw(headerOff, bodyOff+bodyLen-headerOff)
	}
	if headerLen > maxEntityHeader {
		return fmt.Errorf("%w: a header of %d octets", errConvert, headerLen)
	}
	header := make([]byte, headerLen)
	if n, err := v.c.ReadAt(header, headerOff); err != nil && !(errors.Is(err, io.EOF) && n == len(header)) {
		return err
	}
	kind, _ := message.Field(header, "content-type")
	kind, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(kind)), ";")
	kind = strings.TrimSpace(kind)
	composite := p.IsMultipart || p.IsMessage
	switch {
	case kind == "multipart/signed":
		return fmt.Errorf("%w: it is signed", errConvert)
	case !composite && (strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/")):
		return fmt.Errorf("%w: a part of type %s", errConvert, kind)
	case !composite && p.Encoding != "7bit" && p.Encoding != "8bit" && p.Encoding != "binary":
		return fmt.Errorf("%w: 8-bit octets in %s", errConvert, p.Encoding)
	case p.IsMultipart:
		if err := v.header(header, "7bit"); err != nil {
			return err
		}
		return v.children(p.Path, bodyOff, bodyOff+bodyLen)
	case p.IsMessage:
		if err := v.header(header, "7bit"); err != nil {
			return err
		}
		return v.inner(p)
	case strings.HasPrefix(kind, "text/") && !v.binary || kind == "":
		if err := v.header(header, "quoted-printable"); err != nil {
			return err
		}
		q := quotedprintable.NewWriter(v.w)
		q.Binary = v.binary
		if _, err := io.Copy(q, v.section(bodyOff, bodyLen)); err != nil {
			return err
		}
		return q.Close()
	}
	if err := v.header(header, "base64"); err != nil {
		return err
	}
	return v.base64(bodyOff, bodyLen)
}

// children writes the body of a multipart: its parts, and what lies between
// them as it is, which must be 7-bit.
func (v *converter) children(path []int, off, end int64) error {
	for n := 1; ; n++ {
		child, ok := v.ix.Lookup(append(append([]int{}, path...), n))
		if !ok {
			break
		}
		if err := v.between(off, child.HeaderOff); err != nil {
			return err
		}
		if err := v.entity(child, child.HeaderOff, child.HeaderLen, child.BodyOff, child.BodyLen); err != nil {
			return err
		}
		off = child.BodyOff + child.BodyLen
	}
	return v.between(off, end)
}

// inner writes the message in a part.
func (v *converter) inner(p message.Part) error {
	bodyOff := p.BodyOff + p.InnerHeaderLen
	bodyLen := p.BodyOff + p.BodyLen - bodyOff
	header := make([]byte, min(p.InnerHeaderLen, maxEntityHeader))
	if n, err := v.c.ReadAt(header, p.BodyOff); err != nil && !(errors.Is(err, io.EOF) && n == len(header)) {
		return err
	}
	kind, _ := message.Field(header, "content-type")
	inner, ok := v.ix.Lookup(append(append([]int{}, p.Path...), 1))
	if !ok {
		return fmt.Errorf("%w: a message within cannot be followed", errConvert)
	}
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(kind)), "multipart/") {
		inner = message.Part{Path: p.Path, IsMultipart: true, Encoding: "7bit"}
	}
	return v.entity(inner, p.BodyOff, p.InnerHeaderLen, bodyOff, bodyLen)
}

// between writes what belongs to no part: delimiters, preamble, epilogue.
func (v *converter) between(off, end int64) error {
	wide, err := v.wide(off, end-off)
	if err != nil {
		return err
	}
	if wide {
		return fmt.Errorf("%w: 8-bit octets between its parts", errConvert)
	}
	return v.raw(off, end-off)
}

// header writes a header with another Content-Transfer-Encoding.
func (v *converter) header(header []byte, encoding string) error {
	drop := []string{"content-transfer-encoding", "content-length"}
	kept := message.FilterFields(nil, header, drop, true)
	if len(kept) > 0 && !bytes.HasSuffix(kept, crlf) {
		kept = append(kept, crlf...)
	}
	if _, err := v.w.Write(kept); err != nil {
		return err
	}
	_, versioned := message.Field(header, "mime-version")
	if _, message := message.Field(header, "from"); message && !versioned {
		if _, err := v.w.WriteString("MIME-Version: 1.0\r\n"); err != nil {
			return err
		}
	}
	_, err := v.w.WriteString("Content-Transfer-Encoding: " + encoding + "\r\n\r\n")
	return err
}

func (v *converter) base64(off, n int64) error {
	wrap := &wrapped{w: v.w}
	e := base64.NewEncoder(base64.StdEncoding, wrap)
	if _, err := io.Copy(e, v.section(off, n)); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	if wrap.n > 0 {
		_, err := v.w.Write(crlf)
		return err
	}
	return nil
}

// wrapped breaks lines at 76 octets (RFC 2045 §6.8).
type wrapped struct {
	w *bufio.Writer
	n int
}

func (l *wrapped) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(76-l.n, len(rest))
		if _, err := l.w.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
		if l.n += n; l.n == 76 {
			l.n = 0
			if _, err := l.w.Write(crlf); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (v *converter) section(off, n int64) *io.SectionReader { return io.NewSectionReader(v.c, off, n) }

func (v *converter) raw(off, n int64) error {
	_, err := io.Copy(v.w, v.section(off, n))
	return err
}

// wide reports whether octets need converting: those above 127, and for binary
// content NUL, bare CR and bare LF.
func (v *converter) wide(off, n int64) (bool, error) {
	if !v.binary {
		return eightBit(v.section(off, n))
	}
	r := bufio.NewReaderSize(v.section(off, n), blockSize)
	for last := byte(0); ; {
		c, err := r.ReadByte()
		if err == io.EOF {
			return last == '\r', nil
		}
		if err != nil {
			return false, err
		}
		if c >= 0x80 || c == 0 || (c == '\n') != (last == '\r') {
			return true, nil
		}
		last = c
	}
}
