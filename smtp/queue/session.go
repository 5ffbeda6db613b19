package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"posthouse/internal/mail"
	"posthouse/smtp/relay"
)

// fresh is how long a confirmed lease is believed without asking again.
const fresh = time.Second

// session sends mail to one destination, down one connection at a time.
type session struct {
	*claimed
	s      *Scheduler
	ctx    context.Context // ends when the lease is lost or the scheduler has no more time
	cancel context.CancelCauseFunc
	end    sync.Mutex    // guards ending
	ending bool          // the end of a message was sent, or is about to be
	poke   chan struct{} // holds one: there is mail for the destination

	conn      Connection
	need      Need
	detour    *relay.Route // where else the route leads when this host refuses us; nil: nowhere
	confirmed time.Time    // by our clock, before the database was asked
	pending   []*pass      // of the messages sent so far that may not be recorded yet
	sent      int          // messages that a next hop took
	trouble   *relay.Result
	drop      bool          // the destination wants fewer sessions
	deadline  time.Duration // until the first of the recipients that met the trouble
}

// run is the life of a session.
func (w *session) run() {
	defer w.finish()
	defer w.hangUp()
	for {
		asked := time.Now()
		items, err := w.s.claim(w.ctx, w.id, w.destination, claimMessages)
		if err != nil {
			if w.ctx.Err() == nil {
				w.s.log.WarnContext(w.ctx, "no mail could be claimed", "event", "queue_claim", "session", w.id, "destination", w.destination, "err", err)
			}
			return
		}
		if len(items) == 0 {
			if !w.linger() {
				return
			}
			continue
		}
		w.confirmed = asked
		before := w.sent
		if !w.handle(items) || w.s.busy() {
			return
		}
		if len(items) >= claimMessages && w.sent > before {
			w.s.more(w.ctx, w.claimed)
		}
	}
}

// linger waits with an open connection for mail that may come; false when the
// session should end.
func (w *session) linger() bool {
	if w.conn == nil || w.s.Linger < 0 || w.s.busy() || !w.settled() {
		return false
	}
	if !w.s.idle(w, true) {
		return false
	}
	defer w.s.idle(w, false)
	t := time.NewTimer(w.s.Linger)
	defer t.Stop()
	select {
	case <-w.poke:
		return true
	case <-t.C:
	case <-w.s.crowded:
	case <-w.s.closing:
	case <-w.ctx.Done():
	}
	return false
}

// handle sends a batch; false when the session should end. What it does not get
// to is given back by finish.
func (w *session) handle(items []*item) bool {
	var bodies map[int64]relay.Content
	for i, it := range items {
		if w.ctx.Err() != nil || w.s.stopping() {
			return false
		}
		route, err := w.s.Route(w.ctx, it.From, it.rcpts[0].Domain)
		if err != nil {
			w.fail(items[i:], relay.Result{Stage: relay.StagePolicy, Enhanced: mail.Enhanced{4, 3, 5}, Text: "No route: " + err.Error(), At: time.Now()})
			return false
		}
		if route.Key != w.destination { // the routes have changed
			if err := w.s.rekey(w.ctx, w.id, it); err != nil {
				w.s.log.WarnContext(w.ctx, "mail was not rerouted", "event", "queue_reroute", "queue_id", it.id, "err", err)
			}
			continue
		}
		if bodies == nil {
			bodies = w.s.prefetch(w.ctx, items)
		}
		content := bodies[it.id]
		if content == nil {
			content = w.s.open(w.ctx, it)
		}
		if !w.sendItem(items[i:], it, route, content) {
			return false
		}
	}
	return true
}

// sendItem sends one message in as many transactions as its recipients take.
// rest are the items from it on, which share the fate of the connection.
func (w *session) sendItem(rest []*item, it *item, route relay.Route, content relay.Content) bool {
	var live []*rcpt
	var dead []verdict
	for _, r := range it.rcpts {
		if r.doomed != "" || it.late() {
			dead = append(dead, w.s.condemn(it, r))
		} else {
			live = append(live, r)
		}
	}
	if len(dead) > 0 {
		w.keep(w.s.record(w.ctx, w.id, it, dead))
	}
	if len(live) == 0 {
		return true
	}
	optional, err := tlsOptional(content)
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Class == mail.Temporary || err != nil && w.ctx.Err() != nil {
		w.s.log.WarnContext(w.ctx, "a message waits for the database", "event", "queue_read", "queue_id", it.id, "err", err)
		return false // no fault of the message's
	}
	if err != nil {
		w.poison(it, live, fmt.Errorf("the message cannot be read: %w", err))
		return true
	}
	need := Need{RequireTLS: it.RequireTLS, TLSOptional: optional && !it.RequireTLS} // RFC 8689 §5: REQUIRETLS goes before
	for len(live) > 0 {
		part := live[:min(perMessage, len(live))]
		live = live[len(part):]
		if w.conn != nil && (w.need != need || !w.conn.Alive()) {
			w.hangUp()
		}
		if w.conn == nil {
			res, ok := w.dial(route, need)
			if !ok {
				if w.ctx.Err() != nil {
					return false
				}
				left := *it
				left.rcpts = append(append([]*rcpt{}, part...), live...)
				if need != (Need{}) { // others may still get through
					w.all([]*item{&left}, res, false)
					return true
				}
				w.fail(append([]*item{&left}, rest[1:]...), res)
				return false
			}
		}
		if !w.transmit(it, part, content, need) {
			return false
		}
	}
	return true
}

