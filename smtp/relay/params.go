package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// maxHeader is how much of a header is looked through for octets that need
// SMTPUTF8.
const maxHeader = 1 << 20

// prepared is a message as this next hop can take it.
type prepared struct {
	*Message
	content Content
	binary  bool // BODY=BINARYMIME: sent as it is, by BDAT
	utf8    bool // SMTPUTF8 is asked for
	mail    string
	spool   *spool.Spool // of what was converted; nil: nothing was
}

func (p *prepared) close() {
	if p.spool != nil {
		_ = p.spool.Close() // a temporary file of ours
	}
}

// refusal is a message that this next hop cannot take, or that we cannot read.
type refusal struct {
	outcome  Outcome
	enhanced mail.Enhanced
	text     string
}

func (r *refusal) Error() string { return r.text }

func unreadable(err error) *refusal {
	return &refusal{Deferred, mail.Enhanced{4, 3, 0}, "the message cannot be read here: " + err.Error()}
}

// prepare makes of a message what the next hop takes, or says why it cannot be.
func (s *Session) prepare(m *Message) (*prepared, *refusal) {
	p := &prepared{Message: m, content: m.Content}
	if no := s.fitUTF8(p); no != nil {
		return nil, no
	}
	if s.ext.size > 0 && p.content.Size() > s.ext.size {
		return nil, &refusal{Failed, mail.Enhanced{5, 3, 4}, fmt.Sprintf("the message has %d octets, and the host takes %d", p.content.Size(), s.ext.size)}
	}
	if no := s.fitDeadline(m); no != nil {
		return nil, no
	}
	body, no := s.fitBody(p)
	if no != nil {
		return nil, no
	}
	p.mail = s.mailLine(p, body)
	return p, nil
}

// fitUTF8 decides on SMTPUTF8 (RFC 6531): a host without it can still take a
// message that turns out not to need it.
func (s *Session) fitUTF8(p *prepared) *refusal {
	if s.ext.smtputf8 {
		p.utf8 = p.SMTPUTF8 || !p.From.IsASCII()
		for i := range p.Recipients {
			p.utf8 = p.utf8 || !p.Recipients[i].IsASCII()
		}
		return nil
	}
	if !p.From.IsASCII() {
		return &refusal{Failed, mail.Enhanced{5, 6, 7}, "the host takes no addresses beyond ASCII, and the sender's is one (SMTPUTF8)"}
	}
	if !p.SMTPUTF8 {
		return nil
	}
	header := make([]byte, min(p.content.Size(), maxHeader))
	if n, err := p.content.ReadAt(header, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(header)) {
		return unreadable(err)
	}
	if i := bytes.Index(header, []byte("\r\n\r\n")); i >= 0 {
		header = header[:i]
	}
	if !ascii(header) {
		return &refusal{Failed, mail.Enhanced{5, 6, 7}, "the host takes no header beyond ASCII, and the message has one (SMTPUTF8)"}
	}
	return nil
}

// fitDeadline holds a message back from a host that does not know of its
// deadline, where it is to come back rather than late (RFC 2852 §4.1.4).
func (s *Session) fitDeadline(m *Message) *refusal {
	if m.DeliverBy.IsZero() || !m.ByMode.Return {
		return nil
	}
	left := time.Until(m.DeliverBy)
	switch {
	case left < time.Second:
		return &refusal{Failed, mail.Enhanced{5, 4, 7}, "the time that the sender set for delivery is over"}
	case !s.ext.deliverBy:
		return &refusal{Failed, mail.Enhanced{5, 3, 3}, "the sender wants the message back rather than late, and the host does not promise that (DELIVERBY)"}
	case s.ext.deliverIn > int64(left/time.Second):
		return &refusal{Failed, mail.Enhanced{5, 4, 7}, fmt.Sprintf("the host wants %d seconds for delivery, and the sender gives less", s.ext.deliverIn)}
	}
	return nil
}

