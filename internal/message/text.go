package message

import (
	"bytes"
	"fmt"
	"io"
)

// MaxText is how much folded text of one message's body SEARCH looks into, in
// octets. What lies beyond in a larger text is not found.
const MaxText = 4 << 20

// MaxHeaderText bounds the folded text of a header, in octets: folded, most take
// as much as they have.
const MaxHeaderText = MaxHeader * 3 / 2

// SearchText is the decoded, folded text of a message for SEARCH. The body's, up
// to limit octets, is all its text parts, the headers of the messages in it, and
// the names of its attachments, parted by line feeds, which folded text has not.
// The header's has each field as 0x01, its name, a colon, a space and its value;
// see HeaderHasField. Together they are what TEXT searches.
//
// It runs outside of sessions, in goroutines that work for everybody, and again
// after each start: a panic over what somebody sent is an error, not the end of
// the process.
func SearchText(r io.ReaderAt, size int64, limit int64) (header, body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			header, body, err = nil, nil, fmt.Errorf("read the text of a message: panic: %v", p)
		}
	}()
	t := textReader{r: r, limit: int(min(limit, MaxText))}
	w, err := walkMessage(r, size, func(w *walk, i int32, h []byte, m *mimeHeader) {
		switch {
		case i == 0:
			header = clip(AppendHeaderText(make([]byte, 0, len(h)), h), MaxHeaderText)
		case w.entities[i].inner:
			t.innerHeader(h)
		}
	})
	for i := range w.entities {
		if err != nil || len(t.out) >= t.limit {
			break
		}
		err = t.entity(&w.entities[i])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the text of a message: %w", err)
	}
	return header, clip(t.out, t.limit), nil
}

// AppendHeaderText appends the folded text of a header in the form of SearchText.
func AppendHeaderText(dst, header []byte) []byte {
	ScanFields(header, func(name, raw []byte) bool {
		dst = append(dst, 1)
		if len(name) == 0 {
			dst = FoldBytes(dst, []byte(rawText(bytes.TrimSpace(raw))))
			return true
		}
		dst = FoldBytes(dst, name)
		dst = append(dst, ':', ' ')
		at := len(dst)
		dst = appendFieldText(dst, name, raw)
		dst = append(dst[:at], dst[at+1:]...) // the space stands for the 0x02
		return true
	})
	return dst
}

// FieldMark is what begins a field in the header's text of SearchText: no other
// 0x01 stands in it.
func FieldMark(name string) []byte { return []byte("\x01" + Fold(name) + ": ") }

// HeaderHasField is SearchHeaderField on the header's text of SearchText.
func HeaderHasField(text []byte, name, foldedNeedle string) bool {
	mark := FieldMark(name)
	needle := []byte(foldedNeedle)
	for {
		i := bytes.Index(text, mark)
		if i < 0 {
			return false
		}
		text = text[i+len(mark):]
		value := text
		if end := bytes.IndexByte(text, 1); end >= 0 {
			value = text[:end]
		}
		if bytes.Contains(value, needle) {
			return true
		}
	}
}

// textReader gathers the folded text of a message's body.
type textReader struct {
	r     io.ReaderAt
	limit int
	out   []byte
	plain []byte // of HTML, reused
}

// part begins a text of its own.
func (t *textReader) part() {
	if len(t.out) > 0 {
		t.out = append(t.out, '\n')
	}
}

// innerHeader takes the header of a message within the message.
func (t *textReader) innerHeader(header []byte) {
	ScanFields(header, func(name, raw []byte) bool {
		if len(name) > 0 && len(t.out) < t.limit {
			t.part()
			t.out = append(FoldBytes(t.out, name), ':', ' ')
			at := len(t.out)
			t.out = appendFieldText(t.out, name, raw)
			t.out = append(t.out[:at], t.out[at+1:]...)
		}
		return true
	})
}

// entity takes the body of a text and the name of an attachment.
func (t *textReader) entity(e *entity) error {
	if e.typ.filename != "" {
		t.part()
		t.out = FoldBytes(t.out, []byte(e.typ.filename))
	}
	if e.kind != leaf || !e.typ.isText() || e.bodyLen == 0 {
		return nil
	}
	body, err := readBody(t.r, e, int64(t.limit)*3/2+1024)
	if err != nil {
		return err
	}
	text := decodeTransfer(body, e.typ.encoding)
	if text = decodeCharsetBytes(text, e.typ.charset); e.typ.isHTML() {
		t.plain = appendHTMLText(t.plain[:0], text)
		text = t.plain
	}
	t.part()
	t.fold(text)
	return nil
}

// fold appends folded text, in pieces: some characters fold to eleven times
// their octets, and what is beyond the limit is not even made.
func (t *textReader) fold(text []byte) {
	space := false
	for len(text) > 0 && len(t.out) < t.limit {
		piece := clip(text, 64<<10)
		if len(piece) == 0 {
			piece = text // continuation octets without a start
		}
		t.out, space = appendFold(t.out, piece, space)
		text = text[len(piece):]
	}
}

func (t *mediaType) isText() bool {
	return t.text || t.name == "application/xhtml+xml"
}

func (t *mediaType) isHTML() bool {
	return t.name == "text/html" || t.name == "application/xhtml+xml"
}

// readBody reads up to limit octets of a body as it is transferred. A body that
// is held in memory is not copied.
func readBody(r io.ReaderAt, e *entity, limit int64) ([]byte, error) {
	n := min(e.bodyLen, limit)
	if m, ok := r.(interface{ Bytes() ([]byte, bool) }); ok {
		if b, inMemory := m.Bytes(); inMemory {
			return b[e.bodyOff : e.bodyOff+n], nil
		}
	}
	b := make([]byte, n)
	if got, err := r.ReadAt(b, e.bodyOff); got < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}
