package message

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// maxEncodedWord is the longest encoded word that is looked for, in octets; RFC
// 2047 §2 allows 75, programs exceed it.
const maxEncodedWord = 1000

// DecodeHeader decodes the encoded words (RFC 2047) of a header field's value
// and unfolds it. Encoded words are also found inside words and quoted strings,
// where many programs put them. Raw 8-bit octets are read as UTF-8 where that is
// valid (RFC 6532), else as windows-1252. The result is valid UTF-8.
func DecodeHeader(raw []byte) string {
	raw = unfold(raw)
	i := bytes.Index(raw, []byte("=?"))
	if i < 0 {
		return rawText(raw)
	}
	var out strings.Builder
	out.Grow(len(raw))
	for from := i; i >= 0; i = indexFrom(raw, from) {
		word, rest, ok := cutEncodedWord(raw[i:])
		if !ok {
			from = i + 2
			continue
		}
		out.WriteString(rawText(raw[:i]))
		raw = decodeRun(&out, word, rest)
		from = 0
	}
	out.WriteString(rawText(raw))
	return out.String()
}

// indexFrom finds the next "=?" at from or behind.
func indexFrom(s []byte, from int) int {
	if i := bytes.Index(s[from:], []byte("=?")); i >= 0 {
		return from + i
	}
	return -1
}

// decodeRun writes an encoded word and those that follow it, and returns what is
// behind them. White space between encoded words is no part of the text (RFC 2047
// §6.2). Neighbours in one charset are decoded as one: programs cut inside a
// character.
func decodeRun(out *strings.Builder, word encodedWord, rest []byte) []byte {
	payload := word.payload
	for {
		next, after, ok := cutEncodedWord(bytes.TrimLeft(rest, " \t"))
		if !ok {
			break
		}
		if strings.EqualFold(next.charset, word.charset) {
			payload = append(payload, next.payload...)
		} else {
			out.WriteString(validText(decodeCharset(payload, word.charset)))
			word, payload = next, next.payload
		}
		rest = after
	}
	out.WriteString(validText(decodeCharset(payload, word.charset)))
	return rest
}

// rawText reads octets outside of encoded words.
func rawText(raw []byte) string {
	return validText(decodeCharset(raw, ""))
}

// validText replaces what is not UTF-8.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

type encodedWord struct {
	charset string
	payload []byte // transfer encoding removed
}

// cutEncodedWord reads the encoded word that s starts with: "=?charset?B?…?=".
func cutEncodedWord(s []byte) (w encodedWord, rest []byte, ok bool) {
	if len(s) < 8 || s[0] != '=' || s[1] != '?' {
		return w, nil, false
	}
	limit := s[2:min(len(s), maxEncodedWord)]
	charset, text, ok := bytes.Cut(limit, []byte("?"))
	if !ok || len(charset) == 0 || len(text) < 4 || text[1] != '?' {
		return w, nil, false
	}
	scheme := lower(text[0])
	text = text[2:]
	// A question mark before "=" ends it; Q text that starts with "=" makes "?=" ambiguous only there.
	end := bytes.Index(text, []byte("?="))
	if end < 0 {
		return w, nil, false
	}
	w.charset = string(charset)
	rest = s[2+len(charset)+3+end+2:]
	switch text = text[:end]; scheme {
	case 'b':
		w.payload = decodeBase64(text)
	case 'q':
		w.payload = decodeQ(text)
	default:
		return w, nil, false
	}
	return w, rest, true
}

// decodeQ reads the Q encoding (RFC 2047 §4.2).
func decodeQ(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '_':
			out = append(out, ' ')
		case s[i] == '=' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return out
}