// fitBody decides on BODY, and converts what the host cannot take as it is.
func (s *Session) fitBody(p *prepared) (string, *refusal) {
	if p.Body == mail.BodyBinary && s.ext.binary && s.ext.chunking && !s.route.LMTP {
		p.binary = true
		return " BODY=BINARYMIME", nil
	}
	wide, err := p.Body != mail.Body7Bit, error(nil)
	if p.Body == mail.BodyBinary || !s.ext.eightBit {
		if wide, err = eightBit(reader(p.content)); err != nil {
			return "", unreadable(err)
		}
	}
	if p.Body != mail.BodyBinary && (!wide || s.ext.eightBit) {
		if wide {
			return " BODY=8BITMIME", nil
		}
		return "", nil
	}
	out := spool.New(s.r.SpoolDir, spool.Memory)
	if err := convert(out, p.content, p.Body == mail.BodyBinary); err != nil {
		_ = out.Close() // as in close
		if errors.Is(err, errConvert) {
			return "", &refusal{Failed, mail.Enhanced{5, 6, 3}, "the host takes no 8-bit or binary text, and the message cannot be converted: " + err.Error()}
		}
		return "", unreadable(err)
	}
	p.spool, p.content = out, out
	return "", nil
}

// mailLine is the MAIL command (RFC 5321 §4.1.1.2, and the extensions).
func (s *Session) mailLine(p *prepared, body string) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:<")
	b.WriteString(p.From.String())
	b.WriteByte('>')
	if s.ext.sized {
		b.WriteString(" SIZE=")
		b.WriteString(strconv.FormatInt(p.content.Size(), 10))
	}
	b.WriteString(body)
	if p.utf8 {
		b.WriteString(" SMTPUTF8")
	}
	if s.requireTLS {
		b.WriteString(" REQUIRETLS")
	}
	if s.ext.dsn {
		if p.Return != "" {
			b.WriteString(" RET=" + p.Return)
		}
		if p.EnvelopeID != "" {
			b.WriteString(" ENVID=" + xtext(p.EnvelopeID))
		}
	}
	if s.ext.deliverBy && !p.DeliverBy.IsZero() {
		b.WriteString(" BY=" + strconv.FormatInt(int64(time.Until(p.DeliverBy)/time.Second), 10) + ";")
		b.WriteByte(map[bool]byte{true: 'R', false: 'N'}[p.ByMode.Return])
		if p.ByMode.Trace {
			b.WriteByte('T')
		}
	}
	if s.ext.priority && p.Priority != 0 {
		b.WriteString(" MT-PRIORITY=" + strconv.Itoa(int(p.Priority)))
	}
	return b.String()
}

// rcptLine is the RCPT command for one recipient (RFC 3461 §4).
func (s *Session) rcptLine(p *prepared, r *mail.Recipient) string {
	var b strings.Builder
	b.WriteString("RCPT TO:<")
	b.WriteString(r.Address.String())
	b.WriteByte('>')
	if !s.ext.dsn {
		return b.String()
	}
	if r.Notify != 0 {
		b.WriteString(" NOTIFY=" + notify(r.Notify))
	}
	if r.Original != "" {
		b.WriteString(" ORCPT=" + originalRecipient(r.Original, p.utf8))
	}
	return b.String()
}

func notify(n mail.Notify) string {
	if n&mail.NotifyNever != 0 {
		return "NEVER"
	}
	var list []string
	for _, c := range []struct {
		bit  mail.Notify
		name string
	}{{mail.NotifySuccess, "SUCCESS"}, {mail.NotifyFailure, "FAILURE"}, {mail.NotifyDelay, "DELAY"}} {
		if n&c.bit != 0 {
			list = append(list, c.name)
		}
	}
	return strings.Join(list, ",")
}

// originalRecipient encodes ORCPT: as xtext, or what is beyond ASCII by the
// rules of RFC 6533 §3.
func originalRecipient(s string, utf8 bool) string {
	kind, address, ok := strings.Cut(s, ";")
	if !ok || kind == "" {
		kind, address = "rfc822", s
	}
	if ascii(address) && !strings.EqualFold(kind, "utf-8") {
		return kind + ";" + xtext(address)
	}
	var b strings.Builder
	b.WriteString("utf-8;")
	for _, c := range address {
		switch {
		case c < 0x80 && c > ' ' && c != '+' && c != '=' && c != '\\' && c != 0x7f:
			b.WriteByte(byte(c))
		case c >= 0x80 && utf8:
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\x{%X}`, c)
		}
	}
	return b.String()
}

// xtext encodes a value (RFC 3461 §4).
func xtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
