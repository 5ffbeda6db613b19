package queue

import (
	"strings"
	"time"

	"posthouse/internal/mail"
	"posthouse/smtp/dsn"
	"posthouse/smtp/relay"
)

// verdict is what becomes of one recipient after an attempt, or when one of its
// deadlines came up.
type verdict struct {
	*rcpt
	result   relay.Result
	tried    bool          // an attempt was made
	final    bool          // it leaves the queue
	expired  bool          // because its time is up; result is that of the last attempt
	told     bool          // a report is due, of kind
	kind     dsn.Kind      //
	wait     time.Duration // else: until the next attempt
	deadline time.Time     // and what comes next beside it
	warned   bool
}

// expires is when the item bounces.
func (s *Scheduler) expires(it *item) time.Time { return it.base.Add(s.Expire) }

// deadline is when something is due again for a recipient beside trying: the
// first of the delay notice, the by-time and the bounce.
func (s *Scheduler) deadline(it *item, notify mail.Notify, warned bool) time.Time {
	first := s.expires(it)
	if warns := s.warns(it, notify); !warned && warns.Before(first) {
		first = warns
	}
	if it.ByMode.Return && !it.DeliverBy.IsZero() && it.DeliverBy.Before(first) {
		first = it.DeliverBy
	}
	return first
}

// warns is when the sender is told of the delay: RFC 2852 §4.1.4.2 has it at the
// by-time of mode N. Who asked to hear of delays hears before it bounces, however
// soon that is.
func (s *Scheduler) warns(it *item, notify mail.Notify) time.Time {
	at := it.base.Add(s.Warn)
	if notify&mail.NotifyDelay != 0 {
		at = it.base.Add(min(s.Warn, s.Expire/2))
	}
	if !it.DeliverBy.IsZero() && !it.ByMode.Return && it.DeliverBy.Before(at) {
		at = it.DeliverBy
	}
	return at
}

// late reports whether the sender wants the message back by now (RFC 2852).
func (it *item) late() bool {
	return it.ByMode.Return && !it.DeliverBy.IsZero() && !it.clock.now().Before(it.DeliverBy)
}

// decide takes the result of an attempt. wait is the pause that the destination
// has earned, where the attempt did not get as far as this recipient: 0 for one
// of its own.
func (s *Scheduler) decide(it *item, r *rcpt, res relay.Result, connection bool) verdict {
	v := verdict{rcpt: r, result: res, tried: true, warned: r.warned}
	now := it.clock.now()
	switch {
	case res.Outcome == relay.Delivered:
		v.final = true
		v.kind, v.told = dsn.Relayed, r.Notify&mail.NotifySuccess != 0 && !res.DSN || it.ByMode.Trace && r.Notify&mail.NotifyNever == 0
	case res.Outcome == relay.Failed:
		v.fail()
	case r.doomed != "" || it.late():
		v.giveUp(it)
	case !now.Before(s.expires(it)):
		v.expired = true
		v.fail()
	default:
		v.postpone(s, it, now)
		if !connection { // else the destination backs off, and this one's turn comes behind the others'
			v.wait = s.Retry.waitUntil(r.attempts+1, v.deadline.Sub(now))
		}
	}
	v.told = v.told && !it.From.IsZero()
	return v
}

// postpone keeps the recipient waiting, and tells the sender once it is time.
func (v *verdict) postpone(s *Scheduler, it *item, now time.Time) {
	if !v.warned && !now.Before(s.warns(it, v.Notify)) {
		v.warned = true
		v.kind, v.told = dsn.Delayed, v.Notify == 0 || v.Notify&mail.NotifyDelay != 0
	}
	v.deadline = s.deadline(it, v.Notify, v.warned)
}

// fail makes it final. RFC 3461 §4.1: nothing said means that failures are reported.
func (v *verdict) fail() {
	v.result.Outcome, v.final = relay.Failed, true
	v.kind, v.told = dsn.Failed, v.Notify == 0 || v.Notify&mail.NotifyFailure != 0
}

// giveUp fails with a reason of our own.
func (v *verdict) giveUp(it *item) {
	last := strings.TrimSpace(v.result.Text)
	v.result = relay.Result{Enhanced: mail.Enhanced{5, 0, 0}, Text: v.doomed, At: time.Now()}
	if v.doomed == "" {
		v.result.Enhanced = mail.Enhanced{5, 4, 7}
		v.result.Text = "Not delivered by the time that the sender set, " + it.DeliverBy.UTC().Format(time.RFC1123)
	}
	if last != "" {
		v.result.Text += "; the last attempt ended with: " + last
	}
	v.fail()
}

// condemn is giveUp without an attempt.
func (s *Scheduler) condemn(it *item, r *rcpt) verdict {
	v := verdict{rcpt: r, warned: r.warned}
	v.result.Text = r.last.text
	v.giveUp(it)
	v.told = v.told && !it.From.IsZero()
	return v
}
