package smtpd

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"time"

	"posthouse/internal/mail"
)

// received is this hop's trace field, RFC 5321 §4.4. All that comes from the
// client in it has been vetted: the EHLO argument by isHelo, the recipient by
// mail.ParseAddress. "for" stands only with a single recipient, lest Bcc ones
// learn of each other.
func (c *conn) received(tx *transaction, to []mail.Recipient, at time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Received: from %s (%s)\r\n", c.helo, c.from(c.name.String()))
	fmt.Fprintf(&b, "\tby %s with %s", c.srv.cfg.Hostname, c.with(tx))
	if s := c.client.TLSState; s != nil {
		fmt.Fprintf(&b, "\r\n\t(%s %s)", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
	}
	fmt.Fprintf(&b, "\r\n\tid %s", tx.id)
	if tx.Priority != 0 { // RFC 6710 §4.2
		fmt.Fprintf(&b, "\r\n\tpriority %d", tx.Priority)
	}
	if len(tx.Recipients) == 1 && len(to) == 1 {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", to[0].Address)
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", at.Format(time.RFC1123Z))
	return b.Bytes()
}

// from is the TCP-info of the client: its name by the DNS, where it has one, and
// its address as a literal.
func (c *conn) from(name string) string {
	if name != "" {
		return name + " " + c.literal()
	}
	return c.literal()
}

func (c *conn) literal() string {
	switch a := c.client.Remote; {
	case !a.IsValid():
		return "local"
	case a.Is4():
		return "[" + a.String() + "]"
	default:
		return "[IPv6:" + a.WithZone("").String() + "]"
	}
}

// with is the protocol's name: RFC 3848, and RFC 6531 §4.3 for SMTPUTF8.
func (c *conn) with(tx *transaction) string {
	name := "SMTP"
	switch {
	case tx.SMTPUTF8 && c.mode == LMTP:
		name = "UTF8LMTP"
	case tx.SMTPUTF8:
		name = "UTF8SMTP"
	case c.mode == LMTP:
		name = "LMTP"
	case c.esmtp:
		name = "ESMTP"
	}
	if c.client.TLS {
		name += "S"
	}
	if c.account.ID != 0 {
		name += "A"
	}
	return name
}
