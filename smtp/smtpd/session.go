package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-smtp"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// transaction is one message on its way in: from MAIL to the end of its data.
type transaction struct {
	mail.Envelope
	id       string
	size     int64          // as MAIL announced, 0: not
	asked    mail.Recipient // of the RCPT that is being decided
	rcpts    []string       // as go-smtp names Recipients, for LMTP's replies
	refused  int
	sum      [32]byte // of the content as received; zero: it is stored as it came
	poisoned bool     // a bare CR or LF in DATA

	author   mail.Address   // of a submitted message: the address in From
	signed   []byte         // fields of Sign; nil: not asked for yet
	fault    *fault         // asked for by the address of a recipient
	refusals []events.Event // of recipients, recorded with the message

	// Of a BDAT transfer:
	extra     int  // octets at the end of what go-smtp reads that are not the client's
	abandoned bool // RSET or the like came instead of the last chunk
}

func newTransaction() *transaction { return &transaction{id: mail.NewID()} }

// session is go-smtp's view of a guard: what a command means, once its form is
// right.
type session struct{ c *conn }

// Reset forgets the transaction.
func (s *session) Reset() {
	c := s.c
	c.tx, c.chunks = nil, chunks{}
	if c.stage > stageReady {
		c.stage = stageReady
	}
}

// Logout is called when the connection closes.
func (s *session) Logout() error { return nil }

// Mail decides on the sender that the guard parsed; its argument is go-smtp's
// reading of the same.
func (s *session) Mail(string, *smtp.MailOptions) error {
	c := s.c
	if err := c.maySendAs(c.tx.From); err != nil {
		e := c.refuse("sender refused", err)
		c.tellRefused(c.tx, "", e)
		c.tx = nil
		return e
	}
	c.stage = stageMail
	return nil
}

// maySendAs refuses a sender address that is not the account's (RFC 6409
// §6.1). The null reverse-path is everybody's.
func (c *conn) maySendAs(from mail.Address) error {
	if c.account.ID == 0 || from.IsZero() {
		return nil
	}
	ok, err := c.srv.dir.MaySendAs(c.ctx, c.account.ID, from)
	if err != nil {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot check the sender, try again later", err)
	}
	if !ok {
		return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "You may not send as "+from.String())
	}
	return nil
}

// refuse logs a refusal and makes it go-smtp's.
func (c *conn) refuse(msg string, err error) *smtp.SMTPError {
	e := smtpError(err)
	level := c.log.Info
	if e.Code < 500 {
		level = c.log.Warn
	}
	level(msg, "event", "smtp.refused", "code", e.Code, "error", err.Error())
	return e
}

// Rcpt decides on the recipient that the guard parsed.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	c := s.c
	tx := c.tx
	err := c.recipient(tx.asked.Address, tx.size)
	if err == nil {
		tx.Recipients = append(tx.Recipients, tx.asked)
		tx.rcpts = append(tx.rcpts, to)
		c.stage = stageRcpt
		events.SMTPRecipients.WithLabelValues(c.mode.String(), "accepted").Inc()
		return nil
	}
	tx.refused++
	if f, ok := errors.AsType[*fault](err); ok {
		return f.reply
	}
	e := c.refuse("recipient refused", fmt.Errorf("%s: %w", tx.asked, err))
	events.SMTPRecipients.WithLabelValues(c.mode.String(), resultOf(e.Code)).Inc()
	c.tellRefused(tx, tx.asked.String(), e)
	if e.Code >= 500 {
		if c.refused++; c.refused >= c.srv.cfg.Limits.Refused && c.account.ID == 0 && c.mode != LMTP {
			return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many refused recipients"}
		}
	}
	return e
}

// errAbandoned is told to go-smtp, and to nobody else.
var errAbandoned = errors.New("abandoned by the client")

// Data takes one message whole. Its error is the reply, a success too.
func (s *session) Data(r io.Reader) error {
	c, began := s.c, time.Now()
	tx := c.tx
	body, err := c.receiveBody(tx, r)
	if tx.abandoned {
		return errAbandoned
	}
	if err == nil {
		defer body.Close()
		err = c.deliver(tx, tx.Recipients, body)
	}
	return c.outcome(tx, body, err, began)
}

