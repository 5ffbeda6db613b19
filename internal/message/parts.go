package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Part is one part of a message. All offsets count from the first octet of the
// message, without the prefix that a recipient's copy may have.
type Part struct {
	Path           []int // IMAP part numbers; empty for the whole message
	HeaderOff      int64 // MIME header of the part, or the header of the message
	HeaderLen      int64 // with the empty line that ends it
	BodyOff        int64 // the body as it is transferred, still encoded
	BodyLen        int64
	Encoding       string // lower-case Content-Transfer-Encoding, "7bit" where it is missing
	ContentType    string // lower-case type/subtype
	IsMultipart    bool
	IsMessage      bool  // message/rfc822 with a structure: its body is a header and a text
	InnerHeaderLen int64 // IsMessage: length of the header at BodyOff
}

// Section selects what of a part is meant (RFC 3501 §6.4.5).
type Section uint8

const (
	SectionBody   Section = iota // BODY[] or BODY[1.2]
	SectionHeader                // BODY[HEADER], BODY[1.2.HEADER]: the whole message or a message/rfc822 part
	SectionText                  // BODY[TEXT], BODY[1.2.TEXT]
	SectionMIME                  // BODY[1.2.MIME]
)

// PartIndex is the decoded list of a message's entities, each before its children.
type PartIndex struct{ entities []entity }

var errPackedParts = errors.New("malformed packed parts")

// partsVersion begins the packed form.
const partsVersion = 1

// Bits of an entity's head octet: its kind, whether it is an inner message, and
// how encoding and type are given.
const (
	packKind     = 3
	packInner    = 1 << 2
	packEncoding = 7 << 3 // index in encodings plus one, 0: spelled out
	packTyped    = 1 << 6 // the type is spelled out, else text/plain, or text/html:
	packHTML     = 1 << 7
)

// packParts writes the entities compactly: for each a head octet, the number of
// children of a multipart, and as varints the distance of its header from the
// place before (the end of the previous entity's header), the lengths of header
// and body. A plain message takes 9 to 12 octets.
func packParts(entities []entity) []byte {
	out := append(make([]byte, 0, 12*len(entities)+4), partsVersion)
	out = binary.AppendUvarint(out, uint64(len(entities)))
	place := int64(0)
	for i := range entities {
		e := &entities[i]
		head := byte(e.kind)
		if e.inner {
			head |= packInner
		}
		known := 0
		for n, name := range encodings {
			if e.typ.encoding == name {
				known = n + 1
			}
		}
		head |= byte(known) << 3
		switch e.typ.name {
		case "text/plain":
		case "text/html":
			head |= packHTML
		default:
			head |= packTyped
		}
		out = append(out, head)
		if e.kind == multipart {
			out = binary.AppendUvarint(out, uint64(e.children))
		}
		out = binary.AppendUvarint(out, uint64(e.headerOff-place))
		out = binary.AppendUvarint(out, uint64(e.headerLen))
		out = binary.AppendUvarint(out, uint64(e.bodyLen))
		place = e.bodyOff
		if known == 0 {
			out = appendPacked(out, e.typ.encoding)
		}
		if head&packTyped != 0 {
			out = appendPacked(out, e.typ.name)
		}
	}
	return out
}

func appendPacked(out []byte, s string) []byte {
	return append(append(out, byte(len(s))), s...)
}

// DecodeParts reads Parsed.Parts.
func DecodeParts(packed []byte) (PartIndex, error) {
	d := unpacker{b: packed}
	if d.byte() != partsVersion {
		return PartIndex{}, fmt.Errorf("decode the parts of a message: %w", errPackedParts)
	}
	n := d.uvarint()
	if n < 1 || n > MaxParts {
		return PartIndex{}, fmt.Errorf("decode the parts of a message: %w", errPackedParts)
	}
	ix := PartIndex{entities: make([]entity, n)}
	place := int64(0)
	for i := range ix.entities {
		e := &ix.entities[i]
		head := d.byte()
		e.kind, e.inner = kind(head&packKind), head&packInner != 0
		switch e.kind {
		case multipart:
			e.children = int32(min(d.uvarint(), MaxParts))
		case embedded:
			e.children = 1
		}
		e.headerOff = place + d.uvarint()
		e.headerLen = d.uvarint()
		e.bodyOff = e.headerOff + e.headerLen
		e.bodyLen = d.uvarint()
		place = e.bodyOff
		if known := int(head&packEncoding) >> 3; known > 0 && known <= len(encodings) {
			e.typ.encoding = encodings[known-1]
		} else {
			e.typ.encoding = d.string()
		}
		switch {
		case head&packTyped != 0:
			e.typ.name = d.string()
		case head&packHTML != 0:
			e.typ.name = "text/html"
		default:
			e.typ.name = "text/plain"
		}
	}
	for i, todo := 0, 1; i < len(ix.entities); i++ { // the tree must end with the list
		todo += int(ix.entities[i].children) - 1
		if last := i == len(ix.entities)-1; last != (todo == 0) || todo < 0 {
			d.failed = true
			break
		}
	}
	if d.failed || len(d.b) != 0 {
		return PartIndex{}, fmt.Errorf("decode the parts of a message: %w", errPackedParts)
	}
	return ix, nil
}

