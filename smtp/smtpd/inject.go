package smtpd

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"posthouse/internal/mail"
)

// Where mail for other domains is captured (Config.Capture), their addresses
// can ask for errors, so that a program's handling of them can be tested:
//
//	451@anything            RCPT is answered 451; so with every code from 400 to 599
//	550+5.7.1_Go_away@…     with this enhanced code and this text, "_" for spaces
//	data-452@…, data-552+…  RCPT is accepted, and the message refused at its end
//	slow@…, slow+20@…       RCPT is answered after 5 s, or 20; at most 60
//	data-slow@…             so is the end of the message
//
// 421 closes the connection, as it should. Where several recipients ask for
// something at the end of the message, the first does.

// fault is what an address asked for.
type fault struct {
	wait  time.Duration
	reply *smtp.SMTPError // nil: success, once the wait is over
}

func (f *fault) Error() string { return "injected by the recipient's address: " + f.reply.Error() }

const (
	slowDefault = 5 * time.Second
	slowMost    = time.Minute
)

var faultForm = regexp.MustCompile(`^(?i:(data-)?)(?:([45][0-9][0-9])|(?i:slow))(?:\+(.*))?$`)

// inject does what the address asks for at RCPT, and notes what it asks for at
// the end of the message.
func (c *conn) inject(to mail.Address) error {
	m := faultForm.FindStringSubmatch(to.Local)
	if m == nil {
		return nil
	}
	f := &fault{}
	if m[2] == "" {
		f.wait = slowDefault
		if n, err := strconv.Atoi(m[3]); err == nil && n >= 0 {
			f.wait = min(time.Duration(n)*time.Second, slowMost)
		}
	} else {
		f.reply = injectedReply(m[2], m[3])
	}
	if m[1] == "" {
		return c.fail(f)
	}
	if c.tx.fault == nil {
		c.tx.fault = f
	}
	return nil
}

// fail waits, and gives the fault as an error if it is one; nil is none.
func (c *conn) fail(f *fault) error {
	if f == nil {
		return nil
	}
	if f.wait > 0 {
		t := time.NewTimer(f.wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.ctx.Done():
		}
	}
	if f.reply == nil {
		return nil
	}
	return f
}

var enhancedForm = regexp.MustCompile(`^([245])\.([0-9]{1,3})\.([0-9]{1,3})(?:[_ ]+|$)`)

// usual are the enhanced codes that most often come with a code.
var usual = map[string]smtp.EnhancedCode{
	"421": {4, 3, 2}, "450": {4, 2, 0}, "451": {4, 3, 0}, "452": {4, 3, 1},
	"550": {5, 1, 1}, "551": {5, 1, 6}, "552": {5, 2, 2}, "553": {5, 1, 3}, "554": {5, 7, 1},
}

func injectedReply(code, text string) *smtp.SMTPError {
	n, err := strconv.Atoi(code)
	if err != nil { // the form has let nothing but digits through
		n = 554
	}
	e := &smtp.SMTPError{Code: n, EnhancedCode: usual[code], Message: "This address asks for " + code}
	if e.EnhancedCode == (smtp.EnhancedCode{}) {
		e.EnhancedCode = smtp.EnhancedCode{n / 100, 0, 0}
	}
	if m := enhancedForm.FindStringSubmatch(text); m != nil && m[1] == code[:1] {
		for i := range e.EnhancedCode {
			if e.EnhancedCode[i], err = strconv.Atoi(m[i+1]); err != nil {
				return e
			}
		}
		text = text[len(m[0]):]
	}
	if text != "" {
		e.Message = printable(strings.ReplaceAll(text, "_", " "))
	}
	return e
}
