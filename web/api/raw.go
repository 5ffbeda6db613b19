package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/internal/submission"
)

// sendRaw takes a whole message, as message/rfc822. Its recipients are ?to=…,
// which may be given several times, or else those in To, Cc and Bcc.
func (s *server) sendRaw(r *request) error {
	key, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	raw := &raw{server: s, request: r, id: mail.NewID()}
	if err := raw.parameters(); err != nil {
		return err
	}
	body, err := s.receive(r, s.Limits.Message)
	if err != nil {
		return err
	}
	defer body.Close()
	j := &job{server: s, request: r, key: key, hash: r.fingerprint(body), n: 1, one: func(_ int, keep keep) ([]byte, error) {
		return raw.send(body, keep)
	}}
	return j.single()
}

// raw is a message that was written elsewhere, on its way.
type raw struct {
	server  *server
	request *request
	id      string
	from    mail.Address // ?from=: the reverse-path; else the address in From
	to      []mail.Address

	messageID string
	header8   bool // its header is not ASCII
}

func (m *raw) parameters() error {
	q := m.request.URL.Query()
	for name := range q {
		if name != "to" && name != "from" {
			return fault("invalid-parameter", "%q is unknown; known are to and from", name)
		}
	}
	for _, s := range q["to"] {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return fault("invalid-parameter", "to: %q is no mail address", s)
		}
		m.to = append(m.to, a)
	}
	if from := q["from"]; len(from) > 0 {
		var err error
		if m.from, err = mail.ParseAddress(from[0]); err != nil || len(from) > 1 {
			return fault("invalid-parameter", "from: one mail address is needed")
		}
	}
	return nil
}

func (m *raw) send(body *spool.Spool, keep keep) ([]byte, error) {
	s, r := m.server, m.request
	if !m.from.IsZero() {
		if err := s.maySendAs(r, m.from); err != nil {
			return nil, err
		}
	}
	out := spool.New(s.SpoolDir, s.Limits.Memory)
	defer out.Close() // an unlinked file: there is nothing to lose
	edit := &submission.Editor{Out: out, ID: m.id, Hostname: s.Hostname, Sender: r.key.Address, Limit: s.Limits.Header,
		MaySendAs: func(a mail.Address) error { return s.maySendAs(r, a) }, Inspect: m.inspect}
	if !m.from.IsZero() {
		edit.Sender = m.from
	}
	eight, err := normalise(edit, body.NewReader())
	if err == nil {
		err = edit.Finish()
	}
	if err != nil {
		return nil, asProblem(err)
	}
	o := &outgoing{id: m.id, from: m.from, author: edit.Author, to: unique(m.to), body: out, smtputf8: m.header8}
	if o.from.IsZero() {
		o.from = edit.Author
	}
	if eight {
		o.kind = mail.Body8Bit
	}
	for _, a := range append([]mail.Address{o.from}, o.to...) {
		o.smtputf8 = o.smtputf8 || !a.IsASCII()
	}
	if m.messageID == "" {
		m.messageID = "<" + m.id + "@" + s.Hostname + ">"
	}
	return s.accept(r, o, func(list []recipient) ([]byte, error) {
		return toJSON(result{ID: m.id, MessageID: m.messageID, Recipients: list})
	}, keep)
}

// hops is how often a message can have been relayed before it is in a loop.
const hops = 100

// inspect reads the header before it is passed on.
func (m *raw) inspect(fields []submission.Field) error {
	var to []mail.Address
	received := 0
	for _, f := range fields {
		for _, c := range f.Raw {
			m.header8 = m.header8 || c >= 0x80
		}
		switch strings.ToLower(f.Name) {
		case "to", "cc", "bcc":
			if len(m.to) > 0 || f.Body() == "" {
				continue
			}
			list, err := submission.Addresses(f.Body())
			if err != nil {
				return fault("invalid-message", "The addresses in %s cannot be read: give the recipients as ?to=", f.Name)
			}
			to = append(to, list...)
		case "received":
			received++
		case "message-id":
			m.messageID = f.Body()
		}
	}
	if received > hops {
		return fault("invalid-message", "Loop: more than %d Received fields", hops)
	}
	for i, a := range to { // what net/mail took may be no address to send to
		parsed, err := mail.ParseAddress(a.String())
		if err != nil {
			return fault("invalid-message", "%q is no mail address", a.String())
		}
		to[i] = parsed
	}
	if len(m.to) == 0 {
		m.to = to
	}
	limit := m.server.Limits.Recipients
	if len(m.to) == 0 {
		return fault("invalid-message", "There is no recipient, in ?to= or in To, Cc or Bcc")
	}
	if n := len(unique(m.to)); n > limit {
		return fault("invalid-message", "%d recipients, at most %d", n, limit)
	}
	return nil
}

func unique(list []mail.Address) (once []mail.Address) {
	seen := make(map[mail.Address]bool, len(list))
	for _, a := range list {
		if !seen[a] {
			seen[a] = true
			once = append(once, a)
		}
	}
	return once
}

// maxLine is the longest line of a message, in octets; RFC 5322 §2.1.1 has 998.
const maxLine = 998

// normalise writes a message with CRLF at its lines' ends, whether these were
// CRLF or LF; files on disk have LF. A CR by itself, NUL and overlong lines are
// refused (TRUST rows 1 and 2). eight: it is not 7-bit.
func normalise(w io.Writer, r io.Reader) (eight bool, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return eight, fault("invalid-message", "A line of more than %d octets", maxLine)
		}
		ended := err == nil
		if err != nil && err != io.EOF {
			return eight, err
		}
		if !ended && len(line) == 0 {
			return eight, nil
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) > maxLine {
			return eight, fault("invalid-message", "A line of more than %d octets: encode such content (RFC 2045 §6)", maxLine)
		}
		for _, c := range line {
			if c == '\r' || c == 0 {
				return eight, fault("invalid-message", "A CR by itself, or a NUL")
			}
			eight = eight || c >= 0x80
		}
		if _, err := fmt.Fprintf(w, "%s\r\n", line); err != nil {
			return eight, err
		}
	}
}
