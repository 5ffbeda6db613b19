package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"posthouse/smtp/relay"
)

// Scheduler sends what is queued, on one node. Any number of nodes share a
// queue. Close must be called.
type Scheduler struct {
	Sending
	q   *Queue
	log *slog.Logger

	work   context.Context // recording; ends last
	halt   context.CancelFunc
	life   context.Context // sessions; ends when a drain has no more time
	cut    context.CancelCauseFunc
	seek   context.Context // claiming and waiting; ends first
	stop   context.CancelFunc
	once   sync.Once
	killed bool // tests: as after kill -9, nothing is given back

	closing   chan struct{} // closed when seek ends
	crowded   chan struct{} // takes a lingering session's place
	slots     chan struct{} // one for each session
	glance    chan struct{} // holds one: the dispatcher should look
	passes    chan *pass
	reporting chan struct{} // bounds reports under way: each takes a database connection

	claims, sessions, reports, recording, loops sync.WaitGroup // waited for in this order

	mu      sync.Mutex
	at      map[int64]*session    // open sessions
	idlers  map[string][]*session // that linger, by destination
	woken   map[string]struct{}   // destinations to make ready
	suspect int                   // sessions with destinations that failed last
	full    bool                  // no slot is free, and somebody waits for one

	promised time.Time // when a session found something to become due; zero: it is in due

	pulse  int64
	ids    atomic.Int64
	silent map[int64]time.Time // the dispatcher's: pulses that are not felt, since when
	felt   time.Time           // and when it looked

	due    time.Time // the dispatcher's: when something may have become due
	seen   [2]int64  // and the highest ids of messages at its last two polls
	polled time.Time
	clock  dbTime    // of the database, at the last check
	gauged time.Time // the keeper's
}

// reportsAtOnce bounds the transactions with reports under way on this node.
const reportsAtOnce = 4

// Start begins to send. It needs the database once, so that what is wrong with
// it shows here; from then on it waits where the database does not answer.
func (q *Queue) Start(sending Sending) (*Scheduler, error) {
	if err := sending.defaults(); err != nil {
		return nil, err
	}
	if q.store == nil || q.cfg.Hostname == "" {
		return nil, errors.New("queue: a scheduler needs a store and a host name")
	}
	s := &Scheduler{Sending: sending, q: q, log: q.log, pulse: newPulse(), closing: make(chan struct{}), crowded: make(chan struct{}),
		slots: make(chan struct{}, sending.Workers), glance: make(chan struct{}, 1), passes: make(chan *pass, groupPasses),
		reporting: make(chan struct{}, reportsAtOnce), at: map[int64]*session{}, idlers: map[string][]*session{}, woken: map[string]struct{}{}}
	s.work, s.halt = context.WithCancel(context.Background())
	s.life, s.cut = context.WithCancelCause(s.work)
	s.seek, s.stop = context.WithCancel(s.work)
	if err := s.check(s.work); err != nil {
		s.halt()
		return nil, fmt.Errorf("start sending: %w", err)
	}
	q.warn.Store(int64(min(s.Warn, s.Expire/2)))
	q.scheduler.Store(s)
	s.recording.Go(s.recorder)
	s.claims.Go(s.dispatch)
	s.claims.Go(s.keep)
	s.loops.Go(s.listen)
	s.loops.Go(s.beat)
	return s, nil
}

// Close stops claiming and lets sessions finish the message that they are at,
// for Grace, or where its end has been sent, until ctx ends; then they are cut
// off. All leases are given back. The queue stays
// usable; an error says that sessions were cut.
func (s *Scheduler) Close(ctx context.Context) (err error) {
	s.once.Do(func() { err = s.close(ctx) })
	return err
}

func (s *Scheduler) close(ctx context.Context) (err error) {
	s.q.scheduler.CompareAndSwap(s, nil)
	close(s.closing)
	s.stop()
	drained := make(chan struct{})
	go func() {
		s.claims.Wait()
		s.sessions.Wait()
		s.reports.Wait()
		close(drained)
	}()
	grace := time.AfterFunc(s.Grace, s.interrupt)
	defer grace.Stop()
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("sessions with next hops were cut off: %w", ctx.Err())
		s.cut(errClosing)
		t := time.AfterFunc(cutPatience, s.halt) // a database that does not answer keeps nobody
		<-drained
		t.Stop()
	}
	close(s.passes) // nobody is left to send
	t := time.AfterFunc(cutPatience, s.halt)
	s.recording.Wait()
	t.Stop()
	s.halt()
	s.loops.Wait()
	return err
}

// interrupt ends the sessions that are not at the end of a message: next hops
// that let us wait for anything else do not keep a server from stopping.
func (s *Scheduler) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.at {
		w.interrupt(errClosing)
	}
}

// cutPatience is how long the database gets to take the last results.
const cutPatience = 10 * time.Second

var errClosing = errors.New("queue: the server is stopping")

func (s *Scheduler) stopping() bool { return s.seek.Err() != nil }

// wake tells of mail for destinations. A session that lingers takes it at once;
// else the dispatcher makes the destination ready. It never waits.
func (s *Scheduler) wake(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if list := s.idlers[name]; len(list) > 0 {
			signal(list[0].poke)
			s.unlist(list[0])
			continue
		}
		s.woken[name] = struct{}{}
	}
	if len(s.woken) > 0 {
		s.look()
	}
}

// look has the dispatcher look soon.
func (s *Scheduler) look() { signal(s.glance) }

