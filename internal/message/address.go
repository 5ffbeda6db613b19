package message

import "bytes"

// An address is one element of an address list as ENVELOPE has it (RFC 3501
// §7.4.2): a mailbox, or the start or end of a group. Quoting, comments and
// folding are resolved; encoded words and 8-bit octets are left as they are.
type address struct {
	role          addressRole
	name          []byte // display name, or a group's name; nil: none
	route         []byte // "@a,@b" of an obsolete source route; nil: none
	mailbox, host []byte // empty where the message has none
}

type addressRole uint8

const (
	isMailbox addressRole = iota
	groupStart
	groupEnd
)

// An addressParser takes an address list apart (RFC 5322 §3.4, §4.4) in one
// pass. It reads anything: what is no address becomes the best that can be made
// of it, so that a client shows something for every element.
type addressParser struct {
	s                []byte
	i                int
	out              []address
	phrase           []byte // the words of the current element, and of an address without brackets
	last             int    // where the last word begins in phrase
	comment          []byte // the last comment of the current element
	gap              bool   // white space or a comment since the last word
	cur              address
	bare             bool // cur holds an address without brackets
	angle            bool // cur holds an address in brackets
	used             bool // the element has something
	group            bool
	noQuote, noParen bool // no closing one follows: it is an ordinary character
}

// maxAddresses bounds the memory of one list. A header with more addresses is
// served, but ENVELOPE has the first ones only.
const maxAddresses = 20_000

// parseAddresses appends the elements of an unfolded address list to out, up to
// maxAddresses in all.
func parseAddresses(out []address, s []byte) []address {
	p := addressParser{s: s, out: out}
	for p.skip(); p.i < len(p.s) && len(p.out) < maxAddresses; p.skip() {
		switch c := p.s[p.i]; {
		case c == ',', c == ';':
			p.i++
			p.flush()
			if c == ';' && p.group {
				p.group = false
				p.out = append(p.out, address{role: groupEnd})
			}
		case c == ':' && !p.group && !p.bare && !p.angle && len(p.phrase) > 0:
			p.i++
			p.out = append(p.out, address{role: groupStart, mailbox: p.takePhrase()})
			p.group = true
			p.reset()
		case c == '<':
			if p.angle { // a comma is missing
				p.flush()
			}
			p.i++
			p.brackets()
		case c == '>':
			p.i++
		case c == '@' && !p.angle:
			p.i++
			p.addrSpec()
		default:
			p.word()
		}
	}
	p.flush()
	if p.group {
		p.out = append(p.out, address{role: groupEnd})
	}
	return p.out
}

// reset begins the next element.
func (p *addressParser) reset() {
	p.phrase, p.last, p.comment, p.gap = p.phrase[:0], 0, nil, false
	p.cur, p.bare, p.angle, p.used = address{}, false, false, false
}

// takePhrase copies the words of the element.
func (p *addressParser) takePhrase() []byte {
	return append([]byte{}, bytes.TrimSpace(p.phrase)...)
}

// skip moves over white space and comments.
func (p *addressParser) skip() {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			p.i++
			p.gap = true
		case c == '(' && !p.noParen:
			rest := skipComment(p.s[p.i:])
			if rest == nil {
				p.noParen = true
				return
			}
			end := len(p.s) - len(rest)
			p.comment = bytes.TrimSpace(p.s[p.i+1 : end-1])
			p.i = end
			p.gap = true
		default:
			return
		}
	}
}

// word reads an atom or a quoted string into the phrase.
func (p *addressParser) word() {
	w := p.scanWord()
	if p.gap && len(p.phrase) > 0 {
		p.phrase = append(p.phrase, ' ')
		p.last = len(p.phrase)
	}
	p.gap, p.used = false, true
	p.phrase = append(p.phrase, w...)
}

// scanWord reads an atom (anything up to a special) or a quoted string, whose
// quotes it removes.
func (p *addressParser) scanWord() []byte {
	rest := p.s[p.i:]
	if rest[0] == '"' && !p.noQuote {
		if v, after := quotedString(rest); len(after) > 0 || rest[len(rest)-1] == '"' && len(rest) > 1 {
			p.i = len(p.s) - len(after)
			return v
		}
		p.noQuote = true
	}
	if n := encodedWordLen(rest); n > 0 {
		p.i += n
		return rest[:n]
	}
	n := 1
	for n < len(rest) && !p.special(rest[n]) {
		n++
	}
	p.i += n
	return rest[:n]
}

// special reports whether c ends an atom.
func (p *addressParser) special(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', '<', '>', '@', ',', ';', ':':
		return true
	case '"':
		return !p.noQuote
	case '(':
		return !p.noParen
	}
	return false
}

