package message

import (
	"bytes"
	"encoding/base64"
)

// decodeTransfer removes a body's transfer encoding (RFC 2045 §6). It never
// fails: what is malformed is passed over or left as it is. The result may share
// memory with body.
func decodeTransfer(body []byte, encoding string) []byte {
	switch encoding {
	case "base64":
		return decodeBase64(body)
	case "quoted-printable":
		return decodeQuotedPrintable(body)
	}
	return body
}

var base64Value = func() (table [256]int8) {
	for i := range table {
		table[i] = -1
	}
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(digits) {
		table[digits[i]] = int8(i)
	}
	return table
}()

// decodeBase64 takes the standard library's fast way where the text is clean;
// else other octets are passed over and padding may stand anywhere.
func decodeBase64(s []byte) []byte {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	if n, err := base64.StdEncoding.Decode(out, s); err == nil {
		return out[:n]
	}
	out = out[:0]
	acc, digits := uint32(0), 0
	for _, c := range s {
		v := base64Value[c]
		if v < 0 && c != '=' {
			continue
		}
		if v < 0 { // the digits before the padding make one or two octets
			out = flushBase64(out, acc, digits)
			acc, digits = 0, 0
			continue
		}
		if acc, digits = acc<<6|uint32(v), digits+1; digits == 4 {
			out = append(out, byte(acc>>16), byte(acc>>8), byte(acc))
			acc, digits = 0, 0
		}
	}
	return flushBase64(out, acc, digits)
}

func flushBase64(dst []byte, acc uint32, digits int) []byte {
	switch digits {
	case 2:
		return append(dst, byte(acc>>4))
	case 3:
		return append(dst, byte(acc>>10), byte(acc>>2))
	}
	return dst
}

// decodeQuotedPrintable follows RFC 2045 §6.7: soft line breaks and white space
// at the end of lines go; an equals sign that means nothing stays.
func decodeQuotedPrintable(s []byte) []byte {
	if bytes.IndexByte(s, '=') < 0 {
		return s
	}
	return appendQuotedLines(make([]byte, 0, len(s)), s)
}

func appendQuotedLines(out, s []byte) []byte {
	for len(s) > 0 {
		line, ending := s, []byte(nil)
		if i := bytes.IndexByte(s, '\n'); i >= 0 {
			end := i
			if end > 0 && s[end-1] == '\r' {
				end--
			}
			line, ending, s = s[:end], s[end:i+1], s[i+1:]
		} else {
			s = nil
		}
		line = bytes.TrimRight(line, " \t")
		if len(line) > 0 && line[len(line)-1] == '=' {
			line, ending = line[:len(line)-1], nil
		}
		out = append(appendQuotedPrintable(out, line), ending...)
	}
	return out
}

func appendQuotedPrintable(out, line []byte) []byte {
	for {
		i := bytes.IndexByte(line, '=')
		if i < 0 {
			return append(out, line...)
		}
		out = append(out, line[:i]...)
		if i+2 < len(line) && unhex(line[i+1]) >= 0 && unhex(line[i+2]) >= 0 {
			out = append(out, byte(unhex(line[i+1])<<4|unhex(line[i+2])))
			line = line[i+3:]
			continue
		}
		out = append(out, '=')
		line = line[i+1:]
	}
}
