package submission

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"

	pmail "posthouse/internal/mail"
)

// Field is one header field as it came, its folded lines and last CRLF included.
type Field struct {
	Name string
	Raw  []byte
}

// Is compares names, whatever their case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Body is the field's value, unfolded.
func (f Field) Body() string {
	_, v, _ := bytes.Cut(f.Raw, []byte(":"))
	return strings.TrimSpace(strings.ReplaceAll(string(v), "\r\n", ""))
}

// splitFields cuts a header into its fields. stray is what follows the first
// line that is none.
func splitFields(header []byte) (fields []Field, stray []byte) {
	for len(header) > 0 {
		i := bytes.Index(header, []byte("\r\n"))
		if i < 0 {
			return fields, header
		}
		line := header[:i+2]
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			last := &fields[len(fields)-1]
			last.Raw = last.Raw[:len(last.Raw)+len(line)] // the next line of the same array
		} else if name, ok := fieldName(line); ok {
			fields = append(fields, Field{name, line})
		} else {
			return fields, header
		}
		header = header[i+2:]
	}
	return fields, nil
}

func fieldName(line []byte) (string, bool) {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t") // obsolete syntax, RFC 5322 §4.5
	if !ok || len(name) == 0 {
		return "", false
	}
	for _, ch := range name {
		if ch <= ' ' || ch >= 0x7f {
			return "", false
		}
	}
	return string(name), true
}

// addresses parses a list of addresses for their mailboxes alone: the names may
// be in any charset, and in none.
var addresses = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, text io.Reader) (io.Reader, error) { return text, nil },
}}

// Addresses reads the addresses of a field such as From, To or Sender; there is
// at least one.
func Addresses(s string) ([]pmail.Address, error) {
	parsed, err := addresses.ParseList(strings.ToValidUTF8(s, "?"))
	if err != nil {
		return nil, err
	}
	if len(parsed) == 0 {
		return nil, mail.ErrHeaderNotPresent
	}
	list := make([]pmail.Address, 0, len(parsed))
	for _, p := range parsed {
		local, domain, ok := cutLast(p.Address, "@")
		if !ok {
			return nil, pmail.ErrAddress
		}
		if !strings.HasPrefix(domain, "[") {
			if domain, err = pmail.ParseDomain(domain); err != nil {
				return nil, err
			}
		}
		list = append(list, pmail.Address{Local: local, Domain: domain})
	}
	return list, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
