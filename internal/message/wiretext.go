package message

import "strconv"

// appendString writes b as an IMAP string (RFC 3501 §4.3): quoted where all of
// it is printable ASCII, else a literal with exactly its octets. NUL, which no
// IMAP string can carry, is dropped.
func appendString(dst, b []byte) []byte {
	quotable, nul, escapes := true, 0, false
	for _, c := range b {
		switch {
		case c == 0:
			nul++
		case c < ' ' && c != '\t' || c >= 0x7f:
			quotable = false
		case c == '"' || c == '\\':
			escapes = true
		}
	}
	if !quotable {
		dst = append(dst, '{')
		dst = strconv.AppendInt(dst, int64(len(b)-nul), 10)
		dst = append(dst, "}\r\n"...)
		return appendWithoutNUL(dst, b, nul)
	}
	dst = append(dst, '"')
	if escapes || nul > 0 {
		for _, c := range b {
			if c == '"' || c == '\\' {
				dst = append(dst, '\\')
			}
			if c != 0 {
				dst = append(dst, c)
			}
		}
	} else {
		dst = append(dst, b...)
	}
	return append(dst, '"')
}

func appendWithoutNUL(dst, b []byte, nul int) []byte {
	if nul == 0 {
		return append(dst, b...)
	}
	for _, c := range b {
		if c != 0 {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendNString writes NIL for nil, else a string.
func appendNString(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "NIL"...)
	}
	return appendString(dst, b)
}

// clip cuts text to at most n octets, not inside a UTF-8 sequence.
func clip[T ~string | ~[]byte](s T, n int) T {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
