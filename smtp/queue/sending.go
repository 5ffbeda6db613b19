package queue

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/smtp/relay"
)

// Sending is what a Scheduler works with. Dial, Route and Bounce are needed.
type Sending struct {
	// Dial opens a session on a route: relay.Relay's.
	Dial func(ctx context.Context, route relay.Route, need Need) (Connection, error)
	// Route finds how mail of a sender for a domain leaves. Its error is temporary.
	Route func(ctx context.Context, sender mail.Address, domain string) (relay.Route, error)
	// Bounce delivers a report, here or by this queue, and runs inTx in the same
	// transaction, perhaps more than once: mda.MDA.DeliverIn. An error of class
	// Permanent says that it can never be delivered.
	Bounce func(ctx context.Context, in *mail.Incoming, body *spool.Spool, inTx func(context.Context, pgx.Tx) error) error

	// Outcome hears what hosts said of recipients that an account wrote to, once
	// that is recorded: how many they took, how many they refused for good. It
	// returns at once. nil: nobody asks.
	Outcome func(account int64, delivered, refused int)

	Retry  Schedule      // nil: DefaultSchedule
	Expire time.Duration // when what could not be delivered bounces; 0: DefaultExpire
	Warn   time.Duration // when the sender is told of the delay; 0: DefaultWarn

	Workers        int           // sessions of this node; 0: 200
	PerDestination int           // sessions with one destination, on all nodes; 0: 20
	Lease          time.Duration // of a session; renewed thrice as often; 0: DefaultLease
	Silence        time.Duration // after which a node that was killed counts as dead; 0: 10 s, or a shorter Lease
	Poll           time.Duration // how often the database is asked unbidden; 0: 5 s
	Linger         time.Duration // how long a session without mail waits for some; 0: 1 s, negative: not at all

	Grace time.Duration // how long Close lets go on what can be sent again; 0: 2 s

	Events   *events.Log // nil: none are recorded
	SpoolDir string      // for reports that do not fit the memory; empty: the system's
}

// Need is what the messages of one session ask of its transport.
type Need struct {
	RequireTLS  bool // RFC 8689
	TLSOptional bool // TLS-Required: No
}

// Connection is a session with a next hop; *relay.Session is one.
type Connection interface {
	// Send gives a result for each of the message's recipients, in order.
	Send(ctx context.Context, m *relay.Message) []relay.Result
	// Alive reports whether another message may follow.
	Alive() bool
	Close()
}

// DialError is why there is no session.
type DialError struct {
	relay.Result      // Deferred or Failed
	Refused      bool // a host was there, and wants nothing from us: a fallback may do better
}

func (e *DialError) Error() string { return e.Text }

func (s *Sending) defaults() error {
	if s.Dial == nil || s.Route == nil || s.Bounce == nil {
		return errors.New("queue: sending needs Dial, Route and Bounce")
	}
	if len(s.Retry) == 0 {
		s.Retry = DefaultSchedule
	}
	for _, d := range s.Retry {
		if d <= 0 {
			return errors.New("queue: a wait of the schedule is not positive")
		}
	}
	s.Expire = cmp.Or(s.Expire, DefaultExpire)
	s.Warn = cmp.Or(s.Warn, DefaultWarn)
	s.Workers = cmp.Or(s.Workers, 200)
	s.PerDestination = cmp.Or(s.PerDestination, 20)
	s.Lease = cmp.Or(s.Lease, DefaultLease)
	s.Silence = cmp.Or(s.Silence, min(10*time.Second, s.Lease))
	s.Poll = cmp.Or(s.Poll, 5*time.Second)
	s.Grace = cmp.Or(s.Grace, 2*time.Second)
	s.Linger = cmp.Or(s.Linger, time.Second)
	return nil
}

// backoff is how long a destination is left alone after so many failures in a row.
func (s *Sending) backoff(failures int, deadline time.Duration) time.Duration {
	d := s.Retry.waitUntil(failures, deadline)
	if s.Retry[0] < maxBackoff { // a schedule in hours means what it says
		d = min(d, maxBackoff)
	}
	return d
}