// dial connects, by the fallback where the route takes no connection or no mail
// of ours.
func (w *session) dial(route relay.Route, need Need) (res relay.Result, ok bool) {
	for hop := &route; ; hop = hop.Fallback {
		conn, err := w.s.dial(w.ctx, *hop, need)
		if err == nil {
			w.conn, w.need, w.detour = conn, need, hop.Fallback
			return res, true
		}
		res = relay.Result{Stage: relay.StageConnect, Text: err.Error(), At: time.Now()}
		refused := false
		if e, is := errors.AsType[*DialError](err); is {
			res, refused = e.Result, e.Refused
		}
		unreached := res.Outcome == relay.Deferred && (res.Stage == relay.StageConnect || res.Stage == relay.StageBanner || res.Stage == relay.StageEHLO)
		if hop.Fallback == nil || w.ctx.Err() != nil || !refused && !unreached {
			return res, false
		}
	}
}

// transmit sends to at most perMessage recipients; false when the session
// should end.
func (w *session) transmit(it *item, part []*rcpt, content relay.Content, need Need) bool {
	m := &relay.Message{Envelope: it.Envelope, Ref: it.ref, Content: content, TLSOptional: need.TLSOptional, Commit: w.commit}
	m.Recipients = make([]mail.Recipient, len(part))
	for i, r := range part {
		m.Recipients[i] = r.Recipient
	}
	if !m.DeliverBy.IsZero() { // by our clock, as Dial's
		m.DeliverBy = time.Now().Add(it.DeliverBy.Sub(it.clock.now()))
	}
	results, err := w.send(w.conn, m)
	if err == nil && w.detour != nil {
		w.goRound(m, part, results)
	}
	if err != nil {
		w.hangUp()
		w.poison(it, part, err)
		return w.ctx.Err() == nil
	}
	if w.ctx.Err() != nil && !anyTaken(results) {
		return false // not the destination's fault
	}
	list := make([]verdict, len(part))
	broken, last := false, relay.Result{}
	together := map[int]time.Duration{} // what failed in one transaction is tried again in one
	for i, r := range part {
		res := results[i]
		list[i] = w.s.decide(it, r, res, false)
		if d, ok := together[r.attempts]; ok && list[i].wait > 0 {
			list[i].wait = d
		} else if list[i].wait > 0 {
			together[r.attempts] = list[i].wait
		}
		switch {
		case res.Outcome == relay.Deferred && (res.Code == 421 || res.Code == 0):
			broken, last = true, res
		case res.Code == 452:
			w.drop = true
		}
	}
	if anyTaken(results) {
		w.sent++
	}
	w.keep(w.s.record(w.ctx, w.id, it, list))
	if broken && !w.conn.Alive() {
		w.drop = true
		if w.sent == 0 {
			w.trouble = &last
		}
		return false
	}
	return true
}

func anyTaken(results []relay.Result) bool {
	for _, r := range results {
		if r.Outcome == relay.Delivered || r.Outcome == relay.Ambiguous {
			return true
		}
	}
	return false
}

// goRound sends by the fallback to those whom the host would take from others,
// and puts what comes of it into results. While that way is closed they wait.
func (w *session) goRound(m *relay.Message, part []*rcpt, results []relay.Result) {
	var refused []int
	again := *m
	again.Recipients = nil
	for i, r := range results {
		if refusesUs(r, part[i].attempts) {
			refused = append(refused, i)
			again.Recipients = append(again.Recipients, m.Recipients[i])
		}
	}
	if len(refused) == 0 {
		return
	}
	each := func(res relay.Result) {
		for _, i := range refused {
			results[i] = res
		}
	}
	conn, err := w.s.dial(w.ctx, *w.detour, w.need)
	if e, is := errors.AsType[*DialError](err); is && e.Outcome == relay.Failed {
		return // nobody wants it: what the destination said stands
	} else if is {
		each(e.Result)
		return
	}
	if err == nil {
		defer conn.Close()
		var taken []relay.Result
		if taken, err = w.send(conn, &again); err == nil {
			for n, i := range refused {
				results[i] = taken[n]
			}
			return
		}
	}
	each(relay.Result{Stage: relay.StageConnect, Enhanced: mail.Enhanced{4, 3, 0}, Text: "The host refuses this server, and the other way: " + err.Error(), At: time.Now()})
}

