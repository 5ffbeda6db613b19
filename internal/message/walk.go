package message

import (
	"bytes"
	"io"
)

// What is kept of a header while it is read. What lies beyond is skipped: it is
// served, but says nothing in ENVELOPE, BODYSTRUCTURE or SEARCH.
const (
	MaxHeader     = 1 << 20  // of the message itself, octets
	maxPartHeader = 64 << 10 // of a part or of a message inside it, octets
	maxDelimiter  = 1000     // octets of a boundary; RFC 2046 §5.1.1 allows 70
)

// kind says what the body of an entity is made of.
type kind uint8

const (
	leaf      kind = iota // octets
	multipart             // parts between delimiters
	embedded              // one message (message/rfc822, message/global)
)

// An entity is a header and a body: a message, a part of a multipart, or the
// message within a message/rfc822 part.
type entity struct {
	parent    int32 // index, -1 for the message itself
	kind      kind
	depth     uint8
	inner     bool  // the message within a message/rfc822 part: not a part of its own
	children  int32 // how many, in the structure
	headerOff int64
	headerLen int64 // with the empty line
	bodyOff   int64
	bodyLen   int64
	lines     int64 // line feeds in the body; before it is closed, those before the body
	typ       mediaType
}

// A walk finds the entities of a message in their order, in one pass.
type walk struct {
	s         *scanner
	entities  []entity
	open      []openEntity
	header    []byte                                      // of the entity that is being read
	mime      mimeHeader                                  // what it says
	innermost map[string]int32                            // boundary → index in open of the innermost multipart that has it
	full      func(i int32, header []byte, m *mimeHeader) // called when a header is complete; its arguments live during the call
}

// openEntity is one level of the nesting at the scanner's place.
type openEntity struct {
	entity   int32
	boundary string // of a multipart whose delimiters are looked for
	shadowed int32  // the outer open multipart with the same boundary, or -1
}

// walkMessage reads the whole message and calls full for each entity's header.
// Its time is linear in size; its memory is that of MaxParts entities, one
// header and one window.
func walkMessage(r io.ReaderAt, size int64, full func(w *walk, i int32, header []byte, m *mimeHeader)) (*walk, error) {
	w := &walk{s: newScanner(r, size), entities: make([]entity, 0, 8)}
	defer w.s.close()
	if w.s.pool != nil {
		w.header = make([]byte, 0, 4<<10)
	}
	w.full = func(i int32, header []byte, m *mimeHeader) { full(w, i, header, m) }
	w.begin(-1, 0, false)
	for w.inHeader() && w.readHeader() || !w.inHeader() && w.readBody() {
	}
	w.closeTo(0, w.s.size, w.s.lines)
	return w, w.s.err
}

// begin opens an entity whose header starts at off.
func (w *walk) begin(parent int32, off int64, inner bool) {
	e := entity{parent: parent, inner: inner, headerOff: off, headerLen: -1}
	if parent >= 0 {
		w.entities[parent].children++
		e.depth = w.entities[parent].depth + 1
	}
	w.open = append(w.open, openEntity{entity: int32(len(w.entities)), shadowed: -1})
	w.entities = append(w.entities, e)
	if w.header = w.header[:0]; w.s.pool == nil {
		w.header = nil // the last one shares the message's memory
	}
}

func (w *walk) top() *entity { return &w.entities[w.open[len(w.open)-1].entity] }

func (w *walk) inHeader() bool { return w.top().headerLen < 0 }

// readHeader takes the lines of a header up to the empty line, the delimiter of
// an enclosing multipart, or the end of the message (then it reports false).
func (w *walk) readHeader() bool {
	limit := maxPartHeader
	if len(w.open) == 1 {
		limit = MaxHeader
	}
	cut := false
	for {
		off, lines, ending := w.s.offset(), w.s.lines, w.s.lineEnd()
		line, start := w.s.next()
		if line == nil {
			w.endHeader(off, lines)
			return false
		}
		if start {
			if line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n' {
				w.headerDone(w.s.offset(), w.s.lines)
				return true
			}
			if w.delimiter(line, off, lines, ending) {
				return true
			}
		}
		if cut = cut || len(w.header)+len(line) > limit; cut {
			continue
		}
		if held := w.s.held(w.top().headerOff, w.s.offset()); held != nil {
			w.header = held
		} else {
			w.header = append(w.header, line...)
		}
	}
}

