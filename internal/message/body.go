package message

import "bytes"

// BodyFromStructure derives BODY, which has no extension data, from a
// BODYSTRUCTURE that Parse wrote (RFC 3501 §7.4.2).
func BodyFromStructure(structure []byte) []byte {
	b := bodyWriter{in: structure, out: make([]byte, 0, len(structure))}
	b.body()
	return b.out
}

// bodyWriter copies one body after another without its last fields.
type bodyWriter struct {
	in, out []byte
}

// body copies one parenthesised body. Its depth is that of the structure.
func (b *bodyWriter) body() {
	if !b.take('(') {
		return
	}
	if len(b.in) > 0 && b.in[0] == '(' { // multipart: parts, subtype
		for len(b.in) > 0 && b.in[0] == '(' {
			b.body()
		}
		b.values(1)
	} else { // type, subtype, parameters, id, description, encoding, size
		major, minor := b.peekTwo()
		b.values(7)
		switch {
		case equalFold(major, "text"):
			b.values(1)
		case equalFold(major, "message") && (equalFold(minor, "rfc822") || equalFold(minor, "global")):
			b.values(1)
			if b.take(' ') {
				b.body()
			}
			b.values(1)
		}
	}
	for len(b.in) > 0 && b.in[0] != ')' { // the extension data
		b.in = b.in[valueLen(b.in):]
	}
	b.take(')')
}

// take copies the next octet if it is c.
func (b *bodyWriter) take(c byte) bool {
	if len(b.in) == 0 || b.in[0] != c {
		return false
	}
	b.in, b.out = b.in[1:], append(b.out, c)
	return true
}

// values copies n values with the space before each.
func (b *bodyWriter) values(n int) {
	for ; n > 0 && len(b.in) > 0 && b.in[0] != ')'; n-- {
		length := valueLen(b.in)
		b.out = append(b.out, b.in[:length]...)
		b.in = b.in[length:]
	}
}

// peekTwo is the text of the next two strings.
func (b *bodyWriter) peekTwo() (first, second []byte) {
	n := valueLen(b.in)
	m := valueLen(b.in[n:])
	return bytes.Trim(b.in[:n], ` "`), bytes.Trim(b.in[n:n+m], ` "`)
}

// valueLen is the length of the value that s starts with, and of the space
// before it: a string, a literal, an atom, or a list of them. It is at least 1
// while s has anything.
func valueLen(s []byte) int {
	n, depth := 0, 0
	if len(s) > 0 && s[0] == ' ' {
		n = 1
	}
	for n < len(s) {
		switch s[n] {
		case '(':
			depth++
			n++
		case ')':
			if depth == 0 {
				return max(n, 1)
			}
			depth--
			n++
		case '"':
			for n++; n < len(s) && s[n] != '"'; n++ {
				if s[n] == '\\' {
					n++
				}
			}
			n = min(n+1, len(s))
		case '{':
			n = literalEnd(s, n)
		case ' ':
			n++
			continue
		default:
			for n < len(s) && s[n] != ' ' && s[n] != ')' && s[n] != '(' {
				n++
			}
		}
		if depth == 0 {
			return n
		}
	}
	return n
}

// literalEnd is the index behind the literal "{12}\r\n…" at n.
func literalEnd(s []byte, n int) int {
	length := 0
	for n++; n < len(s) && s[n] >= '0' && s[n] <= '9' && length < len(s); n++ {
		length = length*10 + int(s[n]-'0')
	}
	return min(n+len("}\r\n")+length, len(s))
}
