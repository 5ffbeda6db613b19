package imapd

import (
	"context"
	"time"
)

// This file is INPROGRESS (RFC 9585): a client whose command takes long hears
// from time to time that it is being worked on, and does not hang up.

// slowly runs work that may take long and writes nothing. It runs in a goroutine
// of its own, which slowly waits for, while the session tells the client of it.
func (s *session) slowly(ctx context.Context, c *command, work func(ctx context.Context) error) error {
	quiet := time.NewTicker(s.srv.Timeouts.Progress)
	defer quiet.Stop()
	var err error
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		err = work(ctx)
	}()
	for {
		select {
		case <-done:
			if panicked != nil {
				panic(panicked) // in the session, which knows how to end
			}
			return err
		case <-quiet.C:
			s.enc.Raw(`* OK [INPROGRESS ("` + c.tag + `" NIL NIL)] Still working` + "\r\n")
			// A client that is gone is noticed when the work is done: half of it
			// would be no better. The error is sticky.
			s.enc.Flush()
		}
	}
}
