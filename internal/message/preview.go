package message

import (
	"bytes"
	"io"
	"unicode/utf8"
)

const (
	previewRunes  = 200 // RFC 8970 §3.1
	previewOctets = 256
	previewPlain  = 4 << 10  // octets of a text part that are looked at
	previewHTML   = 64 << 10 // of an HTML part, which may begin with styles
)

// preview is the beginning of the first text part that has any text (RFC 8970),
// its white space collapsed.
func preview(r io.ReaderAt, w *walk) (string, error) {
	tries := 0
	for i := range w.entities {
		e := &w.entities[i]
		if e.kind != leaf || !e.typ.isText() || e.typ.filename != "" || e.bodyLen == 0 {
			continue
		}
		limit := int64(previewPlain)
		if e.typ.isHTML() {
			limit = previewHTML
		}
		body, err := readBody(r, e, limit)
		if err != nil {
			return "", err
		}
		text := decodeCharsetBytes(decodeTransfer(body, e.typ.encoding), e.typ.charset)
		if e.typ.isHTML() {
			text = appendHTMLText(nil, text)
		}
		if p := collapse(text); p != "" {
			return p, nil
		}
		if tries++; tries == 4 {
			break
		}
	}
	return "", nil
}

// collapse makes the preview of a text.
func collapse(text []byte) string {
	out := make([]byte, 0, previewOctets)
	runes, space := 0, false
	for len(text) > 0 && runes < previewRunes {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 && !utf8.FullRune(text) {
			break // cut in the middle of a character
		}
		text = text[n:]
		switch folded := foldSpace(r); {
		case folded == ' ':
			space = len(out) > 0
			continue
		case folded < 0:
			continue
		}
		if space {
			out, space = append(out, ' '), false
			if runes++; runes == previewRunes {
				break
			}
		}
		if len(out)+utf8.RuneLen(r) > previewOctets {
			break
		}
		out = utf8.AppendRune(out, r)
		runes++
	}
	return string(bytes.TrimRight(out, " "))
}

// foldSpace is ' ' for white space and controls, -1 for what fills the start of
// newsletters unseen (zero-width and joining characters), else r.
func foldSpace(r rune) rune {
	switch {
	case r == 0xad, r == 0x34f, 0x200b <= r && r <= 0x200f, r == 0x2060, r == 0xfeff:
		return -1
	case r < utf8.RuneSelf && foldASCII[r] == ' ', r >= utf8.RuneSelf && foldRune(r) == " ":
		return ' '
	}
	return r
}
