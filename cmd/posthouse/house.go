package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"posthouse/smtp/smtpd"
)

// house is the running listeners.
type house struct {
	log    *slog.Logger
	wg     sync.WaitGroup
	failed chan error // the first listener that ended by itself
}

func newHouse(log *slog.Logger) *house { return &house{log: log, failed: make(chan error, 1)} }

// serve runs the accept loop of one listener.
func (h *house) serve(l listener, loop func() error) {
	h.wg.Go(func() {
		if err := loop(); err != nil && !errors.Is(err, smtpd.ErrClosed) {
			select {
			case h.failed <- fmt.Errorf("listener %s on %s: %w", l.name, l.address(), err):
			default: // another one failed before
			}
		}
	})
}

// wait waits for the signal to stop, or for a listener that fails; meanwhile it
// reads the configuration again whenever it is asked to.
func (h *house) wait(ctx context.Context, again <-chan os.Signal, reload func()) error {
	for {
		select {
		case <-ctx.Done():
			h.log.Info("stopping", "event", "stop")
			return nil
		case err := <-h.failed:
			h.log.Error("stopping after a fault", "event", "stop", "err", err)
			return err
		case <-again:
			reload()
		}
	}
}

// drain lets every protocol bring to an end what it is doing, all at once, and
// cuts what takes longer than patience.
func (h *house) drain(patience time.Duration, shutdowns ...func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, shutdown := range shutdowns {
		wg.Go(func() {
			if err := shutdown(ctx); err != nil {
				h.log.Warn("sessions were cut off", "event", "stop", "err", err)
			}
		})
	}
	wg.Wait()
	h.wg.Wait()
	h.log.Info("drained", "event", "stop")
}

// closing closes a thing at the end of a server's life and logs what went wrong.
func closing(log *slog.Logger, what string, close func() error) {
	if err := close(); err != nil {
		log.Error("close the "+what, "event", "stop", "err", err)
	}
}