// outcome turns the fate of a message into its reply, log line and metrics.
func (c *conn) outcome(tx *transaction, body *spool.Spool, err error, began time.Time) *smtp.SMTPError {
	log := c.log.With("message_id", tx.id, "from", tx.From.String(), "recipients", len(tx.Recipients),
		"duration", time.Since(began))
	if err != nil {
		e := smtpError(err)
		messageResult(c.mode, e.Code)
		log.Warn("message not accepted", "event", "smtp.refused", "code", e.Code, "error", err.Error())
		c.tellMessageRefused(tx, e)
		return e
	}
	c.tellRefusals(tx)
	messageResult(c.mode, 250)
	events.SMTPOctets.Add(float64(body.Size()))
	c.junk = 0
	log.Info("message accepted", "event", "smtp.accepted", "code", 250, "size", body.Size())
	return accepted(tx)
}

func accepted(tx *transaction) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: stored as " + tx.id}
}

// deliver hands the message over. It is not cut short when the client hangs up:
// the message is here, and an outcome is better than none.
func (c *conn) deliver(tx *transaction, to []mail.Recipient, body *spool.Spool) error {
	ctx, cancel := context.WithTimeout(c.srv.ctx, c.srv.cfg.Limits.Deliver)
	defer cancel()
	if err := c.fail(tx.fault); err != nil {
		return err
	}
	if err := c.mayWrite(c.srv.cfg.Allow, len(to)); err != nil {
		return err
	}
	if err := c.sign(ctx, tx, body); err != nil {
		return err
	}
	in := &mail.Incoming{ID: tx.id, Envelope: tx.Envelope, Account: c.account.ID, Arrived: time.Now(), Sum: tx.sum,
		Remote: c.remote(), TLS: c.tlsVersion(), Signed: tx.signed}
	in.Recipients = to
	in.Received = c.received(tx, to, in.Arrived)
	settle, err := c.srv.cfg.Deliverer.Deliver(ctx, in, body)
	if err != nil {
		return err
	}
	if settle != nil {
		c.settle = append(c.settle, settle)
	}
	return nil
}

// sign has a submitted message signed, once.
func (c *conn) sign(ctx context.Context, tx *transaction, body *spool.Spool) error {
	if c.srv.cfg.Sign == nil || c.account.ID == 0 || tx.signed != nil {
		return nil
	}
	fields, err := c.srv.cfg.Sign(ctx, tx.author, body, body.Size())
	if err != nil {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot sign the message, try again later", err)
	}
	tx.signed = append([]byte{}, fields...)
	return nil
}

// LMTPData answers each recipient by itself (RFC 2033 §4.2). The message is
// delivered to all in one transaction; where that is refused for the sake of
// some, to each in one of its own.
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	c, began := s.c, time.Now()
	tx := c.tx
	body, err := c.receiveBody(tx, r)
	if tx.abandoned {
		return errAbandoned
	}
	if err != nil {
		return c.outcome(tx, nil, err, began)
	}
	defer body.Close()
	err = c.deliver(tx, tx.Recipients, body)
	if !divisible(err) || len(tx.Recipients) == 1 {
		e := c.outcome(tx, body, err, began)
		for _, rcpt := range tx.rcpts {
			status.SetStatus(rcpt, e)
		}
		return nil
	}
	for i, rcpt := range tx.rcpts {
		one := *tx
		one.Recipients = tx.Recipients[i : i+1]
		status.SetStatus(rcpt, c.outcome(&one, body, c.deliver(&one, one.Recipients, body), began))
	}
	return nil
}

// divisible reports whether err is a refusal that may concern one recipient
// only, after a transaction that is known to have been rolled back.
func divisible(err error) bool {
	e, ok := errors.AsType[*mail.Error](err)
	return ok && e.Class != mail.Unknown
}
