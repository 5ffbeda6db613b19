package dsn

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWords bounds what is repeated of others' words, in octets: an address with
// its type, or a reply.
const maxWords = 1200

// oneLine makes s fit for a line of ours: controls, line and paragraph
// separators and what changes the direction of writing become spaces, bytes
// that are not UTF-8 question marks; it is cut at max octets.
func oneLine(s string, max int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r):
			return ' '
		}
		return r
	}, s))
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max] + "..."
}

// oneWord is for what stands in a structured field by itself: nothing but
// printable ASCII, no spaces and no brackets.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune("<>()\\,;\"", r) {
			return -1
		}
		return r
	}, s)
}

// ascii puts a question mark for all that is not.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// utf8Xtext is the 7-bit form of an address of type utf-8: utf-8-addr-xtext of
// RFC 6533 §3.
func utf8Xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > ' ' && r < 0x7f && r != '+' && r != '\\' && r != '=' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return b.String()
}

// fold breaks a field at its spaces, after about width octets; a word of more
// than 900 is broken where it stands, for no line may have more than 998 (RFC
// 5322 §2.1.1). Lines but the first begin with indent.
func fold(s, indent string, width int) string {
	const longest = 900
	var b strings.Builder
	line := 0
	for i, word := range strings.Fields(s) {
		for len(word) > longest {
			cut := longest
			for !utf8.RuneStart(word[cut]) {
				cut--
			}
			if line > 0 {
				b.WriteString("\r\n" + indent)
			}
			b.WriteString(word[:cut])
			word, line = word[cut:], longest
		}
		switch {
		case i == 0 && line == 0:
		case line+1+len(word) > width && line > 0:
			b.WriteString("\r\n" + indent)
			line = 0
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}