// headerDone ends the header of the innermost entity at off and opens its body.
func (w *walk) headerDone(off, lines int64) {
	i := w.open[len(w.open)-1].entity
	e := &w.entities[i]
	e.headerLen, e.bodyOff, e.lines = off-e.headerOff, off, lines
	m := &w.mime
	m.parse(w.header, w.digestPart(e))
	room := e.depth+1 < MaxDepth && len(w.entities) < MaxParts
	switch {
	case m.isMultipart():
		if m.boundary == "" || len(m.boundary) > maxDelimiter {
			m.makeText()
		} else if room {
			e.kind = multipart
			w.watch(m.boundary)
		} else {
			m.makeOpaque()
		}
	case m.isMessage():
		if room {
			e.kind = embedded
		} else {
			m.makeOpaque()
		}
	}
	e.typ = m.mediaType()
	nested := e.kind == embedded
	w.full(i, w.header, m)
	if nested {
		w.begin(i, off, true)
	}
}

// digestPart reports whether the default type of e is message/rfc822 (RFC 2046 §5.1.5).
func (w *walk) digestPart(e *entity) bool {
	return e.parent >= 0 && !e.inner && w.entities[e.parent].typ.digest
}

// watch makes the delimiters of the innermost open entity known.
func (w *walk) watch(boundary string) {
	if w.innermost == nil {
		w.innermost = make(map[string]int32)
	}
	at := int32(len(w.open) - 1)
	o := &w.open[at]
	o.boundary = boundary
	if outer, ok := w.innermost[boundary]; ok {
		o.shadowed = outer
	}
	w.innermost[boundary] = at
}

// unwatch forgets the delimiters of an open entity that ends.
func (w *walk) unwatch(o *openEntity) {
	switch {
	case o.boundary == "":
		return
	case o.shadowed >= 0:
		w.innermost[o.boundary] = o.shadowed
	default:
		delete(w.innermost, o.boundary)
	}
	o.boundary = ""
}

// readBody moves to the next delimiter of an open multipart. It reports false
// at the end of the message.
func (w *walk) readBody() bool {
	for {
		if len(w.innermost) == 0 {
			for w.s.tail(); w.s.fill(); w.s.tail() {
			}
			return false
		}
		if !w.s.skip() {
			return false
		}
		off, lines, ending := w.s.offset(), w.s.lines, w.s.lineEnd()
		line, _ := w.s.next()
		if w.delimiter(line, off, lines, ending) {
			return true
		}
	}
}

// delimiter handles a line that may be a delimiter of an open multipart
// (RFC 2046 §5.1.1); the line end before it, of ending octets, belongs to it.
// One look-up in a map decides, however many multiparts are open.
func (w *walk) delimiter(line []byte, off, lines, ending int64) bool {
	if len(w.innermost) == 0 || len(line) < 3 || line[0] != '-' || line[1] != '-' || len(line) > maxDelimiter+200 {
		return false
	}
	name := bytes.TrimRight(line[2:], " \t\r\n")
	at, ok := w.innermost[string(name)]
	last := false
	if closing, found := bytes.CutSuffix(name, dashes); found {
		if outer, known := w.innermost[string(closing)]; known && (!ok || outer > at) {
			at, ok, last = outer, true, true
		}
	}
	if !ok {
		return false
	}
	if w.inHeader() {
		w.endHeader(off, lines)
	}
	if ending > 0 {
		lines--
	}
	w.closeTo(int(at)+1, off-ending, lines)
	if last {
		w.unwatch(&w.open[at])
		return true
	}
	if len(w.entities) < MaxParts {
		w.begin(w.open[at].entity, w.s.offset(), false)
	}
	return true
}

var dashes = []byte("--")

// endHeader ends a header at off without an empty line: there stands a
// delimiter, or the message ends.
func (w *walk) endHeader(off, lines int64) {
	w.headerDone(off, lines)
	if w.inHeader() { // it was a message/rfc822 part: the message in it is empty
		w.headerDone(off, lines)
	}
}

// closeTo ends all open entities from level n on: their bodies end at off.
func (w *walk) closeTo(n int, off, lines int64) {
	for len(w.open) > n {
		o := &w.open[len(w.open)-1]
		e := &w.entities[o.entity]
		e.bodyLen = max(off-e.bodyOff, 0)
		e.lines = max(lines-e.lines, 0)
		w.unwatch(o)
		w.open = w.open[:len(w.open)-1]
	}
}