// refusesUs reports whether a host's policy turns us away, rather than the
// message or its recipient: 5.7.1 and its like to MAIL or RCPT, anything to MAIL
// that names no reason, and 4.7.1 once it is more than greylisting.
func refusesUs(r relay.Result, attempts int) bool {
	if r.Stage != relay.StageMail && r.Stage != relay.StageRcpt || r.Code < 400 || r.Code == 421 {
		return false
	}
	if r.Outcome == relay.Deferred && attempts < patientAttempts {
		return false
	}
	subject, detail := r.Enhanced[1], r.Enhanced[2]
	if subject == 0 && detail == 0 {
		return r.Outcome == relay.Failed && r.Stage == relay.StageMail
	}
	return subject == 7 && (detail == 0 || detail == 1 || detail == 25) // RFC 7372: 25 is our reverse DNS
}

// patientAttempts is how often a host that puts us off by its policy is asked.
const patientAttempts = 2

// send keeps a fault of ours in one message from ending more than that.
func (w *session) send(conn Connection, m *relay.Message) (results []relay.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.s.log.ErrorContext(w.ctx, "panic while sending", "event", "panic", "session", w.id, "panic", p, "stack", string(debug.Stack()))
			err = errors.New("an internal fault while sending")
		}
	}()
	defer func() {
		w.end.Lock()
		defer w.end.Unlock()
		w.ending = false
	}()
	results = conn.Send(w.ctx, m)
	if len(results) != len(m.Recipients) {
		return nil, fmt.Errorf("%d results for %d recipients", len(results), len(m.Recipients))
	}
	return results, nil
}

// poison puts off recipients of a message that we cannot send, and goes on.
func (w *session) poison(it *item, part []*rcpt, err error) {
	w.s.log.ErrorContext(w.ctx, "a message cannot be sent", "event", "queue_poison", "message_id", it.ref, "queue_id", it.id, "err", err)
	list := make([]verdict, len(part))
	for i, r := range part {
		list[i] = w.s.decide(it, r, relay.Result{Stage: relay.StageBody, Enhanced: mail.Enhanced{4, 3, 0}, Text: "Local fault: " + err.Error(), At: time.Now()}, false)
	}
	w.keep(w.s.record(w.ctx, w.id, it, list))
}

// fail gives a batch the result of a connection that did not come about. For
// good, it is the result of each; else the destination backs off.
func (w *session) fail(items []*item, res relay.Result) {
	w.all(items, res, true)
	if res.Outcome == relay.Deferred {
		w.trouble = &res
	}
}

// all records one result for everybody.
func (w *session) all(items []*item, res relay.Result, connection bool) {
	for _, it := range items {
		list := make([]verdict, len(it.rcpts))
		for i, r := range it.rcpts {
			list[i] = w.s.decide(it, r, res, connection)
			if d := list[i].deadline.Sub(it.clock.now()); !list[i].final && (w.deadline == 0 || d < w.deadline) {
				w.deadline = max(d, 1)
			}
		}
		w.keep(w.s.record(w.ctx, w.id, it, list))
	}
}

// commit is asked right before the final dot. What went before must be recorded
// by then, so that a crash leaves one message in doubt, and the lease must be ours.
func (w *session) commit(ctx context.Context) error {
	if err := w.ours(ctx); err != nil {
		return err
	}
	w.end.Lock()
	defer w.end.Unlock()
	w.ending = w.ctx.Err() == nil
	return w.ctx.Err()
}

// interrupt ends a session where nothing is lost by it: the message that it is
// at can be sent again, as its end has not been.
func (w *session) interrupt(cause error) {
	w.end.Lock()
	defer w.end.Unlock()
	if !w.ending {
		w.cancel(cause)
	}
}

// ours is the fence: the lease, confirmed a moment ago.
func (w *session) ours(ctx context.Context) error {
	if err := w.await(ctx); err != nil {
		return err
	}
	if time.Since(w.confirmed) < min(fresh, w.s.Lease/4) {
		return w.ctx.Err()
	}
	asked := time.Now()
	tag, err := w.s.q.pool.Exec(ctx, `UPDATE queue_session SET lease_until = now() + $2::interval WHERE id = $1 AND `+hasty+` = 'off'`, w.id, w.s.Lease)
	if err != nil {
		return fmt.Errorf("ask for the lease: %w", err)
	}
	if tag.RowsAffected() == 0 {
		w.cancel(errLost)
		return errLost
	}
	w.confirmed = asked
	return nil
}

// keep notes passes that are being recorded.
func (w *session) keep(list []*pass) { w.pending = append(w.pending, list...) }

// await waits until all passes are recorded.
func (w *session) await(ctx context.Context) error {
	for len(w.pending) > 0 {
		p := w.pending[0]
		select {
		case <-p.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if p.err != nil {
			if errors.Is(p.err, errLost) {
				w.cancel(errLost)
			}
			return p.err
		}
		w.pending = w.pending[1:]
	}
	return nil
}

// settled is await for a session that has nothing else to do.
func (w *session) settled() bool { return w.await(w.ctx) == nil }

func (w *session) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// finish waits for what is being recorded and gives the lease back.
func (w *session) finish() {
	for _, p := range w.pending {
		<-p.done // the recorder ends with the lease, or with the scheduler
	}
	w.s.end(w)
	w.cancel(nil)
}
