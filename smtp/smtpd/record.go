package smtpd

import (
	"crypto/tls"

	"github.com/emersion/go-smtp"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// What is refused is recorded where somebody may come and ask about it: whole
// messages, and recipients of a message whose others were taken, or of a client
// that has logged in. The recipients that robots try at port 25, and that come
// to nothing, are for the log and the metrics alone. Accepted messages are
// recorded by who stores them.

// Bounds on what one client can have recorded.
const (
	maxRefusals = 20  // recipients with a message
	maxTold     = 200 // events of a session
)

// tellRefused records that a recipient was refused, or with none a sender: at
// once if the client has logged in, else with the message, if it comes.
func (c *conn) tellRefused(tx *transaction, rcpt string, e *smtp.SMTPError) {
	if c.srv.cfg.Events == nil {
		return
	}
	switch ev := c.refusal(tx, rcpt, e); {
	case c.account.ID != 0:
		c.tell(ev)
	case len(tx.refusals) < maxRefusals:
		tx.refusals = append(tx.refusals, ev)
	}
}

// tellRefusals records the recipients that were refused of a message that was
// accepted for others.
func (c *conn) tellRefusals(tx *transaction) {
	for _, ev := range tx.refusals {
		c.tell(ev)
	}
	tx.refusals = nil
}

// tellMessageRefused records a refusal at the end of the data, for each
// recipient.
func (c *conn) tellMessageRefused(tx *transaction, e *smtp.SMTPError) {
	if c.srv.cfg.Events == nil {
		return
	}
	for i, r := range tx.Recipients {
		if i == maxRefusals {
			break
		}
		c.tell(c.refusal(tx, r.String(), e))
	}
}

func (c *conn) refusal(tx *transaction, rcpt string, e *smtp.SMTPError) events.Event {
	return events.Event{Kind: events.Refused, Message: tx.id, Account: c.account.ID, From: tx.From.String(), Recipient: rcpt,
		Remote: c.remote(), Code: e.Code, Text: e.Message, TLS: c.tlsVersion(),
		Enhanced: mail.Enhanced{uint8(e.EnhancedCode[0]), uint8(e.EnhancedCode[1]), uint8(e.EnhancedCode[2])}.String()}
}

func (c *conn) tell(e events.Event) {
	if c.told++; c.told <= maxTold {
		c.srv.cfg.Events.Add(e)
	}
}

// remote names the client in the record, where nobody waits for the DNS.
func (c *conn) remote() string { return c.helo + " (" + c.from(c.name.soFar()) + ")" }

func (c *conn) tlsVersion() string {
	if c.client.TLSState == nil {
		return ""
	}
	return tls.VersionName(c.client.TLSState.Version)
}