// soon has the dispatcher look when something becomes due, d from now.
func (s *Scheduler) soon(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := time.Now().Add(d); s.promised.IsZero() || at.Before(s.promised) {
		s.promised = at
	}
}

// nextDue is when the dispatcher has to look for what has become due.
func (s *Scheduler) nextDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.promised.IsZero() && s.promised.Before(s.due) {
		s.due = s.promised
	}
	s.promised = time.Time{}
	return s.due
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// idle lists a session that lingers, or takes it off; false when there is mail
// that came before it was listed.
func (s *Scheduler) idle(w *session, yes bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !yes {
		s.unlist(w)
		return true
	}
	if _, waits := s.woken[w.destination]; waits {
		return false // the dispatcher is about to make it ready: another session may take it
	}
	select {
	case <-w.poke: // of the last time
	default:
	}
	s.idlers[w.destination] = append(s.idlers[w.destination], w)
	return true
}

// unlist takes a session off the idlers; s.mu is held.
func (s *Scheduler) unlist(w *session) {
	list := s.idlers[w.destination]
	for i, o := range list {
		if o == w {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(s.idlers, w.destination)
		return
	}
	s.idlers[w.destination] = list
}

// busy reports whether another destination waits for a slot: a session then
// ends after its batch.
func (s *Scheduler) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// dispatch starts sessions while there are slots and ready destinations.
func (s *Scheduler) dispatch() {
	nextCheck := time.Now().Add(checkEvery)
	pause := time.Duration(0)
	for {
		next, err := s.turn()
		if err == nil && time.Now().After(nextCheck) {
			nextCheck = time.Now().Add(checkEvery)
			err = s.check(s.seek)
		}
		switch {
		case s.seek.Err() != nil:
			return
		case err != nil:
			if pause == 0 {
				s.log.WarnContext(s.seek, "the queue waits for the database", "event", "queue_stalled", "err", err)
			}
			pause = min(max(2*pause, 100*time.Millisecond), s.Poll)
			if !sleep(s.seek, pause) {
				return
			}
			continue
		case pause > 0:
			s.log.InfoContext(s.seek, "the queue goes on", "event", "queue_resumed")
			pause = 0
		}
		t := time.NewTimer(max(next, 0))
		select {
		case <-s.glance:
		case <-t.C:
		case <-s.seek.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// turn makes ready what was woken or has become due, claims what it can, and
// says when to come again at the latest.
func (s *Scheduler) turn() (next time.Duration, err error) {
	if err := s.flush(); err != nil {
		return 0, err
	}
	if next = time.Until(s.nextDue()); next <= 0 {
		if next, err = s.promote(s.seek); err != nil {
			return 0, err
		}
		s.due = time.Now().Add(next)
	}
	for s.seek.Err() == nil {
		select {
		case s.slots <- struct{}{}:
		default:
			s.mu.Lock()
			s.full = true
			s.mu.Unlock()
			select {
			case s.crowded <- struct{}{}: // one that lingers leaves
			default:
			}
			return next, nil // a session that ends looks again
		}
		s.mu.Lock()
		s.full = false
		failing := s.suspect < max(1, s.Workers/2) // the others always find a slot
		s.mu.Unlock()
		c, err := s.serve(s.seek, failing)
		if err != nil || c == nil {
			<-s.slots
			return next, err
		}
		s.begin(c)
	}
	return next, nil
}

// flush makes ready what was woken.
func (s *Scheduler) flush() error {
	s.mu.Lock()
	names := make([]string, 0, len(s.woken))
	for name := range s.woken {
		names = append(names, name)
	}
	clear(s.woken)
	tell := s.full // another node may have room
	s.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	err := s.q.ready(s.seek, names, tell)
	if err != nil {
		s.mu.Lock()
		for _, name := range names {
			s.woken[name] = struct{}{}
		}
		s.mu.Unlock()
	}
	return err
}

// begin starts a session; it has a slot.
func (s *Scheduler) begin(c *claimed) {
	w := &session{claimed: c, s: s, poke: make(chan struct{}, 1), confirmed: time.Now()}
	w.ctx, w.cancel = context.WithCancelCause(s.life)
	s.mu.Lock()
	s.at[c.id] = w
	if c.failures > 0 {
		s.suspect++
	}
	s.mu.Unlock()
	s.sessions.Go(func() {
		w.run()
		s.mu.Lock()
		delete(s.at, c.id)
		if c.failures > 0 {
			s.suspect--
		}
		s.mu.Unlock()
		<-s.slots
		s.look()
	})
}

// dial is Dial; a fault of ours there is one of the connection.
func (s *Scheduler) dial(ctx context.Context, route relay.Route, need Need) (c Connection, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "panic while connecting", "event", "panic", "destination", route.Key, "panic", p, "stack", string(debug.Stack()))
			err = errors.New("an internal fault while connecting")
		}
	}()
	return s.Dial(ctx, route, need)
}

// beat renews the leases of all sessions here, thrice in a lease.
func (s *Scheduler) beat() {
	for sleep(s.work, s.Lease/3) {
		s.mu.Lock()
		ids := make([]int64, 0, len(s.at))
		for id := range s.at {
			ids = append(ids, id)
		}
		s.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		lost, err := s.renew(s.work, ids)
		if err != nil {
			s.log.WarnContext(s.work, "leases were not renewed", "event", "queue_lease", "err", err)
			continue
		}
		s.mu.Lock()
		for _, id := range lost {
			if w := s.at[id]; w != nil {
				w.cancel(errLost)
			}
		}
		s.mu.Unlock()
	}
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
