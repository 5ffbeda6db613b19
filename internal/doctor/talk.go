package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// Protocol is what is spoken on a connection.
type Protocol string

const (
	SMTP Protocol = "smtp"
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
)

// Line is one of a dialogue.
type Line struct {
	From string `json:"from"` // "C": we, "S": the server, "*": a remark
	Text string `json:"text"`
	Why  string `json:"why,omitempty"` // what it means
}

const (
	replyPatience = 15 * time.Second
	maxReply      = 200 // lines
	maxReplyLine  = 8 << 10
)

// Talk is a conversation with a server as a client has it, line by line.
type Talk struct {
	Protocol Protocol
	Host     string         // the name that the certificate must have
	Roots    *x509.CertPool // nil: the system's
	Hear     func(Line)     // gets every line as it comes; nil: nobody listens

	TLS   *tls.ConnectionState // nil: in clear
	Trust error                // why the certificate is not to be trusted; nil: it is

	conn net.Conn
	in   *textproto.Reader
	tag  int
}

// Reply is an answer of the server.
type Reply struct {
	OK    bool
	Code  int // of SMTP
	Lines []string
}

// Last is the line that decides.
func (r Reply) Last() string {
	if len(r.Lines) == 0 {
		return ""
	}
	return r.Lines[len(r.Lines)-1]
}

func (t *Talk) hear(from, text, why string) {
	if t.Hear != nil {
		t.Hear(Line{from, text, why})
	}
}

