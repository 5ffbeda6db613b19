// Package mda delivers: it finds out where each recipient of a message leads
// (directory), stores the local copies (mailstore) and queues what leaves
// (smtp/queue), all in one transaction. If one recipient cannot be served,
// nobody is, and the client hears why.
//
// A copy goes to INBOX, that for user+detail@ too: a detail is for filters to
// act on, and a sender has no business choosing folders. An account that a
// message reaches on several ways (directly, by an alias, by a subaddress) gets
// one copy.
//
// Each copy carries its own prefix, served before the shared body: Return-Path
// (RFC 5321 §4.4), Delivered-To with the account's address, X-Original-To where
// the recipient was another one, and Received. A forward carries Delivered-To
// with the address that was forwarded: a message that comes by that address
// again is in a loop.
//
// What the sender asked to be told (RFC 3461) is honoured: a local copy that
// was stored, or an alias that leads to several places, is reported here, after
// the commit and before the client hears 250; all else travels on with the
// recipient.
package mda

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/message"
	"posthouse/internal/spool"
	"posthouse/mailstore"
	"posthouse/smtp/queue"
)

// Config of an MDA. Directory, Store and Queue are needed.
type Config struct {
	Directory *directory.Directory
	Store     *mailstore.Store
	Queue     *queue.Queue
	Capture   *CaptureTo   // nil: mail for other domains is queued
	Hostname  string       // in reports of success; empty: none are made
	SpoolDir  string       // for reports that do not fit the memory
	Events    *events.Log  // nil: what happens to a message is not recorded
	Log       *slog.Logger // nil: slog.Default

	// Forward gives the reverse-path for what an address of the domain via
	// forwards elsewhere, so that SPF holds there (SRS). It is asked for senders
	// elsewhere, not for the null one. nil: it stays as it is.
	Forward func(ctx context.Context, from mail.Address, via string) (mail.Address, error)
	// Return gives the address that one of Forward stands for, and the zero one
	// for what is none. A *mail.Error refuses a forged one. nil: there are none.
	Return func(ctx context.Context, rcpt mail.Address) (mail.Address, error)
}

// CaptureTo keeps here what would leave: local mode. Every remote recipient,
// those of forwards too, is a copy in that account's INBOX.
type CaptureTo struct{ Account int64 }

// MDA delivers messages. It is safe for concurrent use.
type MDA struct {
	cfg   Config
	holds atomic.Bool // the queue brings back what is held for recipients here
}

// New makes an MDA.
func New(cfg Config) *MDA {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &MDA{cfg: cfg}
}

// Deliver takes a message over for all its recipients; when it returns nil it is
// committed. settle must be called once: see mailstore's Answered and Abandon.
//
// Errors carry their class. Where one of several recipients is at fault for
// good, the error is temporary all the same: the client asks again, and hears
// at RCPT which one it was.
func (m *MDA) Deliver(ctx context.Context, in *mail.Incoming, body *spool.Spool) (settle func(heard bool), err error) {
	p, err := m.plan(ctx, in, body, false)
	if err != nil {
		return nil, err
	}
	d := p.delivery()
	d.Dedup, d.Sum = true, in.Sum
	if len(p.items) > 0 {
		d.InTx, d.Leave, d.RemoteKey = p.enqueue, p.leave, p.remoteKey()
	}
	placed, err := m.cfg.Store.Deliver(ctx, d)
	if err != nil {
		return nil, p.blame(err)
	}
	p.committed = time.Now()
	if body, ok := body.Bytes(); ok && p.blob != 0 {
		m.cfg.Queue.Handover(p.blob, body)
	}
	m.cfg.Queue.Committed(ctx, p.items...)
	p.record(placed)
	p.reportSuccess(ctx)
	p.hearComplaint(ctx)
	return func(heard bool) {
		if heard {
			m.cfg.Store.Answered(d.Receipt)
		} else {
			m.cfg.Store.Abandon(d.Receipt)
		}
	}, nil
}

// DeliverIn delivers a message of our own, a report or a notice, to local
// recipients and by the queue to those elsewhere. inTx runs in the transaction
// that stores it, after all else and perhaps more than once, so that the
// message and what led to it stand or fall together; an error of inTx takes
// everything back and is returned, wrapped.
//
// An error of class Permanent says that the message can never be delivered:
// there is no such recipient, the mailbox is full, mail goes round in a loop.
// inTx has not been carried out then. An error of class Unknown, that nobody
// knows whether the transaction was committed.
func (m *MDA) DeliverIn(ctx context.Context, in *mail.Incoming, body *spool.Spool, inTx func(context.Context, pgx.Tx) error) error {
	p, err := m.plan(ctx, in, body, true)
	if err != nil {
		return err
	}
	d := p.delivery()
	d.InTx = func(ctx context.Context, tx pgx.Tx, blob mailstore.BlobRef) error {
		if err := p.enqueue(ctx, tx, blob); err != nil || inTx == nil {
			return err
		}
		return inTx(ctx, tx)
	}
	placed, err := m.cfg.Store.Deliver(ctx, d)
	if err != nil {
		return p.blame(err)
	}
	p.committed = time.Now()
	m.cfg.Queue.Committed(ctx, p.items...)
	p.record(placed)
	return nil
}

// plan finds out where a message goes.
func (m *MDA) plan(ctx context.Context, in *mail.Incoming, body *spool.Spool, ours bool) (*plan, error) {
	parsed, err := message.Parse(body, body.Size())
	if err != nil {
		return nil, mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot read the message, try again later", err)
	}
	p := &plan{mda: m, in: in, body: body, parsed: parsed, ours: ours}
	for _, rcpt := range in.Recipients {
		if err := p.add(ctx, rcpt); err != nil {
			return nil, p.blame(err)
		}
	}
	return p, nil
}

func (p *plan) delivery() *mailstore.Delivery {
	return &mailstore.Delivery{Body: p.body, Parsed: p.parsed, Targets: p.targets, ReversePath: p.in.From.String()}
}

// blame softens a permanent error that may be one recipient's fault.
func (p *plan) blame(err error) error {
	if mail.ClassOf(err) != mail.Permanent || len(p.in.Recipients) == 1 {
		return err
	}
	code, enhanced := 451, mail.Enhanced{4, 3, 0}
	if errors.Is(err, mailstore.ErrOverQuota) {
		code, enhanced = 452, mail.Enhanced{4, 2, 2}
	}
	return mail.Defer(code, enhanced, "One of the recipients cannot be served now, try again later", err)
}

// enqueue runs in the delivery's transaction, perhaps more than once.
func (p *plan) enqueue(ctx context.Context, tx pgx.Tx, blob mailstore.BlobRef) error {
	for _, it := range p.items {
		it.BlobID, it.Size = blob.ID, blob.Size+int64(len(it.Prefix))
		if err := p.mda.cfg.Queue.Enqueue(ctx, tx, it); err != nil {
			return err
		}
	}
	return nil
}

// leave does what enqueue does, together with other deliveries.
func (p *plan) leave(b *pgx.Batch, blob mailstore.BlobRef) error {
	p.blob = blob.ID
	for _, it := range p.items {
		it.BlobID, it.Size = blob.ID, blob.Size+int64(len(it.Prefix))
		if err := p.mda.cfg.Queue.EnqueueBatch(b, it); err != nil {
			return err
		}
	}
	return nil
}

// remoteKey names all remote recipients, whatever their order.
func (p *plan) remoteKey() string {
	var all []string
	for _, it := range p.items {
		for _, r := range it.Recipients {
			all = append(all, fmt.Sprintf("%s %s", r.Address, it.Via))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