// unpacker reads the packed form; after a failure it yields zeros.
type unpacker struct {
	b      []byte
	failed bool
}

func (d *unpacker) byte() byte {
	if len(d.b) == 0 {
		d.failed = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *unpacker) uvarint() int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > 1<<48 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

func (d *unpacker) string() string {
	n := int(d.byte())
	if n > len(d.b) {
		d.failed, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// after is the index behind entity i and all within it.
func (ix PartIndex) after(i int) int {
	for todo := 1; todo > 0 && i < len(ix.entities); i++ {
		todo += int(ix.entities[i].children) - 1
	}
	return i
}

// find resolves a part number to an entity. empty is set for the one, empty
// part of a multipart that has none.
func (ix PartIndex) find(path []int) (i int, empty, ok bool) {
	if len(ix.entities) == 0 {
		return 0, false, false
	}
	whole := true // i stands for a whole message, not for its text
	for _, n := range path {
		e := &ix.entities[i]
		if empty || n < 1 {
			return 0, false, false
		}
		if !whole && e.kind == embedded { // numbers go on within the message
			i++
			e, whole = &ix.entities[i], true
		}
		switch {
		case e.kind == multipart && e.children == 0 && n == 1:
			empty = true
		case e.kind == multipart && n <= int(e.children):
			i++
			for range n - 1 {
				i = ix.after(i)
			}
		case e.kind == multipart || !whole || n != 1:
			return 0, false, false
		}
		// RFC 3501 §6.4.5: a message that is no multipart has one part, its text.
		whole = false
	}
	return i, empty, true
}

// Lookup finds a part by its IMAP number; the empty path is the whole message.
func (ix PartIndex) Lookup(path []int) (Part, bool) {
	i, empty, ok := ix.find(path)
	if !ok {
		return Part{}, false
	}
	e := &ix.entities[i]
	if empty {
		end := e.bodyOff + e.bodyLen
		return Part{Path: path, HeaderOff: end, BodyOff: end, Encoding: "7bit", ContentType: "text/plain"}, true
	}
	p := Part{
		Path: path, HeaderOff: e.headerOff, HeaderLen: e.headerLen, BodyOff: e.bodyOff, BodyLen: e.bodyLen,
		Encoding: e.typ.encoding, ContentType: e.typ.name,
		IsMultipart: e.kind == multipart, IsMessage: e.kind == embedded,
	}
	if p.IsMessage {
		p.InnerHeaderLen = ix.entities[i+1].headerLen
	}
	return p, true
}

// Range says where the octets of a section lie. A section that does not exist
// (a part number too high, HEADER of a part that is no message, MIME of the
// whole message) is not ok: IMAP answers it with NIL or an empty string.
func (ix PartIndex) Range(path []int, s Section) (off, n int64, ok bool) {
	p, ok := ix.Lookup(path)
	if !ok {
		return 0, 0, false
	}
	whole := len(path) == 0
	switch {
	case s == SectionBody && whole:
		return 0, p.BodyOff + p.BodyLen, true
	case s == SectionBody, s == SectionText && whole:
		return p.BodyOff, p.BodyLen, true
	case s == SectionMIME && !whole, s == SectionHeader && whole:
		return p.HeaderOff, p.HeaderLen, true
	case s == SectionHeader && p.IsMessage:
		return p.BodyOff, p.InnerHeaderLen, true
	case s == SectionText && p.IsMessage:
		return p.BodyOff + p.InnerHeaderLen, p.BodyLen - p.InnerHeaderLen, true
	}
	return 0, 0, false
}
