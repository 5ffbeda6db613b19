package api

import (
	"encoding/base64"
	"fmt"
	"mime"
	"net/mail"
	"strings"
	"unicode/utf8"
)

// lineLength is where header lines are folded (RFC 5322 §2.1.1).
const lineLength = 76

// rawField is a whole field, folded at spaces, with its CRLF. value has no
// control characters, and no word of it is longer than a line may be.
//
// go-message's own folding puts a space into words that are longer than a
// line, which breaks addresses of web pages and encoded file names.
func rawField(name, value string) []byte {
	var b strings.Builder
	b.WriteString(name + ":")
	line := b.Len()
	for word := range strings.FieldsSeq(value) {
		if line+1+len(word) > lineLength && line > len(name)+1 {
			b.WriteString("\r\n")
			line = 0
		}
		b.WriteString(" " + word)
		line += 1 + len(word)
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// unstructured makes the text of a field such as Subject: encoded words (RFC
// 2047) where it is not ASCII, or where a word is too long to be folded, or
// where spaces would be lost.
func unstructured(s string) string {
	if !needsEncoding(s) {
		return s
	}
	// 45 octets become 60 characters; with "=?utf-8?b?" and "?=" 72 of the 75 allowed.
	var words []string
	for len(s) > 0 {
		n := min(45, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

func needsEncoding(s string) bool {
	if !isPrintable(s) || strings.Contains(s, "=?") || strings.Contains(s, "  ") || strings.TrimSpace(s) != s {
		return true
	}
	for word := range strings.FieldsSeq(s) {
		if len(word) > 700 {
			return true
		}
	}
	return false
}

// addressList is the text of a field of addresses.
func addressList(people []person) string {
	list := make([]string, len(people))
	for i, p := range people {
		list[i] = p.String()
	}
	return strings.Join(list, ", ")
}

// String is the person as a header shows it.
func (p person) String() string {
	at := "<" + p.address.String() + ">"
	switch {
	case p.name == "":
		return p.address.String()
	case needsEncoding(p.name):
		return unstructured(p.name) + " " + at
	}
	// net/mail quotes what is more than words.
	name := (&mail.Address{Name: p.name, Address: "a@b"}).String()
	return strings.TrimSuffix(name, "<a@b>") + at
}

// disposition is a Content-Disposition with a file name (RFC 2183); what is not
// short ASCII is written as RFC 2231 has it, in pieces that fit a line.
func disposition(kind, filename string) string {
	if filename == "" {
		return kind
	}
	if isPrintable(filename) && len(filename) <= 60 {
		return kind + "; " + strings.TrimPrefix(mime.FormatMediaType("x", map[string]string{"filename": filename}), "x; ")
	}
	var b strings.Builder
	b.WriteString(kind)
	piece, n := "utf-8''", 0
	flush := func() {
		fmt.Fprintf(&b, "; filename*%d*=%s", n, piece)
		piece, n = "", n+1
	}
	for i := 0; i < len(filename); i++ {
		c := filename[i]
		one := string(c)
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_", c) >= 0) {
			one = fmt.Sprintf("%%%02X", c)
		}
		if len(piece)+len(one) > 58 {
			flush()
		}
		piece += one
	}
	flush()
	return b.String()
}
