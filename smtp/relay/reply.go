package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"posthouse/internal/mail"
)

// Bounds of a reply. RFC 5321 §4.5.3.1.5 has lines of 512 octets; many servers
// exceed it with explanations.
const (
	maxReplyLine  = 2 << 10
	maxReplyLines = 100
	maxReply      = 64 << 10
)

// errReply is matched by errors that say that the other side does not speak
// SMTP, or speaks without an end.
var errReply = errors.New("malformed reply")

// reply is what the other side said to one command. Its text is valid until
// the next one is read.
type reply struct {
	code int
	text []byte // without codes; lines end with LF
}

// readReply reads one reply (RFC 5321 §4.2) into r, whose memory it reuses. br
// has a buffer of at least maxReplyLine octets.
func readReply(br *bufio.Reader, r *reply) error {
	r.code, r.text = 0, r.text[:0]
	for total, n := 0, 0; ; n++ {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine {
			return fmt.Errorf("%w: line of more than %d octets", errReply, maxReplyLine)
		}
		if err != nil {
			return err
		}
		if total += len(line); total > maxReply || n == maxReplyLines {
			return fmt.Errorf("%w: it does not end", errReply)
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		code, more, text, ok := cutReply(line)
		if !ok {
			return fmt.Errorf("%w: %q", errReply, line[:min(len(line), 80)])
		}
		if n > 0 && code != r.code { // RFC 5321 §4.2.1: the same on each line
			return fmt.Errorf("%w: a line of %d within one of %d", errReply, code, r.code)
		}
		r.code = code
		if n > 0 {
			r.text = append(r.text, '\n')
		}
		if r.text = append(r.text, text...); !more {
			return nil
		}
	}
}

// cutReply takes one line apart: three digits, the first from 2 to 5, and then
// a hyphen, a blank or nothing.
func cutReply(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, nil, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, nil, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 {
		return code, false, nil, true
	}
	return code, line[3] == '-', line[4:], line[3] == '-' || line[3] == ' '
}

func (r *reply) class() int { return r.code / 100 }

// status is the enhanced code at the start of the text (RFC 2034), or the plain
// one of the reply's class.
func (r *reply) status() mail.Enhanced {
	e, _ := r.cutStatus()
	return e
}

func (r *reply) cutStatus() (mail.Enhanced, []byte) {
	first, rest, _ := bytes.Cut(r.text, []byte(" "))
	if e, ok := parseStatus(first); ok && int(e[0]) == r.class() {
		return e, rest
	}
	return mail.Enhanced{uint8(r.class())}, r.text
}

func parseStatus(s []byte) (e mail.Enhanced, ok bool) {
	part, digits := 0, 0
	n := 0
	for _, c := range s {
		switch {
		case c == '.' && digits > 0 && part < 2:
			e[part] = uint8(n)
			part, digits, n = part+1, 0, 0
		case c >= '0' && c <= '9' && digits < 3:
			if n, digits = n*10+int(c-'0'), digits+1; n > 255 {
				return mail.Enhanced{}, false
			}
		default:
			return mail.Enhanced{}, false
		}
	}
	e[2] = uint8(n)
	return e, part == 2 && digits > 0
}

// line is the text for a record: one printable line, the enhanced code of each
// of its lines but the first left where it stands.
func (r *reply) line() string {
	_, text := r.cutStatus()
	return printable(string(text))
}

// maxText is how much of the other side's words is kept.
const maxText = 1000

// printable makes one line of at most maxText octets of a stranger's words.
func printable(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 2*maxText)], "?")
	var b strings.Builder
	space := true
	for _, c := range s {
		if c == '\n' || c == '\r' || c == '\t' || c == ' ' {
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		}
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' {
			c = '?'
		}
		if b.Len()+4 > maxText {
			break
		}
		b.WriteRune(c)
		space = false
	}
	return strings.TrimRight(b.String(), " ")
}
