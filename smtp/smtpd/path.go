package smtpd

import (
	"errors"
	"strconv"
	"strings"

	"posthouse/internal/mail"
)

var errSyntax = errors.New("syntax")

// splitPath takes the path off the argument of MAIL or RCPT, RFC 5321 §4.1.2,
// without its angle brackets and source route. The route is ignored (appendix
// C): where a message goes is decided by its mailbox alone.
//
// Spaces after the colon are common and harmless. What follows the path are
// the parameters, each after a space.
func splitPath(arg, keyword string) (path string, params []string, err error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", nil, errSyntax
	}
	s := strings.TrimLeft(arg[len(keyword):], " ")
	if !strings.HasPrefix(s, "<") {
		return "", nil, errSyntax
	}
	end := pathEnd(s)
	if end < 0 || end+1 < len(s) && s[end+1] != ' ' {
		return "", nil, errSyntax
	}
	path = s[1:end]
	if strings.HasPrefix(path, "@") {
		route, mailbox, ok := strings.Cut(path, ":")
		if !ok {
			return "", nil, errSyntax
		}
		for hop := range strings.SplitSeq(route, ",") {
			if _, err := mail.ParseDomain(strings.TrimPrefix(hop, "@")); err != nil || hop[0] != '@' {
				return "", nil, errSyntax
			}
		}
		path = mailbox
	}
	return path, strings.Fields(s[end+1:]), nil
}

// pathEnd is where the closing bracket stands: not inside a quoted string.
func pathEnd(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// parseSize reads 1*20DIGIT (RFC 1870 §3, RFC 3030 §2). What is beyond an int64
// is beyond every limit, too.
func parseSize(s string) (int64, error) {
	if s == "" || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return 0, errSyntax
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 1<<63 - 1, nil
	}
	return n, err
}

// mail vets MAIL, RFC 5321 §4.1.1.2.
func (c *conn) mail(arg string) {
	path, params, err := splitPath(arg, "FROM:")
	switch {
	case c.stage == stageConnected:
		c.reply(503, "5.5.1", "Send EHLO first")
	case c.stage >= stageMail:
		c.reply(503, "5.5.1", "MAIL came already")
	case c.mode.needsAuth() && !c.mayAuth():
		c.reply(530, "5.7.0", "Send STARTTLS first") // RFC 3207 §4
	case c.mode.needsAuth() && c.account.ID == 0:
		c.reply(530, "5.7.0", "Authentication is required") // RFC 4954 §6
	case err != nil:
		c.reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
	default:
		c.beginMail(path, params)
	}
}

func (c *conn) beginMail(path string, params []string) {
	tx := newTransaction()
	if path != "" {
		from, err := mail.ParseAddress(path)
		if err != nil {
			c.reply(501, "5.1.7", "Bad sender address")
			return
		}
		tx.From = from
	}
	if e := c.mailParams(tx, params); e != nil {
		c.reply(e.Code, e.Enhanced.String(), e.Text)
		return
	}
	if !tx.SMTPUTF8 && !isASCII(path) { // RFC 6531 §3.5
		c.reply(553, "5.6.7", "This address needs SMTPUTF8")
		return
	}
	c.tx = tx
	c.pass("MAIL", "MAIL FROM:<"+tx.From.String()+">")
}

// rcpt vets RCPT, RFC 5321 §4.1.1.3.
func (c *conn) rcpt(arg string) {
	path, params, err := splitPath(arg, "TO:")
	switch {
	case c.stage < stageMail:
		c.reply(503, "5.5.1", "Send MAIL first")
	case c.stage == stageChunks:
		c.reply(503, "5.5.1", "RCPT after BDAT")
	case err != nil:
		c.reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
	case len(c.tx.rcpts) >= c.srv.cfg.Limits.Recipients:
		c.junk++
		c.reply(452, "4.5.3", "Too many recipients") // RFC 5321 §4.5.3.1.10
	default:
		c.addRcpt(path, params)
	}
}

func (c *conn) addRcpt(path string, params []string) {
	to, err := mail.ParseAddress(path)
	line := to.String()
	switch {
	case strings.EqualFold(path, "postmaster"): // RFC 5321 §4.5.1; go-smtp wants a domain
		to = mail.Address{Local: path}
		line = path + "@" + c.srv.cfg.Hostname
	case err != nil:
		c.reply(501, "5.1.3", "Bad recipient address")
		return
	case !c.tx.SMTPUTF8 && !isASCII(path):
		c.reply(553, "5.6.7", "This address needs SMTPUTF8")
		return
	}
	asked := mail.Recipient{Address: to}
	if e := c.rcptParams(&asked, params); e != nil {
		c.reply(e.Code, e.Enhanced.String(), e.Text)
		return
	}
	c.tx.asked = asked
	c.pass("RCPT", "RCPT TO:<"+line+">")
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
