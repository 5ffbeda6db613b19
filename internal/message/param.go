package message

import (
	"bytes"
	"strconv"
)

// parseParams reads `value; name=value; name="value"` and appends the
// parameters to into. It is lenient: comments are dropped, an unquoted value
// reaches to the next semicolon, so that a file name may have spaces.
func parseParams(s []byte, into []param) (first []byte, params []param) {
	end := bytes.IndexAny(s, ";(")
	if end < 0 {
		return bytes.Trim(s, " \t"), into
	}
	first, s = bytes.Trim(s[:end], " \t"), s[end:]
	for len(into) < maxParams {
		var p param
		var ok bool
		if p, s, ok = nextParam(s); !ok {
			break
		}
		if len(p.name) > 0 {
			into = append(into, p)
		}
	}
	return first, into
}

// nextParam cuts one parameter off s. Its name is empty where there was none.
func nextParam(s []byte) (p param, rest []byte, ok bool) {
	for len(s) > 0 && (s[0] == ';' || s[0] == ' ' || s[0] == '\t' || s[0] == '(') {
		if s[0] == '(' {
			s = skipComment(s)
		} else {
			s = s[1:]
		}
	}
	if len(s) == 0 {
		return param{}, nil, false
	}
	i := bytes.IndexAny(s, "=;")
	if i < 0 || s[i] == ';' {
		if i < 0 {
			i = len(s)
		}
		return param{}, s[i:], true
	}
	p.name = bytes.Trim(s[:i], " \t")
	s = bytes.TrimLeft(s[i+1:], " \t")
	if len(s) > 0 && s[0] == '"' {
		p.value, s = quotedString(s)
		if i = bytes.IndexByte(s, ';'); i < 0 {
			i = len(s)
		}
		return p, s[i:], true
	}
	if i = bytes.IndexByte(s, ';'); i < 0 {
		i = len(s)
	}
	value := s[:i]
	if c := bytes.Index(value, []byte(" (")); c >= 0 {
		value = value[:c]
	}
	p.value = present(bytes.Trim(value, " \t"))
	return p, s[i:], true
}

// skipComment moves behind the comment that s starts with (RFC 5322 §3.2.2);
// an unclosed one takes all.
func skipComment(s []byte) []byte {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s[i+1:]
			}
		}
	}
	return nil
}

// quotedString reads the quoted string that s starts with and unescapes it. An
// unclosed one takes all.
func quotedString(s []byte) (value, rest []byte) {
	escaped := false
	i := 1
	for ; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			escaped = true
			i++
		}
	}
	i = min(i, len(s))
	value, rest = s[1:i], s[min(i+1, len(s)):]
	if escaped {
		value = unescape(value)
	}
	return value, rest
}

// unescape drops the backslashes of quoted pairs.
func unescape(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return out
}

// paramText is the decoded text of a parameter: RFC 2231 continuations joined
// and decoded, else encoded words (which RFC 2047 §5 forbids and everybody
// sends). At most 1 KiB of it is returned.
func paramText(params []param, name string) string {
	if v := findParam(params, name); v != nil {
		return clip(DecodeHeader(clip(v, 4<<10)), 1<<10)
	}
	var raw []byte
	charset := ""
	for n := 0; len(raw) < 4<<10; n++ {
		v, encoded := extendedParam(params, name, n)
		if v == nil {
			break
		}
		if encoded && n == 0 {
			if cs, rest, ok := bytes.Cut(v, []byte("'")); ok {
				charset = string(clip(cs, 64))
				if _, v, ok = bytes.Cut(rest, []byte("'")); !ok {
					v = rest
				}
			}
		}
		if encoded {
			v = percentDecode(v)
		}
		raw = append(raw, v...)
	}
	if raw == nil {
		return ""
	}
	return clip(decodeCharset(raw, charset), 1<<10)
}

// extendedParam finds piece n of a parameter: name*n*, name*n, or name* for the first.
func extendedParam(params []param, name string, n int) (value []byte, encoded bool) {
	piece := name + "*" + strconv.Itoa(n)
	for _, p := range params {
		switch {
		case equalFold(p.name, piece+"*"), n == 0 && equalFold(p.name, name+"*"):
			return p.value, true
		case equalFold(p.name, piece):
			return p.value, false
		}
	}
	return nil, false
}

func percentDecode(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= lower(c) && lower(c) <= 'f':
		return int(lower(c)-'a') + 10
	}
	return -1
}