// encodedWordLen is the length of the encoded word that s starts with, or 0. It
// is one word whatever specials it has: many programs leave a comma in it.
func encodedWordLen(s []byte) int {
	if len(s) < 8 || s[0] != '=' || s[1] != '?' {
		return 0
	}
	s = s[:min(len(s), maxEncodedWord)]
	marks := 0
	for i := 2; i < len(s); i++ {
		switch {
		case s[i] == ' ' || s[i] == '\t':
			return 0
		case s[i] != '?':
		case marks == 2 && i+1 < len(s) && s[i+1] == '=':
			return i + 2
		default:
			if marks++; marks > 2 {
				return 0
			}
		}
	}
	return 0
}

// addrSpec reads the domain of an address without brackets; its local part is
// the last word of the phrase.
func (p *addressParser) addrSpec() {
	if p.bare { // "a@b c@d": the first one counts
		p.phrase = append(append(p.phrase, '@'), p.domain()...)
		return
	}
	start := p.last
	for start > 1 && (p.phrase[start-2] == '.' || start < len(p.phrase) && p.phrase[start] == '.') {
		start = 1 + bytes.LastIndexByte(p.phrase[:start-1], ' ') // obsolete: white space around dots
	}
	p.cur.mailbox = append([]byte{}, p.phrase[start:]...)
	if start != p.last {
		p.cur.mailbox = bytes.ReplaceAll(p.cur.mailbox, []byte(" "), nil)
	}
	if name := bytes.TrimSpace(p.phrase[:start]); len(name) > 0 {
		p.cur.name = append([]byte{}, name...)
	}
	host := p.domain()
	p.cur.host = host
	p.phrase = append(append(p.phrase, '@'), host...) // all of it is a name if brackets follow
	p.bare, p.used, p.gap = true, true, false
}

// domain reads atoms and dots, or a literal, with comments and white space
// around the dots dropped.
func (p *addressParser) domain() []byte {
	host := []byte{}
	for p.skip(); p.i < len(p.s); p.skip() {
		c := p.s[p.i]
		if c == '@' { // a@b@c: nobody knows, but nothing is lost
			host = append(host, c)
			p.i++
			continue
		}
		joined := len(host) == 0 || c == '.' || host[len(host)-1] == '.' || host[len(host)-1] == '@'
		if !joined || p.special(c) && c != '"' {
			break
		}
		if c == '[' {
			near := p.s[p.i:min(p.i+256, len(p.s))]
			if end := bytes.IndexByte(near, ']'); end > 0 {
				host = append(host, near[:end+1]...)
				p.i += end + 1
				continue
			}
		}
		host = append(host, p.scanWord()...)
	}
	return host
}

// brackets reads what stands between < and >.
func (p *addressParser) brackets() {
	p.cur = address{}
	if name := p.takePhrase(); len(name) > 0 {
		p.cur.name = name
	}
	p.angle, p.used = true, true
	p.skip()
	if p.i < len(p.s) && (p.s[p.i] == '@' || p.s[p.i] == ',') {
		p.route()
	}
	local := []byte{}
	p.gap = false
	for p.skip(); p.i < len(p.s); p.skip() {
		c := p.s[p.i]
		if c == '>' || c == ',' || c == '<' {
			break
		}
		if c == '@' {
			p.i++
			p.cur.host = p.domain()
			break
		}
		if p.gap && len(local) > 0 && local[len(local)-1] != '.' && c != '.' {
			local = append(local, ' ')
		}
		p.gap = false
		local = append(local, p.scanWord()...)
	}
	p.cur.mailbox = local
	p.phrase, p.last, p.comment = p.phrase[:0], 0, nil
	if p.i < len(p.s) && p.s[p.i] == '>' {
		p.i++
	}
}

// route reads "@a,@b:" (RFC 5322 §4.4) where a colon ends it before the
// brackets do.
func (p *addressParser) route() {
	end := bytes.IndexAny(p.s[p.i:min(p.i+1000, len(p.s))], ":>")
	if end < 0 || p.s[p.i+end] == '>' {
		return
	}
	q := addressParser{s: p.s[p.i : p.i+end]}
	route := []byte{}
	for q.skip(); q.i < len(q.s); q.skip() {
		route = append(route, q.s[q.i])
		q.i++
	}
	p.cur.route = route
	p.i += end + 1
}

// flush ends the current element.
func (p *addressParser) flush() {
	defer p.reset()
	if !p.used {
		return
	}
	switch {
	case p.angle:
		if rest := p.takePhrase(); p.cur.name == nil && len(rest) > 0 {
			p.cur.name = rest // "<a@b> Name"
		}
	case p.bare:
		if p.cur.name == nil && len(p.comment) > 0 {
			p.cur.name = unescape(p.comment)
		}
	default:
		text := p.takePhrase()
		if bytes.IndexByte(text, ' ') < 0 {
			p.cur.mailbox = text // "postmaster": a mailbox without its domain
		} else {
			p.cur.name = text
		}
		if p.cur.name == nil && len(p.comment) > 0 {
			p.cur.name = unescape(p.comment)
		}
	}
	p.cur.mailbox, p.cur.host = present(p.cur.mailbox), present(p.cur.host)
	p.out = append(p.out, p.cur)
}
