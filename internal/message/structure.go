package message

import "strconv"

// maxStructure bounds the memory of a BODYSTRUCTURE, in octets: beyond it parts
// are listed without parameters and descriptions, messages with an empty ENVELOPE.
const maxStructure = 2 << 20

var emptyEnvelope = []byte("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")

// A fragment is what the structure says of one entity, written while its header
// is at hand.
type fragment struct {
	base     []byte // up to the encoding; for a multipart its subtype and parameters
	ext      []byte // disposition, language, location, with a space before each; md5 stands before them
	envelope []byte // of an inner message
}

// structure collects the fragments of a message's entities.
type structure struct {
	fragments []fragment
	used      int // octets in all fragments
	env       envelopeFields
}

// add writes the fragment of the next entity.
func (st *structure) add(e *entity, header []byte, m *mimeHeader) {
	var f fragment
	if st.used > maxStructure {
		m.params, m.id, m.desc, m.md5, m.disposition, m.language, m.location = m.params[:0], nil, nil, nil, nil, nil, nil
		f.envelope = emptyEnvelope
	} else if e.inner {
		st.env.parse(header)
		f.envelope = st.env.append(nil)
	}
	buf := make([]byte, 0, 128)
	if e.kind == multipart {
		buf = appendString(buf, m.minor)
		buf = append(buf, ' ')
		buf = appendParams(buf, m.params, false)
	} else {
		buf = appendString(buf, m.major)
		buf = append(buf, ' ')
		buf = appendString(buf, m.minor)
		buf = append(buf, ' ')
		buf = appendParams(buf, m.params, m.is("text"))
		buf = append(buf, ' ')
		buf = appendNString(buf, m.id)
		buf = append(buf, ' ')
		buf = appendNString(buf, m.desc)
		buf = append(buf, ' ')
		buf = appendString(buf, []byte(m.encoding))
	}
	n := len(buf)
	if e.kind != multipart {
		buf = append(buf, ' ')
		buf = appendNString(buf, m.md5)
	}
	buf = m.appendExtension(buf)
	f.base, f.ext = buf[:n:n], buf[n:]
	st.used += len(buf) + len(f.envelope)
	st.fragments = append(st.fragments, f)
}

// appendExtension writes disposition, language and location.
func (m *mimeHeader) appendExtension(dst []byte) []byte {
	if len(m.disposition) == 0 {
		dst = append(dst, " NIL "...)
	} else {
		dst = append(dst, " ("...)
		dst = appendString(dst, m.disposition)
		dst = append(dst, ' ')
		dst = appendParams(dst, m.dispositionSet, false)
		dst = append(dst, ") "...)
	}
	if len(m.language) == 0 {
		dst = append(dst, "NIL"...)
	} else {
		for i, tag := range m.language {
			dst = append(dst, "( "[min(i, 1)])
			dst = appendString(dst, tag)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendNString(dst, m.location)
}

var usASCII = param{[]byte("charset"), []byte("us-ascii")}

// appendParams writes a parameter list; for text the default charset is added
// where none is given (RFC 2045 §5.2).
func appendParams(dst []byte, params []param, text bool) []byte {
	if text && findParam(params, "charset") == nil {
		params = append(params[:len(params):len(params)], usASCII)
	}
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i, p := range params {
		dst = append(dst, "( "[min(i, 1)])
		dst = appendString(dst, p.name)
		dst = append(dst, ' ')
		dst = appendString(dst, p.value)
	}
	return append(dst, ')')
}

// emptyPart stands in a multipart that has no part: the grammar asks for one.
const emptyPart = `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)`

// append writes the BODYSTRUCTURE of entity i (RFC 3501 §7.4.2) and returns the
// index behind its last descendant. Its depth is bounded by MaxDepth.
func (st *structure) append(dst []byte, w *walk, i int32) ([]byte, int32) {
	e, f := &w.entities[i], &st.fragments[i]
	next := i + 1
	dst = append(dst, '(')
	if e.kind == multipart {
		if e.children == 0 {
			dst = append(dst, emptyPart...)
		}
		for range e.children {
			dst, next = st.append(dst, w, next)
		}
		dst = append(dst, ' ')
		dst = append(dst, f.base...)
		dst = append(dst, f.ext...)
		return append(dst, ')'), next
	}
	dst = append(dst, f.base...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, e.bodyLen, 10)
	if e.kind == embedded {
		dst = append(dst, ' ')
		dst = append(dst, st.fragments[next].envelope...)
		dst = append(dst, ' ')
		dst, next = st.append(dst, w, next)
	}
	if e.kind == embedded || e.typ.text {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, e.lines, 10)
	}
	dst = append(dst, f.ext...)
	return append(dst, ')'), next
}
