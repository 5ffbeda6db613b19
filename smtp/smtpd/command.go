package smtpd

import (
	"encoding/base64"
	"errors"
	"strings"

	"posthouse/internal/mail"
)

// nextCommand reads a command and answers it, or sets it up for go-smtp.
func (c *conn) nextCommand() error {
	if c.ending.Load() {
		return c.over()
	}
	c.early = c.in.Buffered() > 0
	line, err := c.readLine()
	if errors.Is(err, errLineTooLong) {
		c.reply(500, "5.5.2", "Line too long")
		return nil
	}
	if err != nil {
		return c.lost(err)
	}
	c.heard()
	if !c.loginIsGood() {
		return nil
	}
	verb, arg, ok := c.parse(line)
	if !ok {
		return nil
	}
	if c.junk += idle(verb); c.junk > c.srv.cfg.Limits.Junk {
		c.reply(421, "4.7.0", "Too many commands without a message")
		return nil
	}
	return c.command(verb, arg)
}

// idle is 1 for a command that brings no message nearer.
func idle(verb string) int {
	switch verb {
	case "MAIL", "RCPT", "DATA", "BDAT", "AUTH", "STARTTLS", "QUIT":
		return 0
	}
	return 1
}

// heard: whatever the command is, the client has seen the reply before it,
// unless the command was already here when that reply was sent (RFC 2920).
func (c *conn) heard() {
	if !c.early {
		c.settled(true)
	}
}

// loginIsGood ends a session whose password was changed or whose account was
// disabled.
func (c *conn) loginIsGood() bool {
	select {
	case <-c.revoked:
		c.reply(421, "4.7.0", "Your login has been revoked, log in again")
		return false
	default:
		return true
	}
}

// lineLimit is how long a command may be, in octets without its CRLF: RFC 5321
// §4.5.3.1.4, with what the extensions add. MAIL: SIZE 26, BODY 17, SMTPUTF8
// 10, AUTH 500, ENVID 107, RET 9, REQUIRETLS 11, BY 17, HOLDUNTIL 34,
// MT-PRIORITY 15; RCPT: ORCPT 507, NOTIFY 28. Addresses of RFC 6531 count in
// octets.
func lineLimit(verb string) int {
	switch verb {
	case "AUTH":
		return maxLine
	case "MAIL", "RCPT":
		return 510 + 750
	}
	return 510
}

// parse splits a line into verb and argument, and answers what is neither.
func (c *conn) parse(line string) (verb, arg string, ok bool) {
	verb, arg, _ = strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if foreign(line, verb) {
		c.reject("protocol", "421", "4.7.0 This is SMTP")
		return "", "", false
	}
	if len(line) > lineLimit(verb) {
		c.reply(500, "5.5.2", "Line too long")
		return "", "", false
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		c.reply(500, "5.5.2", "Control character in a command")
		return "", "", false
	}
	return verb, strings.Trim(arg, " "), true
}

// foreign recognises clients of other protocols. What a web page makes a
// browser send must not be read line by line until something fits.
func foreign(line, verb string) bool {
	if line != "" && (line[0] >= 0x80 || line[0] < ' ') {
		return true // a TLS handshake, among others
	}
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI",
		"HOST:", "USER-AGENT:", "CONTENT-TYPE:", "CONTENT-LENGTH:", "PROXY", "CAPABILITY", "STAT":
		return true
	}
	return strings.HasPrefix(line, "SSH-")
}

// command carries one out.
func (c *conn) command(verb, arg string) error {
	switch verb {
	case "EHLO", "HELO", "LHLO":
		c.greeting(verb, arg)
	case "MAIL":
		c.mail(arg)
	case "RCPT":
		c.rcpt(arg)
	case "DATA":
		c.dataCommand(arg)
	case "BDAT":
		return c.bdat(arg)
	case "RSET", "QUIT":
		if arg != "" {
			c.reply(501, "5.5.4", verb+" takes no argument")
			return nil
		}
		c.pass(verb, verb)
	case "NOOP":
		c.reply(250, "2.0.0", "Ok")
	case "HELP":
		c.reply(214, "2.0.0", "See RFC 5321; commands are EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT")
	case "VRFY": // RFC 5321 §3.5.3: the reply that tells nothing
		if arg == "" {
			c.reply(501, "5.5.4", "VRFY needs an argument")
			return nil
		}
		c.reply(252, "2.0.0", "Will not verify, but try RCPT")
	case "EXPN", "TURN", "ETRN", "ATRN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD":
		c.reply(502, "5.5.1", verb+" is not implemented")
	case "AUTH":
		c.auth(arg)
	case "STARTTLS":
		return c.startTLSCommand(arg)
	default:
		c.reply(500, "5.5.1", "Unknown command")
	}
	return nil
}

