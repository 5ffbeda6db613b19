package imapd

import (
	"context"
	"errors"
	"os"
	"strings"

	"posthouse/internal/events"
	"posthouse/mailstore"
)

// cmdIdle is IDLE (RFC 2177). The watch on the mailbox is older than the view,
// and the journal is asked once more before waiting: nothing that happened just
// before IDLE is lost. While it waits the session holds no buffers; a small
// goroutine turns news into an interruption of the read.
func (s *session) cmdIdle(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw("+ idling\r\n")
	if s.box != nil && !s.silent() {
		if err := s.syncNow(ctx, false); err != nil {
			return err
		}
		stop := s.pokeOn(s.box.watch)
		defer func() {
			stop()
			s.box.stale = true // a last sign may have been taken, and not followed
		}()
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	events.IMAPIdle.Inc()
	defer events.IMAPIdle.Dec()
	if err := s.idle(ctx); err != nil {
		return err
	}
	s.conn.busy(s.srv.Timeouts.Silence, s.srv.Timeouts.Silence)
	line, err := c.lex.Line(100)
	if err != nil {
		return err
	}
	if !strings.EqualFold(line, "DONE") {
		return bad("Expected DONE")
	}
	c.text = "IDLE ended"
	return nil
}

// idle reports news until the client says something.
func (s *session) idle(ctx context.Context) error {
	for {
		if err := s.expelled(); err != nil {
			return err
		}
		s.conn.wait(s.srv.Timeouts.Keepalive)
		err := s.lex.Wait()
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return errClosed
		}
		switch {
		case !s.conn.takePoke():
			// A sign of life, for NAT tables and to notice a peer that is gone.
			s.enc.Raw("* OK Still here\r\n")
		default:
			if s.box != nil && !s.silent() {
				if err := s.syncNow(ctx, false); err != nil {
					return err
				}
			}
			s.notices(ctx)
		}
		if err := s.enc.Flush(); err != nil {
			return err
		}
	}
}

// pokeOn interrupts the session's wait at each sign of the watch, until the
// function returned is called, which waits for its goroutine.
func (s *session) pokeOn(w *mailstore.Watch) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-w.C:
				s.conn.poke()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
