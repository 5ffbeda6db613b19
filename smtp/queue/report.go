package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/smtp/dsn"
	"posthouse/smtp/relay"
)

// reportPatience bounds how long a report is tried to be delivered before a
// delivery is recorded without one, or a failure put off.
const reportPatience = 5 * time.Minute

// record has the verdicts on one item committed, in the background. The last
// of the passes is done when all are.
func (s *Scheduler) record(life context.Context, session int64, it *item, list []verdict) []*pass {
	var all []*pass
	for _, part := range byReport(list) {
		p := &pass{session: session, life: life, item: it, list: part, done: make(chan struct{})}
		all = append(all, p)
		if !part[0].told {
			s.passes <- p
			continue
		}
		s.reports.Go(func() {
			s.reporting <- struct{}{}
			defer func() { <-s.reporting }()
			s.report(p)
		})
	}
	return all
}

// report delivers the report that a pass owes, with the pass in its transaction.
func (s *Scheduler) report(p *pass) {
	begin := time.Now()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := s.tryReport(p)
		switch {
		case err == nil || errors.Is(err, errLost):
			if err != nil {
				p.err = errLost
			} else {
				events.QueueReports.WithLabelValues(p.list[0].kind.String()).Inc()
			}
			s.settle(p)
			return
		case mail.ClassOf(err) == mail.Permanent:
			// RFC 5321 §6.1: a report that cannot be delivered is not reported on.
			p.note = "the report to the sender could not be delivered: " + clean(err.Error())
			s.log.WarnContext(s.work, "a report was dropped", "event", "double_bounce", "message_id", p.item.ref, "queue_id", p.item.id, "from", p.item.From.String(), "err", err)
			events.QueueReports.WithLabelValues("dropped").Inc()
			s.passes <- p
			return
		case mail.ClassOf(err) == mail.Unknown && s.recorded(p):
			s.settle(p)
			return
		}
		s.log.WarnContext(s.work, "a report could not be delivered yet", "event", "queue_report", "message_id", p.item.ref, "queue_id", p.item.id, "err", err)
		if time.Since(begin) > reportPatience {
			s.withoutReport(p, err)
			return
		}
		if p.life.Err() != nil || !sleep(s.work, pause) {
			p.err = fmt.Errorf("report to %s: %w", p.item.From, err)
			close(p.done)
			return
		}
	}
}

// withoutReport records what has been done already, and puts off what was only
// decided, report and all.
func (s *Scheduler) withoutReport(p *pass, err error) {
	for i := range p.list {
		v := &p.list[i]
		if v.result.Outcome == relay.Delivered {
			p.note = "the report to the sender could not be delivered: " + clean(err.Error())
			continue
		}
		v.final, v.warned, v.wait = false, v.rcpt.warned, s.Retry.wait(v.attempts+1)
		v.deadline = p.item.clock.now().Add(v.wait)
	}
	s.passes <- p
}

// recorded asks whether a pass was committed whose commit was not answered.
func (s *Scheduler) recorded(p *pass) bool {
	var ours bool
	err := s.q.pool.QueryRow(s.work, `SELECT EXISTS (SELECT FROM queue_rcpt WHERE message_id = $1 AND n = $2 AND session_id = $3)`,
		p.item.id, p.list[0].n, p.session).Scan(&ours)
	return err == nil && !ours
}

func (s *Scheduler) tryReport(p *pass) error {
	in, body, err := s.compose(p)
	if err != nil {
		return err
	}
	defer body.Close()
	return s.Bounce(s.work, in, body, func(ctx context.Context, tx pgx.Tx) error {
		if err := s.recordTx(ctx, tx, []*pass{p}); err != nil {
			return err
		}
		return p.err // takes the report back: somebody else decides now
	})
}

// compose writes the report. A body that cannot be read is not returned.
func (s *Scheduler) compose(p *pass) (*mail.Incoming, *spool.Spool, error) {
	it := p.item
	r := &dsn.Report{Kind: p.list[0].kind, ID: mail.NewID(), Ref: it.ref, ReportingMTA: s.q.cfg.Hostname, To: it.From, EnvelopeID: it.EnvelopeID,
		ArrivalDate: it.created, Return: it.Return, SMTPUTF8: it.SMTPUTF8, RequireTLS: it.RequireTLS,
		HoldUntil: it.HoldUntil, DeliverBy: it.DeliverBy}
	for i := range p.list {
		v := &p.list[i]
		one := dsn.Recipient{Final: v.Address, Original: v.Original, Status: v.result.Enhanced, RemoteMTA: v.result.Host, Diagnostic: diagnostic(v.result)}
		if v.tried {
			one.LastAttempt = time.Now()
		} else if v.triedAt != nil {
			one.LastAttempt = *v.triedAt
		}
		if v.expired {
			one.Status = mail.Enhanced{4, 4, 7} // RFC 3463 §3.5: delivery time expired
		}
		if r.Kind == dsn.Delayed {
			one.WillRetryUntil = s.expires(it)
			one.FailsUntold = v.Notify != 0 && v.Notify&mail.NotifyFailure == 0
		}
		if one.Status[0] != statusClass(r.Kind) && (r.Kind != dsn.Failed || one.Status[0] != 4) {
			one.Status = mail.Enhanced{}
		}
		r.Recipients = append(r.Recipients, one)
	}
	if s.q.store != nil {
		r.Original = s.open(s.work, it)
		if in, sp, err := dsn.Compose(r, s.SpoolDir); err == nil {
			return in, sp, nil
		}
		r.Original = nil
	}
	return dsn.Compose(r, s.SpoolDir)
}

func statusClass(k dsn.Kind) uint8 {
	switch k {
	case dsn.Failed:
		return 5
	case dsn.Delayed:
		return 4
	}
	return 2
}

// diagnostic is what was said, with the code where there was one.
func diagnostic(r relay.Result) string {
	if r.Code == 0 {
		return r.Text
	}
	if r.Enhanced == (mail.Enhanced{}) {
		return fmt.Sprintf("%d %s", r.Code, r.Text)
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)
}
