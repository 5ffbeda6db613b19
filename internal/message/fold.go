package message

import (
	"slices"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// FoldVersion changes when the same text would fold differently: stored texts
// of another version have to be made again.
const FoldVersion = 1

// Fold makes text comparable for SEARCH and SORT: stored texts and needles go
// through it alike, and a message matches when its folded text contains the
// folded needle. It is i;unicode-casemap (RFC 5051), rune by rune: the
// upper-case form, decomposed, compatibility forms included, so that é matches
// É, e with a combining accent, and the needle e; K (the Kelvin sign) matches k, ſ
// s, and ﬁ fi. On top of it
//   - a run of white space, line ends and control characters is one space, so
//     that a phrase is found over a line break;
//   - soft hyphens, zero-width spaces and byte order marks are dropped;
//   - what is not UTF-8 becomes U+FFFD;
//   - Hangul syllables stay whole.
//
// So folded text has no octet below 0x20, and a substring of a text is, folded,
// a substring of the folded text, save where a needle begins or ends inside
// a run of white space, where it matches more.
func Fold(s string) string {
	return string(FoldBytes(make([]byte, 0, len(s)+8), []byte(s)))
}

// FoldBytes is Fold that appends to dst.
func FoldBytes(dst, s []byte) []byte {
	dst, _ = appendFold(dst, s, false)
	return dst
}

// ASCII octets: the folded one, or ' ' for white space and controls.
var foldASCII = func() (table [utf8.RuneSelf]byte) {
	for c := range table {
		switch {
		case c <= ' ' || c == 0x7f:
			table[c] = ' '
		case 'a' <= c && c <= 'z':
			table[c] = byte(c) - 'a' + 'A'
		default:
			table[c] = byte(c)
		}
	}
	return table
}()

// appendFold folds a piece of text. space says that the text before it ended in
// white space, of which no more is to be written; it returns the same for dst.
func appendFold(dst, s []byte, space bool) ([]byte, bool) {
	dst = slices.Grow(dst, len(s))
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			var n int
			dst, n, space = appendFoldASCII(dst, s[i:], space)
			i += n
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		i += n
		folded := foldRune(r)
		if space && folded != "" && folded[0] == ' ' {
			folded = folded[1:]
		}
		if folded != "" {
			dst = append(dst, folded...)
			space = folded[len(folded)-1] == ' '
		}
	}
	return dst, space
}

// appendFoldASCII folds the ASCII octets that s begins with, n of them, into the
// room that dst has.
func appendFoldASCII(dst, s []byte, space bool) (out []byte, n int, _ bool) {
	dst = slices.Grow(dst, len(s))
	at := len(dst)
	out = dst[:cap(dst)]
	for _, c := range s {
		if c >= utf8.RuneSelf {
			break
		}
		n++
		c = foldASCII[c]
		if c == ' ' && space {
			continue
		}
		space = c == ' '
		out[at] = c
		at++
	}
	return out[:at], n, space
}

// foldPages caches what runes of the basic plane fold to, 256 at a time.
var foldPages [256]atomic.Pointer[[256]string]

// foldRune is the folded form of one rune beyond ASCII: possibly several runes,
// one space, or nothing.
func foldRune(r rune) string {
	if r > 0xffff {
		return computeFold(r)
	}
	page := foldPages[r>>8].Load()
	if page == nil {
		page = new([256]string)
		for low := range page {
			page[low] = computeFold(r&^0xff | rune(low))
		}
		foldPages[r>>8].Store(page)
	}
	return page[r&0xff]
}

func computeFold(r rune) string {
	switch {
	case r == 0xad || r == 0x200b || r == 0x2060 || r == 0xfeff:
		return ""
	case unicode.IsSpace(r) || unicode.IsControl(r):
		return " "
	case 0xac00 <= r && r <= 0xd7a3, r == utf8.RuneError, 0xd800 <= r && r <= 0xdfff:
		return string(r)
	}
	s := string(r)
	for range 4 { // until nothing changes: some upper-case forms decompose again
		next := upper(norm.NFKD.String(s))
		if next == s {
			break
		}
		s = next
	}
	return squeeze(s)
}

// upper maps rune by rune (full case mapping would make SS of ß), by way of the
// lower-case form: ẞ has one, ß has no upper-case form.
func upper(s string) string {
	out := make([]rune, 0, 4)
	for _, r := range s {
		out = append(out, unicode.ToUpper(unicode.ToLower(r)))
	}
	return string(out)
}

// squeeze makes one space of the white space that a decomposition has.
func squeeze(s string) string {
	out := make([]rune, 0, 8)
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			if r = ' '; len(out) > 0 && out[len(out)-1] == ' ' {
				continue
			}
		}
		out = append(out, r)
	}
	return string(out)
}