// Open connects and, when implicit, begins TLS at once.
func (t *Talk) Open(ctx context.Context, addr string, implicit bool) error {
	conn, err := (&net.Dialer{Timeout: dialPatience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	t.use(conn)
	if implicit {
		return t.secure(ctx)
	}
	return nil
}

func (t *Talk) use(conn net.Conn) {
	t.conn, t.in = conn, textproto.NewReader(bufio.NewReaderSize(conn, maxReplyLine))
}

// Close ends the connection without a word.
func (t *Talk) Close() {
	if t.conn != nil {
		t.conn.Close()
	}
}

// secure begins TLS. A certificate that is not to be trusted does not end the
// talk: Trust says why.
func (t *Talk) secure(ctx context.Context) error {
	conn := tls.Client(t.conn, &tls.Config{ServerName: t.Host, InsecureSkipVerify: true}) // verified below
	ctx, cancel := context.WithTimeout(ctx, replyPatience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	state := conn.ConnectionState()
	t.TLS = &state
	t.Trust = verify(state.PeerCertificates, t.Host, t.Roots)
	t.use(conn)
	return nil
}

// verify does what a client does with a server's certificates.
func verify(chain []*x509.Certificate, host string, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
	return err
}

// Greeting reads what the server says first.
func (t *Talk) Greeting() (Reply, error) { return t.reply("", false) }

// Command sends a line and reads the answer. shown takes its place in what is
// heard: secrets are not.
func (t *Talk) Command(line, shown string) (Reply, error) {
	return t.command(line, shown, false)
}

func (t *Talk) command(line, shown string, multi bool) (Reply, error) {
	tag := ""
	if t.Protocol == IMAP {
		t.tag++
		tag = "a" + strconv.Itoa(t.tag)
		line, shown = tag+" "+line, tag+" "+shown
	}
	t.hear("C", shown, "")
	if err := t.send(line); err != nil {
		return Reply{}, err
	}
	return t.reply(tag, multi)
}

func (t *Talk) send(line string) error {
	if strings.ContainsAny(line, "\r\n") {
		return errors.New("a command of several lines")
	}
	if err := t.conn.SetWriteDeadline(time.Now().Add(replyPatience)); err != nil {
		return err
	}
	_, err := t.conn.Write([]byte(line + "\r\n"))
	return err
}

// reply reads an answer: to an IMAP command up to the line with its tag, of
// POP3 up to the final dot where there is to be one.
func (t *Talk) reply(tag string, multi bool) (Reply, error) {
	var r Reply
	for range maxReply {
		if err := t.conn.SetReadDeadline(time.Now().Add(replyPatience)); err != nil {
			return r, err
		}
		line, err := t.in.ReadLine()
		if err != nil {
			return r, fmt.Errorf("no answer: %w", err)
		}
		r.Lines = append(r.Lines, line)
		done := t.decide(&r, line, tag, multi)
		t.hear("S", line, explain(t.Protocol, line, done))
		if done {
			return r, nil
		}
	}
	return r, fmt.Errorf("an answer of more than %d lines", maxReply)
}

// decide says whether a line is the last of an answer, and what it decides.
func (t *Talk) decide(r *Reply, line, tag string, multi bool) bool {
	switch t.Protocol {
	case SMTP:
		code, err := strconv.Atoi(line[:min(3, len(line))])
		r.Code, r.OK = code, err == nil && code < 400
		return err != nil || len(line) < 4 || line[3] != '-'
	case IMAP:
		if tag == "" {
			r.OK = strings.HasPrefix(line, "* OK") || strings.HasPrefix(line, "* PREAUTH")
			return true
		}
		status, tagged := strings.CutPrefix(line, tag+" ")
		r.OK = strings.HasPrefix(status, "OK")
		return tagged || strings.HasPrefix(line, "+ ") || line == "+"
	}
	if len(r.Lines) == 1 {
		r.OK = strings.HasPrefix(line, "+")
		return !multi || !r.OK
	}
	return line == "."
}

// Capabilities are the words with which the server says what it can, in upper
// case: for SMTP the answer to EHLO.
func (t *Talk) Capabilities(us string) ([]string, error) {
	var r Reply
	var err error
	switch t.Protocol {
	case SMTP:
		r, err = t.Command("EHLO "+us, "EHLO "+us)
	case IMAP:
		r, err = t.Command("CAPABILITY", "CAPABILITY")
	case POP3:
		r, err = t.command("CAPA", "CAPA", true)
	}
	if err != nil {
		return nil, err
	}
	if !r.OK {
		return nil, fmt.Errorf("it says %q", r.Last())
	}
	var words []string
	for i, line := range r.Lines {
		line = strings.ToUpper(line)
		switch t.Protocol {
		case SMTP:
			if i > 0 && len(line) > 4 {
				words = append(words, line[4:])
			}
		case IMAP:
			if rest, ok := strings.CutPrefix(line, "* CAPABILITY "); ok {
				words = append(words, strings.Fields(rest)...)
			}
		case POP3:
			if i > 0 && line != "." {
				words = append(words, line)
			}
		}
	}
	return words, nil
}

// StartTLS asks for TLS, and begins it.
func (t *Talk) StartTLS(ctx context.Context) error {
	verb := "STARTTLS"
	if t.Protocol == POP3 {
		verb = "STLS"
	}
	r, err := t.Command(verb, verb)
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("%s is refused: %s", verb, r.Last())
	}
	return t.secure(ctx)
}

// Login logs in by PLAIN, the mechanism that all three know (RFC 4616).
func (t *Talk) Login(user, password string) (Reply, error) {
	secret := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	switch t.Protocol {
	case SMTP:
		return t.Command("AUTH PLAIN "+secret, "AUTH PLAIN (user and password)")
	case IMAP:
		r, err := t.Command("AUTHENTICATE PLAIN", "AUTHENTICATE PLAIN")
		if err != nil || !strings.HasPrefix(r.Last(), "+") {
			return r, err
		}
	case POP3:
		r, err := t.Command("AUTH PLAIN", "AUTH PLAIN")
		if err != nil || !r.OK {
			return r, err
		}
	}
	t.hear("C", "(user and password)", "")
	if err := t.send(secret); err != nil {
		return Reply{}, err
	}
	tag := ""
	if t.Protocol == IMAP {
		tag = "a" + strconv.Itoa(t.tag)
	}
	return t.reply(tag, false)
}

// Quit takes leave.
func (t *Talk) Quit() {
	verb := "QUIT"
	if t.Protocol == IMAP {
		verb = "LOGOUT"
	}
	if _, err := t.Command(verb, verb); err != nil {
		t.hear("*", err.Error(), "")
	}
}

// has reports whether one of the words begins with w as a whole word.
func has(words []string, w string) bool {
	for _, s := range words {
		if s == w || strings.HasPrefix(s, w+" ") || strings.HasPrefix(s, w+"=") {
			return true
		}
	}
	return false
}
