// Package submission mends the header of mail that users of this site hand in,
// by SMTP or over HTTP, as RFC 6409 §8 allows: a missing From, Date or
// Message-ID is added in front, Bcc is taken out (RFC 5322 §3.6.3). Every other
// octet stays as it is. And nobody writes under another's name: each address in
// From and Sender is asked about.
package submission

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"

	"posthouse/internal/mail"
)

// Editor passes a message on to Out, its header mended. Write it whole, then
// Finish it. Its errors are *mail.Error where the message is at fault.
type Editor struct {
	Out          io.Writer
	ID, Hostname string
	Sender       mail.Address // stands in a From that is missing
	Limit        int          // octets of the header that are held back, at most
	// MaySendAs is asked for each address in From and Sender (TRUST row 16).
	MaySendAs func(mail.Address) error
	// Inspect, unless nil, sees the header as it came, before anything of it
	// is written.
	Inspect func([]Field) error

	// Author is the first address in From, once the header has been passed on:
	// its domain is the one that signs.
	Author mail.Address

	header []byte // until its end has been seen
	passed bool   // it has
}

// Write holds the header back until it is complete.
func (e *Editor) Write(p []byte) (int, error) {
	if e.passed {
		return e.Out.Write(p)
	}
	from := max(len(e.header)-3, 0)
	e.header = append(e.header, p...)
	end := bytes.Index(e.header[from:], []byte("\r\n\r\n"))
	if bytes.HasPrefix(e.header, []byte("\r\n")) { // no header at all
		end, from = -2, 0
	}
	if end == -1 {
		if len(e.header) > e.Limit {
			return 0, mail.Refuse(552, mail.Enhanced{5, 3, 4}, fmt.Sprintf("Header of more than %d octets", e.Limit))
		}
		return len(p), nil
	}
	if err := e.pass(e.header[:from+end+2], e.header[from+end+2:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Finish passes on a message that was all header.
func (e *Editor) Finish() error {
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
func (e *Editor) pass(header, rest []byte) error {
	e.passed, e.header = true, nil
	fields, stray := splitFields(header)
	if len(stray) > 0 { // text where the header should be: it is the body
		rest = append(append([]byte("\r\n"), stray...), rest...)
	} else if len(rest) == 0 {
		rest = []byte("\r\n")
	}
	if e.Inspect != nil {
		if err := e.Inspect(fields); err != nil {
			return err
		}
	}
	if err := e.checkNames(fields); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := e.addMissing(&b, fields); err != nil {
		return err
	}
	for _, f := range fields {
		if !f.Is("Bcc") && !f.Is("Resent-Bcc") {
			b.Write(f.Raw)
		}
	}
	b.Write(rest)
	_, err := e.Out.Write(b.Bytes())
	return err
}

// checkNames refuses what shows somebody else's name.
func (e *Editor) checkNames(fields []Field) error {
	e.Author = e.Sender
	seen := make(map[string]bool)
	for _, f := range fields {
		name := strings.ToLower(f.Name)
		if name != "from" && name != "sender" {
			continue
		}
		if seen[name] { // which one a reader sees is anybody's guess
			return mail.Refuse(550, mail.Enhanced{5, 6, 0}, "More than one "+f.Name+" field")
		}
		seen[name] = true
		list, err := Addresses(f.Body())
		if err != nil {
			return mail.Refuse(550, mail.Enhanced{5, 6, 0}, "The address in "+f.Name+" cannot be read")
		}
		for _, a := range list {
			if err := e.MaySendAs(a); err != nil {
				return err
			}
		}
		if name == "from" {
			e.Author = list[0]
		}
	}
	return nil
}

// addMissing writes the fields that are not there.
func (e *Editor) addMissing(b *bytes.Buffer, fields []Field) error {
	has := make(map[string]bool, len(fields))
	for _, f := range fields {
		has[strings.ToLower(f.Name)] = true
	}
	var h gomail.Header
	if !has["message-id"] {
		h.SetMessageID(e.ID + "@" + e.Hostname)
	}
	if !has["date"] {
		h.SetDate(time.Now())
	}
	if !has["from"] {
		h.Set("From", "<"+e.Sender.String()+">")
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
