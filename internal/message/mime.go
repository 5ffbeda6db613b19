package message

import "bytes"

// maxParams is how many parameters of one field are kept.
const maxParams = 256

// param is one parameter of a structured MIME field (RFC 2045 §5.1), named as
// in the message: the pieces of RFC 2231 stay apart, for the client to join.
type param struct{ name, value []byte }

// mimeHeader is what one header says about its body (RFC 2045, 2183, 3282,
// 2557, 1864). Values are nil where the field is missing; they may share the
// header's memory.
type mimeHeader struct {
	major, minor   []byte // as received
	params         []param
	boundary       string
	encoding       string // lower-case
	id, desc       []byte
	md5, location  []byte
	disposition    []byte
	dispositionSet []param
	language       [][]byte
	typed          bool // Content-Type was there and made sense
}

// mediaType is what is remembered of every entity after its header was read.
type mediaType struct {
	name     string // lower-case type/subtype, at most 127 octets
	charset  string // as received, at most 64 octets
	encoding string
	filename string // decoded, at most 1 KiB
	text     bool   // text/*
	digest   bool
}

func (m *mimeHeader) is(major string) bool { return equalFold(m.major, major) }

func (m *mimeHeader) isMultipart() bool { return m.is("multipart") }

func (m *mimeHeader) isMessage() bool {
	return m.is("message") && (equalFold(m.minor, "rfc822") || equalFold(m.minor, "global"))
}

// makeText declares the body plain text: a multipart without a boundary.
func (m *mimeHeader) makeText() {
	m.major, m.minor, m.params, m.typed = []byte("text"), []byte("plain"), nil, false
}

// makeOpaque declares the body mere octets: what lies too deep to be followed.
func (m *mimeHeader) makeOpaque() {
	m.major, m.minor, m.params = []byte("application"), []byte("octet-stream"), nil
}

// parse reads the MIME fields of a header. The first field of a name counts.
func (m *mimeHeader) parse(header []byte, digest bool) {
	*m = mimeHeader{params: m.params[:0], dispositionSet: m.dispositionSet[:0], language: m.language[:0]}
	var haveType, haveEncoding bool
	ScanFields(header, func(name, raw []byte) bool {
		if len(name) < len("Content-ID") || !equalFold(name[:8], "content-") {
			return true
		}
		_, value := splitField(raw)
		switch rest := name[8:]; {
		case equalFold(rest, "type") && !haveType:
			haveType = true
			m.parseType(unfold(value))
		case equalFold(rest, "transfer-encoding") && !haveEncoding:
			haveEncoding = true
			m.encoding = parseEncoding(unfold(value))
		case equalFold(rest, "disposition") && m.disposition == nil:
			m.disposition, m.dispositionSet = parseParams(unfold(value), m.dispositionSet)
		case equalFold(rest, "id") && m.id == nil:
			m.id = present(unfold(value))
		case equalFold(rest, "description") && m.desc == nil:
			m.desc = present(unfold(value))
		case equalFold(rest, "md5") && m.md5 == nil:
			m.md5 = present(unfold(value))
		case equalFold(rest, "location") && m.location == nil:
			m.location = present(unfold(value))
		case equalFold(rest, "language") && len(m.language) == 0:
			m.parseLanguage(unfold(value))
		}
		return true
	})
	if !m.typed {
		m.makeText()
		if digest {
			m.major, m.minor = []byte("message"), []byte("rfc822")
		}
	}
	if m.encoding == "" {
		m.encoding = "7bit"
	}
}

// present keeps an empty value apart from a missing one.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// parseType reads Content-Type. One that makes no sense is left out, so that
// the default holds (RFC 2045 §5.2).
func (m *mimeHeader) parseType(value []byte) {
	typ, params := parseParams(value, m.params)
	m.params = params
	major, minor, _ := bytes.Cut(typ, []byte("/"))
	major, minor = bytes.Trim(major, " \t"), bytes.Trim(minor, " \t")
	if len(minor) == 0 {
		if !equalFold(major, "text") {
			m.params = m.params[:0]
			return
		}
		minor = []byte("plain")
	}
	if !isToken(major) || !isToken(minor) {
		m.params = m.params[:0]
		return
	}
	m.major, m.minor, m.typed = major, minor, true
	for _, p := range m.params {
		if m.boundary == "" && equalFold(p.name, "boundary") {
			m.boundary = string(bytes.TrimRight(p.value, " \t"))
		}
	}
}

// encodings are those that RFC 2045 §6.1 and RFC 3030 define. Outlook looks for
// them in lower case.
var encodings = []string{"7bit", "8bit", "base64", "quoted-printable", "binary"}

// parseEncoding is the lower-case encoding; one that is no token is as good as missing.
func parseEncoding(value []byte) string {
	if i := bytes.IndexAny(value, ";( \t"); i >= 0 {
		value = value[:i]
	}
	for _, e := range encodings {
		if equalFold(value, e) {
			return e
		}
	}
	if len(value) > 64 || !isToken(value) {
		return ""
	}
	return lowerString(value)
}

func (m *mimeHeader) parseLanguage(value []byte) {
	for tag := range bytes.SplitSeq(value, []byte(",")) {
		if i := bytes.IndexByte(tag, '('); i >= 0 {
			tag = tag[:i]
		}
		if tag = bytes.Trim(tag, " \t"); len(tag) > 0 && len(m.language) < maxParams {
			m.language = append(m.language, tag)
		}
	}
}

// mediaType copies what is kept of the header.
func (m *mimeHeader) mediaType() mediaType {
	t := mediaType{encoding: m.encoding, text: m.is("text")}
	if len(m.major)+len(m.minor) < 127 {
		t.name = commonType(m.major, m.minor)
	}
	t.digest = t.name == "multipart/digest"
	if cs := findParam(m.params, "charset"); len(cs) <= 64 {
		t.charset = string(cs)
	}
	if m.is("multipart") {
		return t
	}
	if t.filename = paramText(m.dispositionSet, "filename"); t.filename == "" {
		t.filename = paramText(m.params, "name")
	}
	return t
}

// commonType is the lower-case name, without an allocation for the most frequent.
func commonType(major, minor []byte) string {
	if equalFold(major, "text") {
		switch {
		case equalFold(minor, "plain"):
			return "text/plain"
		case equalFold(minor, "html"):
			return "text/html"
		}
	}
	return lowerString(major) + "/" + lowerString(minor)
}

func findParam(params []param, name string) []byte {
	for _, p := range params {
		if equalFold(p.name, name) {
			return p.value
		}
	}
	return nil
}

// isToken follows RFC 2045 §5.1.
func isToken(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`()<>@,;:\"/[]?=`), c) >= 0 {
			return false
		}
	}
	return len(b) > 0
}
