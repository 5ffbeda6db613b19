package wire

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrUTF7 refuses a name that is not modified UTF-7 (RFC 3501 §5.1.3).
const ErrUTF7 = NameError("is not valid modified UTF-7")

// base64 of modified UTF-7: "," stands where "/" does elsewhere, because "/" is
// a favourite hierarchy delimiter, and there is no padding.
const alphabet7 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

// values7 is the value of each octet of the alphabet, 0xff for the others.
var values7 = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range len(alphabet7) {
		v[alphabet7[i]] = byte(i)
	}
	return v
}()

// DecodeUTF7 reads a mailbox name in modified UTF-7 into UTF-8. It is strict: a
// shift that is not closed, printable ASCII hidden in base64, two shifts where one
// would do, half a surrogate pair and stray bits are ErrUTF7, so that one name has
// one spelling. Two things are forgiven: an "&" that cannot be meant as a shift
// ("R&D", "A & B") stands for itself, because Thunderbird sends it; and so do
// characters in UTF-8, because go-imap's client sends them, beside "&-" for the
// ampersand, to whoever advertises IMAP4rev2, without having enabled it.
func DecodeUTF7(s string) (string, error) {
	out := make([]byte, 0, len(s))
	shifted := -1 // where the last shift ended: another one there is superfluous
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError {
				return "", ErrUTF7
			}
			out = append(out, s[i:i+n]...)
			i += n
			continue
		}
		i++
		if c != '&' {
			out = append(out, c)
			continue
		}
		n := 0
		for i+n < len(s) && values7[s[i+n]] != 0xff {
			n++
		}
		closed := i+n < len(s) && s[i+n] == '-'
		if closed && n == 0 { // "&-" is the ampersand
			out = append(out, '&')
			i++
			continue
		}
		longer, ok := appendShift(out, s[i:i+n])
		switch {
		case ok && closed && shifted != i-1:
			out = longer
			i += n + 1
			shifted = i
		case !ok && !closed:
			out = append(out, '&') // and what follows is read as plain text
		default:
			return "", ErrUTF7
		}
	}
	return string(out), nil
}

// appendShift appends the text of one base64 run. It reports false when the run
// is not the canonical form of some text beyond printable ASCII.
func appendShift(out []byte, run string) ([]byte, bool) {
	var bits uint32
	var have uint
	var high rune // the first half of a surrogate pair
	if run == "" {
		return out, false
	}
	for i := range len(run) {
		bits = bits<<6 | uint32(values7[run[i]])
		if have += 6; have < 16 {
			continue
		}
		have -= 16
		u := rune(bits >> have & 0xffff)
		bits &= 1<<have - 1
		switch {
		case high != 0:
			r := utf16.DecodeRune(high, u)
			if r == utf8.RuneError {
				return out, false
			}
			out = utf8.AppendRune(out, r)
			high = 0
		case u >= 0xd800 && u < 0xdc00:
			high = u
		case utf16.IsSurrogate(u) || u >= 0x20 && u < 0x7f:
			return out, false
		default:
			out = utf8.AppendRune(out, u)
		}
	}
	return out, high == 0 && have < 6 && bits == 0
}

// EncodeUTF7 writes a name in modified UTF-7, in its one canonical form. Octets
// that are not UTF-8 become U+FFFD.
func EncodeUTF7(s string) string {
	plain := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e || s[i] == '&' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var out strings.Builder
	var bits uint32
	var have uint
	shifted := false
	unit := func(u uint16) {
		bits, have = bits<<16|uint32(u), have+16
		for have >= 6 {
			have -= 6
			out.WriteByte(alphabet7[bits>>have&63])
		}
		bits &= 1<<have - 1
	}
	leave := func() {
		if !shifted {
			return
		}
		if have > 0 {
			out.WriteByte(alphabet7[bits<<(6-have)&63])
		}
		out.WriteByte('-')
		bits, have, shifted = 0, 0, false
	}
	for _, r := range s {
		switch {
		case r == '&':
			leave()
			out.WriteString("&-")
			continue
		case r >= 0x20 && r <= 0x7e:
			leave()
			out.WriteByte(byte(r))
			continue
		case !shifted:
			out.WriteByte('&')
			shifted = true
		}
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			unit(uint16(high))
			unit(uint16(low))
		} else {
			unit(uint16(r))
		}
	}
	leave()
	return out.String()
}
