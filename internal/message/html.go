package message

import (
	"bytes"
	"html"
)

// appendHTMLText appends the text of an HTML document: tags, comments, scripts
// and styles go, character references are resolved. Tags that end a line of text
// leave a line end, those within a word leave nothing. One pass, whatever is
// left open.
func appendHTMLText(dst, s []byte) []byte {
	h := htmlStripper{s: s}
	for h.i < len(h.s) {
		rest := h.s[h.i:]
		n := bytes.IndexByte(rest, '<')
		if n < 0 {
			n = len(rest)
		}
		if n > 0 {
			dst = appendUnescaped(dst, rest[:n])
			h.i += n
			continue
		}
		switch c := byteAt(rest, 1); {
		case c == '!' || c == '?':
			h.declaration()
		case c == '/' || 'a' <= lower(c) && lower(c) <= 'z':
			if h.tag() {
				dst = append(dst, '\n')
			}
		default:
			dst = append(dst, '<')
			h.i++
		}
	}
	return dst
}

func byteAt(s []byte, i int) byte {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// appendUnescaped resolves character references, at most 64 KiB at a time.
func appendUnescaped(dst, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '&')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		text = text[i:]
		n := 1
		for n < len(text) && n < 40 && text[n] != ';' && text[n] != '&' && text[n] > ' ' {
			n++
		}
		if byteAt(text, n) == ';' {
			n++
		}
		dst = append(dst, html.UnescapeString(string(text[:n]))...)
		text = text[n:]
	}
}

type htmlStripper struct {
	s    []byte
	i    int
	open [2]bool // no closing ' or " follows
}

// declaration moves behind a comment, doctype or processing instruction.
func (h *htmlStripper) declaration() {
	rest := h.s[h.i:]
	end := []byte(">")
	from := 1
	if bytes.HasPrefix(rest, []byte("<!--")) {
		end, from = []byte("-->"), 2 // "<!-->" is a comment, too
	}
	if n := bytes.Index(rest[from:], end); n >= 0 {
		h.i += from + n + len(end)
		return
	}
	h.i = len(h.s)
}

// tag moves behind a tag, and behind the content of one whose content is no
// text. It reports whether the tag separates words.
func (h *htmlStripper) tag() bool {
	start := h.i + 1
	closing := byteAt(h.s, start) == '/'
	if closing {
		start++
	}
	end := start
	for end < len(h.s) && end-start < 16 && h.s[end] > ' ' && h.s[end] != '>' && h.s[end] != '/' {
		end++
	}
	var buf [16]byte
	name := buf[:copy(buf[:], h.s[start:end])]
	for i := range name {
		name[i] = lower(name[i])
	}
	h.i = end
	h.attributes()
	switch string(name) {
	case "script", "style", "title", "template":
		if !closing {
			h.rawText(name)
		}
	case "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd",
		"mark", "q", "s", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr":
		return false
	}
	return true
}

// attributes moves behind the ">" of a tag; one in a quoted value does not count.
func (h *htmlStripper) attributes() {
	for h.i < len(h.s) {
		c := h.s[h.i]
		h.i++
		switch {
		case c == '>':
			return
		case c == '=':
			for h.i < len(h.s) && (h.s[h.i] == ' ' || h.s[h.i] == '\n' || h.s[h.i] == '\r' || h.s[h.i] == '\t') {
				h.i++
			}
			h.quoted()
		}
	}
}

// quoted moves behind a quoted value, unless its quote is never closed.
func (h *htmlStripper) quoted() {
	c := byteAt(h.s, h.i)
	which := 0
	switch c {
	case '"':
		which = 1
	case '\'':
	default:
		return
	}
	if h.open[which] {
		return
	}
	if n := bytes.IndexByte(h.s[h.i+1:], c); n >= 0 {
		h.i += n + 2
	} else {
		h.open[which] = true
	}
}

// rawText moves to the closing tag of an element whose content is no text.
func (h *htmlStripper) rawText(name []byte) {
	for {
		n := bytes.Index(h.s[h.i:], []byte("</"))
		if n < 0 {
			h.i = len(h.s)
			return
		}
		h.i += n
		if rest := h.s[h.i+2:]; len(rest) >= len(name) && equalFold(rest[:len(name)], string(name)) {
			return
		}
		h.i += 2
	}
}
