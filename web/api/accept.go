package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// outgoing is a message that is ready to be accepted.
type outgoing struct {
	id         string
	from       mail.Address // reverse-path
	author     mail.Address // in From: whose domain signs
	to         []mail.Address
	body       *spool.Spool
	kind       mail.BodyType
	smtputf8   bool
	requireTLS bool
	holdUntil  time.Time
	list       string // of List-Unsubscribe: who left it gets nothing
}

// result is the answer for a message that was accepted.
type result struct {
	ID         string      `json:"id"`
	MessageID  string      `json:"message_id,omitempty"` // the Message-ID field
	Recipients []recipient `json:"recipients"`
}

// keep makes the step that records an answer; nil where there is no key to
// record it for.
type keep func(answer []byte) directory.InTx

// accept hands a message over for those of its recipients that can get it, and
// gives the answer, which keep has recorded in the same transaction.
func (s *server) accept(r *request, m *outgoing, answer func([]recipient) ([]byte, error), keep keep) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.Limits.Deliver)
	defer cancel() // the message is here: whoever hung up may ask again for its outcome
	list, good, err := s.sort(ctx, r.key.Account, m)
	if err != nil {
		return nil, err
	}
	if err := noneLeft(list); err != nil {
		return nil, err
	}
	told, err := answer(list)
	if err != nil {
		return nil, fault("internal", "The answer cannot be written").because(err)
	}
	if len(good) > 0 && s.Allow != nil {
		if err := s.Allow(ctx, r.key.Account, len(good)); err != nil {
			return nil, limited(err)
		}
	}
	step := s.steps(r, m, list, told, keep)
	if len(good) == 0 {
		if step != nil {
			err = s.Directory.Do(ctx, step)
		}
	} else {
		err = s.deliver(ctx, r, m, good, step)
	}
	if err != nil {
		return nil, err
	}
	events.APIMessages.WithLabelValues("accepted").Inc()
	r.log.Info("message accepted", "event", "api.accepted", "message_id", m.id, "from", m.from.String(), "recipients", len(good), "size", m.body.Size())
	return told, nil
}

// noneLeft is the refusal of a message of which every recipient was.
func noneLeft(list []recipient) error {
	for _, r := range list {
		if r.Status != rejected {
			return nil
		}
	}
	p := fault("no-recipients", "%s: %s", list[0].Address, list[0].Detail)
	p.Recipients = list
	return p
}

// limited turns the refusal of Allow into an answer.
func limited(err error) error {
	e, ok := errors.AsType[*mail.Error](err)
	switch {
	case !ok || e.Code == 451: // the limit could not be asked for
		return unavailable(err)
	case e.Class == mail.Permanent:
		return fault("sending-blocked", "%s", e.Text).because(err)
	}
	return fault("sending-limit", "%s", e.Text).because(err).after(time.Minute)
}

// steps are what stands or falls with the message: its answer, and that
// recipients were left out.
func (s *server) steps(r *request, m *outgoing, list []recipient, told []byte, keep keep) directory.InTx {
	var left []events.Event
	for _, to := range list {
		e := events.Event{Message: m.id, Account: r.key.Account, From: m.from.String(), Recipient: to.Address, Text: to.Detail, Code: to.Code, Enhanced: to.Enhanced}
		switch to.Status {
		case suppressed:
			e.Kind = events.Suppressed
		case rejected:
			e.Kind = events.Refused
		default:
			continue
		}
		left = append(left, e)
	}
	if keep == nil && len(left) == 0 {
		return nil
	}
	if len(left) == len(list) { // the Deliverer, which records all else, will not see it
		left = append([]events.Event{{Kind: events.Received, Message: m.id, Account: r.key.Account, From: m.from.String(),
			Remote: r.literal() + " (HTTP API)", Size: m.body.Size()}}, left...)
	}
	return func(ctx context.Context, tx directory.Tx) error {
		if keep != nil {
			if err := keep(told)(ctx, tx); err != nil {
				return err
			}
		}
		if len(left) == 0 {
			return nil
		}
		return s.Events.AddTx(ctx, tx, left...)
	}
}

// deliver signs and hands over.
func (s *server) deliver(ctx context.Context, r *request, m *outgoing, to []mail.Recipient, step directory.InTx) error {
	in := &mail.Incoming{ID: m.id, Account: r.key.Account, Arrived: time.Now(), Remote: r.literal() + " (HTTP API)"}
	if r.TLS != nil {
		in.TLS = tls.VersionName(r.TLS.Version)
	}
	in.From, in.Recipients, in.Body, in.SMTPUTF8, in.HoldUntil = m.from, to, m.kind, m.smtputf8, m.holdUntil
	in.RequireTLS = m.requireTLS
	in.Received = s.received(r, m, to, in.Arrived)
	if s.Sign != nil {
		var err error
		if in.Signed, err = s.Sign(ctx, m.author, m.body, m.body.Size()); err != nil {
			return unavailable(fmt.Errorf("sign: %w", err))
		}
	}
	if step != nil {
		return s.Deliverer.DeliverIn(ctx, in, m.body, step)
	}
	settle, err := s.Deliverer.Deliver(ctx, in, m.body)
	if err == nil && settle != nil {
		settle(true) // a client that wants to ask again sends an Idempotency-Key
	}
	return err
}

// received is the trace field of this hop (RFC 5321 §4.4): the link and the
// protocol are HTTP's (RFC 3848 has none for it, so it is an Additional one).
// "for" stands only with a single recipient, lest blind ones learn of each
// other.
func (s *server) received(r *request, m *outgoing, to []mail.Recipient, at time.Time) []byte {
	var b bytes.Buffer
	from := r.literal()
	with := "HTTP"
	if r.tls {
		with = "HTTPS"
	}
	fmt.Fprintf(&b, "Received: from %s (%s)\r\n\tby %s with %s (API)\r\n\tid %s", from, from, s.Hostname, with, m.id)
	if len(m.to) == 1 && len(to) == 1 {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", to[0].Address)
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", at.Format(time.RFC1123Z))
	return b.Bytes()
}

// literal is the client's address as Received has it.
func (r *request) literal() string {
	switch {
	case !r.remote.IsValid():
		return "local"
	case r.remote.Is4():
		return "[" + r.remote.String() + "]"
	}
	return "[IPv6:" + r.remote.WithZone("").String() + "]"
}

// maySendAs refuses a sender address that is not the account's (RFC 6409 §6.1).
func (s *server) maySendAs(r *request, a mail.Address) error {
	ok, err := s.Directory.MaySendAs(r.Context(), r.key.Account, a)
	if err != nil {
		return unavailable(err)
	}
	if !ok || a.IsZero() {
		return fault("sender-not-allowed", "%s may not send as %q", r.key.Address, a.String())
	}
	return nil
}
