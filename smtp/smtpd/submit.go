package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"

	pmail "posthouse/internal/mail"
)

// editor passes a submitted message on to the spool, its header mended as RFC
// 6409 §8 allows: a missing From, Date or Message-ID is added in front, Bcc is
// taken out (RFC 5322 §3.6.3). Every other octet stays as it is. And nobody
// writes under another's name: each address in From and Sender must be one
// that the account may send as.
type editor struct {
	c      *conn
	tx     *transaction
	out    io.Writer
	header []byte // until its end has been seen
	passed bool   // it has
}

func (c *conn) newEditor(tx *transaction, out io.Writer) *editor {
	return &editor{c: c, tx: tx, out: out}
}

// Write holds the header back until it is complete: at most Limits.Header.
func (e *editor) Write(p []byte) (int, error) {
	if e.passed {
		return e.out.Write(p)
	}
	from := max(len(e.header)-3, 0)
	e.header = append(e.header, p...)
	end := bytes.Index(e.header[from:], []byte("\r\n\r\n"))
	if bytes.HasPrefix(e.header, []byte("\r\n")) { // no header at all
		end, from = -2, 0
	}
	if end == -1 {
		if limit := e.c.srv.cfg.Limits.Header; len(e.header) > limit {
			return 0, pmail.Refuse(552, pmail.Enhanced{5, 3, 4}, fmt.Sprintf("Header of more than %d octets", limit))
		}
		return len(p), nil
	}
	if err := e.pass(e.header[:from+end+2], e.header[from+end+2:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// finish passes on a message that was all header.
func (e *editor) finish() error {
	if e.passed {
		return nil
	}
	header := e.header
	if len(header) > 0 && !bytes.HasSuffix(header, []byte("\r\n")) {
		header = append(header, "\r\n"...)
	}
	return e.pass(header, nil)
}

// pass writes the mended header, then rest, which begins with the empty line
// if there is one.
func (e *editor) pass(header, rest []byte) error {
	e.passed, e.header = true, nil
	fields, stray := splitFields(header)
	if len(stray) > 0 { // text where the header should be: it is the body
		rest = append(append([]byte("\r\n"), stray...), rest...)
	} else if len(rest) == 0 {
		rest = []byte("\r\n")
	}
	if err := e.checkNames(fields); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := e.addMissing(&b, fields); err != nil {
		return err
	}
	for _, f := range fields {
		if !f.is("Bcc") && !f.is("Resent-Bcc") {
			b.Write(f.raw)
		}
	}
	b.Write(rest)
	_, err := e.out.Write(b.Bytes())
	return err
}

// field is one header field as it came, its folded lines and last CRLF included.
type field struct {
	name string
	raw  []byte
}

func (f field) is(name string) bool { return strings.EqualFold(f.name, name) }

// body is the field's value, unfolded.
func (f field) body() string {
	_, v, _ := bytes.Cut(f.raw, []byte(":"))
	return strings.TrimSpace(strings.ReplaceAll(string(v), "\r\n", ""))
}

// splitFields cuts a header into its fields. stray is what follows the first
// line that is none.
func splitFields(header []byte) (fields []field, stray []byte) {
	for len(header) > 0 {
		i := bytes.Index(header, []byte("\r\n"))
		if i < 0 {
			return fields, header
		}
		line := header[:i+2]
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			last := &fields[len(fields)-1]
			last.raw = last.raw[:len(last.raw)+len(line)] // the next line of the same array
		} else if name, ok := fieldName(line); ok {
			fields = append(fields, field{name, line})
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

// checkNames refuses what shows somebody else's name (TRUST row 16).
func (e *editor) checkNames(fields []field) error {
	seen := make(map[string]bool)
	for _, f := range fields {
		name := strings.ToLower(f.name)
		if name != "from" && name != "sender" {
			continue
		}
		if seen[name] { // which one a reader sees is anybody's guess
			return pmail.Refuse(550, pmail.Enhanced{5, 6, 0}, "More than one "+f.name+" field")
		}
		seen[name] = true
		list, err := addressList(f.body())
		if err != nil {
			return pmail.Refuse(550, pmail.Enhanced{5, 6, 0}, "The address in "+f.name+" cannot be read")
		}
		for _, a := range list {
			if err := e.c.maySendAs(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// addresses parses a list of addresses for their mailboxes alone: the names may
// be in any charset, and in none.
var addresses = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, text io.Reader) (io.Reader, error) { return text, nil },
}}

// addressList reads the addresses of a From or Sender field; there is at least
// one.
func addressList(s string) ([]pmail.Address, error) {
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

// addMissing writes the fields that are not there.
func (e *editor) addMissing(b *bytes.Buffer, fields []field) error {
	has := make(map[string]bool, len(fields))
	for _, f := range fields {
		has[strings.ToLower(f.name)] = true
	}
	var h gomail.Header
	if !has["message-id"] {
		h.SetMessageID(e.tx.id + "@" + e.c.srv.cfg.Hostname)
	}
	if !has["date"] {
		h.SetDate(time.Now())
	}
	if !has["from"] {
		from := e.tx.From
		if from.IsZero() {
			from = e.c.account.Address
		}
		h.Set("From", "<"+from.String()+">")
	}
	if h.Len() == 0 {
		return nil
	}
	var head bytes.Buffer
	if err := textproto.WriteHeader(&head, h.Header.Header); err != nil {
		return err
	}
	b.Write(bytes.TrimSuffix(head.Bytes(), []byte("\r\n"))) // the header goes on
	return nil
}
