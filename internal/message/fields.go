package message

import "bytes"

// ScanFields calls yield for each field of a header with its name and its whole
// lines (name, colon, value, line ends), until yield returns false. A line that
// is no field has an empty name. The header ends at its empty line.
func ScanFields(header []byte, yield func(name, raw []byte) bool) {
	for len(header) > 0 {
		n := fieldEnd(header)
		raw := header[:n]
		header = header[n:]
		if raw[0] == '\n' || raw[0] == '\r' && len(raw) == 2 && raw[1] == '\n' {
			return
		}
		name, _ := splitField(raw)
		if !yield(name, raw) {
			return
		}
	}
}

// fieldEnd is the length of the first field of a header, folded lines included.
func fieldEnd(header []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(header[n:], '\n')
		if i < 0 {
			return len(header)
		}
		n += i + 1
		if n == len(header) || header[n] != ' ' && header[n] != '\t' {
			return n
		}
	}
}

// splitField cuts a field at its colon. The name is empty where the line is no
// field (RFC 5322 §2.2: printable US-ASCII up to the colon; §4.5 allows white
// space before it).
func splitField(raw []byte) (name, value []byte) {
	i := bytes.IndexByte(raw, ':')
	if i <= 0 {
		return nil, raw
	}
	name = bytes.TrimRight(raw[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return nil, raw
		}
	}
	return name, raw[i+1:]
}

// IsFieldName reports whether a header field can have that name.
func IsFieldName(name string) bool {
	field, _ := splitField([]byte(name + ":"))
	return string(field) == name && name != ""
}

// unfold makes one line of a field's value: line ends and NUL are dropped, the
// white space that folded it stays (RFC 5322 §2.2.3), the white space around it
// goes. It copies only where it has to.
func unfold(value []byte) []byte {
	value = bytes.TrimRight(value, " \t\r\n")
	value = bytes.TrimLeft(value, " \t\r\n")
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, 0) < 0 {
		return value
	}
	out := make([]byte, 0, len(value))
	for i, c := range value {
		switch {
		case c == '\n' || c == 0:
		case c == '\r' && i+1 < len(value) && value[i+1] == '\n':
		default:
			out = append(out, c)
		}
	}
	return out
}

// Field is the first value of a field: unfolded, trimmed, not decoded.
func Field(header []byte, name string) (string, bool) {
	var value string
	var found bool
	ScanFields(header, func(n, raw []byte) bool {
		if found = equalFold(n, name); found {
			_, v := splitField(raw)
			value = string(unfold(v))
		}
		return !found
	})
	return value, found
}

// FilterFields appends to dst the lines of header whose field names are (or,
// with not, are not) among names, in their order, verbatim. The empty line that
// ends a header is left out: the caller adds it.
func FilterFields(dst, header []byte, names []string, not bool) []byte {
	ScanFields(header, func(name, raw []byte) bool {
		if among(name, names) != not {
			dst = append(dst, raw...)
		}
		return true
	})
	return dst
}

func among(name []byte, names []string) bool {
	for _, n := range names {
		if equalFold(name, n) {
			return true
		}
	}
	return false
}

// equalFold compares ASCII without case. Names of fields, types and parameters
// are ASCII; bytes.EqualFold would take U+212A for a k.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// lowerString is the ASCII lower-case form of b.
func lowerString(b []byte) string {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return string(bytes.Map(func(r rune) rune {
				if 'A' <= r && r <= 'Z' {
					return r + 'a' - 'A'
				}
				return r
			}, b))
		}
	}
	return string(b)
}
