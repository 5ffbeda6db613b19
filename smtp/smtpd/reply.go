package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// reply sends a reply of the guard's own; a 5xx counts as an error, and one too
// many ends the session.
func (c *conn) reply(code int, enhanced, text string) {
	c.out.WriteString(fmt.Sprintf("%d %s %s\r\n", code, enhanced, text))
	if code == 421 {
		c.ending.Store(true)
	}
	if code >= 500 {
		c.countError(code, enhanced)
	}
}

func (c *conn) countError(code int, enhanced string) {
	c.errs++
	c.log.Debug("command refused", "event", "smtp.error", "code", code, "enhanced", enhanced)
	if c.errs == c.srv.cfg.Limits.Errors && !c.ending.Load() {
		c.reject("errors", "421", "4.7.0 Too many errors")
	}
}

// success is what commands that go-smtp answers with 2xx are answered with
// here: its own words are chatty, and its enhanced codes generic.
var success = map[string]string{
	"MAIL": "250 2.1.0 Ok",
	"RCPT": "250 2.1.5 Ok",
	"RSET": "250 2.0.0 Ok",
	"QUIT": "221 2.0.0 Bye",
	"AUTH": "235 2.7.0 Authentication successful",
}

// Write takes go-smtp's replies, line by line.
func (c *conn) Write(p []byte) (n int, err error) {
	defer c.contain(&err)
	if c.dead.Load() {
		return 0, errSevered
	}
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n') + 1
		if i == 0 {
			c.line = append(c.line, rest...)
			break
		}
		c.line = append(c.line, rest[:i]...)
		c.answer(string(bytes.TrimRight(c.line, "\r\n")))
		c.line, rest = c.line[:0], rest[i:]
	}
	return len(p), nil
}

// answer sends go-smtp's reply on, or what it should have said, and follows the
// protocol by it.
func (c *conn) answer(line string) {
	if len(line) < 4 {
		return
	}
	switch verb := c.verb; {
	case verb == abandoned || verb == "BDAT" && line[:3] == "354":
		return
	case verb == "": // the banner
		c.verb = abandoned
		line = fmt.Sprintf("220 %s %s Posthouse", c.srv.cfg.Hostname, c.protocol())
	case verb == "EHLO":
		if line[3] == '-' {
			return
		}
		if line[0] == '2' {
			line = c.hello()
			c.stage = stageReady
		}
	case c.instead != "":
		line, c.instead = c.instead, ""
	case line[0] == '2' && success[verb] != "":
		line = success[verb]
	}
	switch line[:3] {
	case "334":
		c.phase = phaseAuth
	case "354":
		c.phase = phaseData
		c.body = body{}
		c.startBody()
		line = "354 End with <CR><LF>.<CR><LF>"
	case "421":
		c.ending.Store(true)
	}
	c.out.WriteString(line + "\r\n")
}

func (c *conn) protocol() string {
	if c.mode == LMTP {
		return "LMTP"
	}
	return "ESMTP"
}

// hello is the reply to EHLO, all lines of it but the last CRLF.
func (c *conn) hello() string {
	if !c.esmtp {
		return "250 " + c.srv.cfg.Hostname
	}
	lim := c.srv.cfg.Limits
	lines := []string{c.srv.cfg.Hostname, "PIPELINING", fmt.Sprintf("SIZE %d", lim.Message), "8BITMIME",
		"SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", fmt.Sprintf("LIMITS RCPTMAX=%d", lim.Recipients)}
	if c.client.TLS { // RFC 8689 §2
		lines = append(lines, "REQUIRETLS")
	}
	if c.mode.submits() {
		lines = append(lines, fmt.Sprintf("DELIVERBY %d", lim.DeliverBy/time.Second), "MT-PRIORITY",
			fmt.Sprintf("FUTURERELEASE %d %s", lim.Hold/time.Second, time.Now().Add(lim.Hold).UTC().Format(time.RFC3339)))
	}
	if c.startTLS() {
		lines = append(lines, "STARTTLS")
	}
	if c.mayAuth() {
		if mechs := c.srv.dir.Mechanisms(c.client); len(mechs) > 0 {
			lines = append(lines, "AUTH "+strings.Join(mechs, " "))
		}
	}
	lines = append(lines, "ENHANCEDSTATUSCODES")
	last := len(lines) - 1
	return "250-" + strings.Join(lines[:last], "\r\n250-") + "\r\n250 " + lines[last]
}

func (c *conn) startTLS() bool {
	return c.srv.cfg.TLS != nil && !c.client.TLS && c.mode != SubmissionTLS && c.client.Remote.IsValid()
}

func (c *conn) mayAuth() bool {
	return c.mode.offersAuth() && c.srv.dir != nil && (c.client.TLS || c.srv.cfg.AllowPlainAuth)
}

// smtpError is err as go-smtp takes it: a *mail.Error with its own reply, any
// other a plain 451 that tells nothing of our insides.
func smtpError(err error) *smtp.SMTPError {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.reply
	}
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Code >= 400 && e.Code < 600 {
		return &smtp.SMTPError{Code: e.Code, Message: printable(e.Text),
			EnhancedCode: smtp.EnhancedCode{int(e.Enhanced[0]), int(e.Enhanced[1]), int(e.Enhanced[2])}}
	}
	if mail.ClassOf(err) == mail.Permanent {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "Refused"}
	}
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Local trouble, try again later"}
}

// printable keeps a text from an error on one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func resultOf(code int) string {
	switch {
	case code < 400:
		return "accepted"
	case code < 500:
		return "deferred"
	}
	return "refused"
}

func messageResult(mode Mode, code int) {
	events.SMTPMessages.WithLabelValues(mode.String(), resultOf(code)).Inc()
}