// pass hands a line to go-smtp, which answers it as verb.
func (c *conn) pass(verb, line string) {
	if c.stage == stageChunks && !c.tx.abandoned {
		c.abandon(verb, line)
		return
	}
	c.verb = verb
	c.feed = []byte(line + "\r\n")
}

func (c *conn) greeting(verb, arg string) {
	if (verb == "LHLO") != (c.mode == LMTP) {
		c.reply(500, "5.5.1", "This is "+c.protocol())
		return
	}
	if !isHelo(arg) {
		c.reply(501, "5.5.4", verb+" needs a host name or an address literal")
		return
	}
	c.helo, c.esmtp = arg, verb != "HELO"
	c.pass("EHLO", verb+" "+arg)
}

// isHelo accepts more than RFC 5321 §4.1.1.1 does (underscores, bare
// addresses: half of the world's devices say such things), but nothing that
// could bend the Received field it ends up in.
func isHelo(s string) bool {
	if s == "" || len(s) > mail.MaxDomain {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._:[]", c) >= 0) {
			return false
		}
	}
	return true
}

func (c *conn) dataCommand(arg string) {
	switch {
	case arg != "":
		c.reply(501, "5.5.4", "DATA takes no argument")
	case !c.readyForBody():
	case c.tx.Body == mail.BodyBinary: // RFC 3030 §3
		c.reply(503, "5.5.1", "BINARYMIME needs BDAT")
	case c.stage == stageChunks: // RFC 3030 §2
		c.reply(503, "5.5.1", "DATA after BDAT")
	default:
		c.pass("DATA", "DATA")
	}
}

// readyForBody answers a DATA or BDAT that comes too early.
func (c *conn) readyForBody() bool {
	switch {
	case c.stage >= stageRcpt:
		return true
	case c.stage == stageMail && c.tx.refused > 0 && c.mode != LMTP: // LMTP: RFC 2033 §4.2
		c.reply(554, "5.5.1", "No valid recipients")
	default:
		c.reply(503, "5.5.1", "Send MAIL and RCPT first")
	}
	return false
}

// startTLSCommand is STARTTLS, RFC 3207.
func (c *conn) startTLSCommand(arg string) error {
	switch {
	case c.client.TLS:
		c.reply(503, "5.5.1", "TLS is on already")
	case !c.startTLS():
		c.reply(502, "5.5.1", "No TLS here")
	case arg != "":
		c.reply(501, "5.5.4", "STARTTLS takes no argument")
	case c.account.ID != 0 || c.stage >= stageMail:
		c.reply(503, "5.5.1", "STARTTLS comes before AUTH and MAIL")
	case c.in.Buffered() > 0:
		// CVE-2011-0411: what came behind STARTTLS came in the clear, and
		// perhaps from somebody else.
		c.reject("tls injection", "421", "4.7.0 Nothing may follow STARTTLS before the handshake")
	default:
		c.reply(220, "2.0.0", "Go ahead")
		if err := c.flush(); err != nil {
			return err
		}
		if err := c.handshake(); err != nil {
			return err
		}
		c.stage, c.helo = stageConnected, "" // go-smtp forgets with the EHLO that is due now
	}
	return nil
}

// auth vets AUTH, RFC 4954 §4.
func (c *conn) auth(arg string) {
	mech, initial, _ := strings.Cut(arg, " ")
	switch {
	case !c.mode.offersAuth() || c.srv.dir == nil:
		c.reply(502, "5.5.1", "AUTH is for the submission ports")
	case c.stage == stageConnected:
		c.reply(503, "5.5.1", "Send EHLO first")
	case !c.mayAuth():
		c.reply(538, "5.7.11", "AUTH needs TLS: send STARTTLS first")
	case c.account.ID != 0:
		c.reply(503, "5.5.1", "Logged in already")
	case c.stage >= stageMail:
		c.reply(503, "5.5.1", "AUTH comes before MAIL")
	case mech == "":
		c.reply(501, "5.5.4", "AUTH needs a mechanism")
	case initial != "" && !isBase64(initial):
		c.reply(501, "5.5.2", "The initial response is not base64")
	default:
		c.pass("AUTH", strings.TrimRight("AUTH "+mech+" "+initial, " "))
	}
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return s == "=" || err == nil
}

// nextAuth reads the client's answer to a challenge.
func (c *conn) nextAuth() error {
	c.phase = phaseCommand
	line, err := c.readLine()
	switch {
	case errors.Is(err, errLineTooLong):
		c.instead = "500 5.5.6 Line too long" // RFC 4954 §4
		line = "*"
	case err != nil:
		return c.lost(err)
	case line == "*":
		c.instead = "501 5.7.0 Cancelled"
	case line == "=" || !isBase64(line):
		c.instead = "501 5.5.2 Not base64"
		line = "*"
	}
	c.feed = []byte(line + "\r\n")
	return nil
}
