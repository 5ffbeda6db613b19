package mda

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/smtp/queue"
	"posthouse/smtp/relay"
)

// Mail that is submitted to be sent later (RFC 4865) waits in the queue for
// recipients here, too. When it is released the queue finds, by Routes and Dial,
// that their domain is ours, and the MDA takes it over like a next hop: resolved
// anew, stored in a transaction of its own.

// RouteFunc is queue.Sending.Route.
type RouteFunc func(ctx context.Context, sender mail.Address, domain string) (relay.Route, error)

// DialFunc is queue.Sending.Dial.
type DialFunc func(ctx context.Context, route relay.Route, need queue.Need) (queue.Connection, error)

// Routes is next for domains elsewhere; ours have a route without Domain and
// Hosts. Until it was called, mail is held for recipients elsewhere alone.
func (m *MDA) Routes(next RouteFunc) RouteFunc {
	ours := &domains{mda: m, known: map[string]domain{}}
	m.holds.Store(true)
	return func(ctx context.Context, sender mail.Address, name string) (relay.Route, error) {
		here, err := ours.local(ctx, name)
		if err != nil {
			return relay.Route{}, err
		}
		if here {
			return relay.Route{Key: name}, nil
		}
		return next(ctx, sender, name)
	}
}

// Dial is next for all routes but those of Routes to ourselves.
func (m *MDA) Dial(next DialFunc) DialFunc {
	return func(ctx context.Context, route relay.Route, need queue.Need) (queue.Connection, error) {
		if route.Domain == "" && len(route.Hosts) == 0 {
			return &ourselves{m}, nil
		}
		return next(ctx, route, need)
	}
}

// held reports whether a recipient here has to wait.
func (p *plan) held() bool {
	m := p.mda
	return m.holds.Load() && m.cfg.Capture == nil && p.in.HoldUntil.After(time.Now())
}

// ourselves is a session with the MDA.
type ourselves struct{ mda *MDA }

// Alive implements queue.Connection.
func (o *ourselves) Alive() bool { return true }

// Close implements queue.Connection.
func (o *ourselves) Close() {}

// Send implements queue.Connection. As at the end of data, all recipients are
// served in one transaction, or each in one of its own where that fails.
func (o *ourselves) Send(ctx context.Context, msg *relay.Message) []relay.Result {
	results := make([]relay.Result, len(msg.Recipients))
	body := spool.New(o.mda.cfg.SpoolDir, spool.Memory)
	defer body.Close()
	_, err := io.Copy(body, io.NewSectionReader(msg.Content, 0, msg.Content.Size()))
	if err == nil && msg.Commit != nil {
		err = msg.Commit(ctx)
	}
	if err == nil {
		err = o.mda.release(ctx, msg, msg.Recipients, body)
	}
	e, divisible := errors.AsType[*mail.Error](err)
	divisible = divisible && e.Class != mail.Unknown && len(msg.Recipients) > 1
	for i := range results {
		one := err
		if divisible {
			one = o.mda.release(ctx, msg, msg.Recipients[i:i+1], body)
		}
		results[i] = o.mda.result(one)
	}
	return results
}

// release delivers a message whose time has come. Forwards are allowed, and
// success is reported, as if it had just been submitted.
func (m *MDA) release(ctx context.Context, msg *relay.Message, to []mail.Recipient, body *spool.Spool) error {
	in := &mail.Incoming{Envelope: msg.Envelope, ID: cmp.Or(msg.Ref, mail.NewID()), Arrived: time.Now()}
	in.Recipients, in.HoldUntil = to, time.Time{}
	p, err := m.plan(ctx, in, body, true)
	if err != nil {
		return err
	}
	d := p.delivery()
	if len(p.items) > 0 {
		d.InTx = p.enqueue
	}
	placed, err := m.cfg.Store.Deliver(ctx, d)
	if err != nil {
		return p.blame(err)
	}
	m.cfg.Queue.Committed(ctx, p.items...)
	p.recordPlaces(placed)
	p.reportSuccess(ctx)
	return nil
}

// result is what the queue hears.
func (m *MDA) result(err error) relay.Result {
	r := relay.Result{Outcome: relay.Delivered, Stage: relay.StageDot, Host: m.cfg.Hostname, Code: 250, Enhanced: mail.Enhanced{2, 0, 0},
		Text: "Stored", DSN: true, At: time.Now()} // DSN: what was asked for is reported here
	if err == nil {
		return r
	}
	r.Outcome, r.DSN = relay.Deferred, false
	r.Code, r.Enhanced, r.Text = 451, mail.Enhanced{4, 3, 0}, "Local trouble"
	if e, ok := errors.AsType[*mail.Error](err); ok {
		r.Code, r.Enhanced, r.Text = e.Code, e.Enhanced, e.Text
	}
	if mail.ClassOf(err) == mail.Permanent {
		r.Outcome = relay.Failed
	}
	return r
}

// domains remembers for some seconds which domains are ours: the queue asks for
// each message.
type domains struct {
	mda   *MDA
	mu    sync.Mutex
	known map[string]domain
}

type domain struct {
	local bool
	until time.Time
}

const (
	domainKept  = 5 * time.Second
	domainsMost = 10_000
)

func (d *domains) local(ctx context.Context, name string) (bool, error) {
	d.mu.Lock()
	e, ok := d.known[name]
	d.mu.Unlock()
	if ok && time.Now().Before(e.until) {
		return e.local, nil
	}
	local, err := d.mda.cfg.Directory.LocalDomain(ctx, name)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= domainsMost {
		clear(d.known)
	}
	d.known[name] = domain{local, time.Now().Add(domainKept)}
	return local, nil
}
