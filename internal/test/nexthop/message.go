package nexthop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
)

// Message is one that a Hop took.
type Message struct {
	Session int // the connection it came by
	Helo    string
	User    string
	From    string   // the reverse-path, without <>
	Params  []string // of MAIL, as sent: "BODY=8BITMIME"
	Rcpts   []Rcpt   // those that RCPT accepted
	Octets  []byte   // the content, dots unstuffed
	Chunks  int      // 0: it came by DATA
	LMTP    bool
	TLS     *tls.ConnectionState // nil: in the clear
	Lost    bool                 // the reply never went out
}

// Rcpt is one recipient of a message.
type Rcpt struct {
	Address string
	Params  []string // of RCPT: "NOTIFY=NEVER", "ORCPT=rfc822;bob@example.test"
	Taken   bool     // the message is taken for it: always, but in LMTP
}

// To are the addresses of the recipients for whom the message was taken.
func (m *Message) To() []string {
	var list []string
	for _, r := range m.Rcpts {
		if r.Taken {
			list = append(list, r.Address)
		}
	}
	return list
}

// Body is what stands behind the header.
func (m *Message) Body() []byte {
	_, body, _ := bytes.Cut(m.Octets, []byte("\r\n\r\n"))
	return body
}

// Field is the value of the first header field of a name, folds included;
// empty without one.
func (m *Message) Field(name string) string {
	header, _, _ := bytes.Cut(m.Octets, []byte("\r\n\r\n"))
	lines := strings.SplitAfter(string(header)+"\r\n", "\r\n")
	for i, l := range lines {
		field, value, ok := strings.Cut(l, ":")
		if !ok || !strings.EqualFold(field, name) {
			continue
		}
		for _, more := range lines[i+1:] {
			if more == "" || more[0] != ' ' && more[0] != '\t' {
				break
			}
			value += more
		}
		return strings.TrimSpace(value)
	}
	return ""
}

// split parts "<path> PARAM PARAM=value"; a quoted local part may hold blanks.
func split(arg string) (path string, params []string) {
	arg = strings.TrimSpace(arg)
	if i := strings.IndexByte(arg, '<'); i == 0 {
		quoted := false
		for j := 1; j < len(arg); j++ {
			switch {
			case arg[j] == '\\' && quoted:
				j++
			case arg[j] == '"':
				quoted = !quoted
			case arg[j] == '>' && !quoted:
				return arg[1:j], strings.Fields(arg[j+1:])
			}
		}
	}
	f := strings.Fields(arg)
	if len(f) == 0 {
		return "", nil
	}
	return f[0], f[1:]
}

// ends are what closes the content for a lax server, beside CRLF.CRLF.
var ends = [][]byte{[]byte("\n.\n"), []byte("\n.\r\n"), []byte("\r\n.\n"), []byte("\r.\r")}

// content reads up to the final dot, and takes the stuffing out.
func (s *Session) content() ([]byte, error) {
	end := []byte("\r\n.\r\n")
	raw := []byte("\r\n") // so that a dot on the first line is seen
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return nil, err
		}
		raw = append(raw, c)
		if c != '\n' && !(s.hop.script.Lax && c == '\r') {
			continue
		}
		cut := -1
		if bytes.HasSuffix(raw, end) {
			cut = len(raw) - len(".\r\n")
		} else if s.hop.script.Lax {
			for _, e := range ends {
				if bytes.HasSuffix(raw, e) {
					cut = len(raw) - len(e) + 1
				}
			}
		}
		if cut >= 0 {
			return bytes.ReplaceAll(raw[:cut], []byte("\r\n."), []byte("\r\n"))[2:], nil
		}
	}
}

// dot answers for a message that came whole: once, or in LMTP once for each
// recipient.
func (s *Session) dot(m *Message) bool {
	if !m.LMTP {
		reply := s.scripted("DOT", "")
		if reply == "" {
			reply = fmt.Sprintf("250 2.0.0 taken as %d", s.hop.Taken()+1)
		}
		if m.Lost = reply[0] == 0; m.Lost || reply[0] == '2' {
			for i := range m.Rcpts {
				m.Rcpts[i].Taken = true
			}
			s.hop.take(m)
		}
		return s.send(reply)
	}
	replies := make([]string, len(m.Rcpts))
	taken := false
	for i := range m.Rcpts {
		r := &m.Rcpts[i]
		replies[i] = s.forAddress("DOT", r.Address, r.Address, s.hop.script.Dot)
		if replies[i] == "" {
			replies[i] = "250 2.0.0 taken for " + r.Address
		}
		m.Lost = m.Lost || replies[i][0] == 0
		r.Taken = m.Lost || replies[i][0] == '2'
		taken = taken || r.Taken
	}
	if taken {
		s.hop.take(m)
	}
	for _, reply := range replies {
		if !s.send(reply) {
			return false
		}
	}
	return true
}

// take keeps a message.
func (h *Hop) take(m *Message) {
	if h.script.Taken != nil {
		h.script.Taken(m)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken++
	if !h.script.Forget {
		h.messages = append(h.messages, m)
	}
	h.change()
}
