package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"posthouse/internal/mail"
)

// Failure is why there is no session: its Result holds for every recipient, and
// is Deferred or Failed.
type Failure struct {
	Result
	// Refused: somebody was there, and wants nothing from us as a client, by
	// the greeting or the reply to EHLO. Another way may do better.
	Refused bool
	Err     error // nil: the other side's words say it all
}

func (f *Failure) Error() string {
	where := ""
	if f.Host != "" {
		where = " " + f.Host
	}
	if f.Code != 0 {
		return fmt.Sprintf("relay%s: %s: %d %s %s", where, f.Stage, f.Code, f.Enhanced, f.Text)
	}
	return fmt.Sprintf("relay%s: %s: %s", where, f.Stage, f.Text)
}

func (f *Failure) Unwrap() error { return f.Err }

// fail makes a Failure of our own judgement.
func fail(outcome Outcome, stage Stage, enhanced mail.Enhanced, text string, err error) *Failure {
	enhanced[0] = 4
	if outcome == Failed {
		enhanced[0] = 5
	}
	return &Failure{Result: Result{Outcome: outcome, Stage: stage, Enhanced: enhanced, Text: printable(text), At: time.Now()}, Err: err}
}

// String names a stage for people.
func (s Stage) String() string {
	names := [...]string{"looking up the host", "policy", "connecting", "greeting", "EHLO", "TLS", "AUTH", "MAIL", "RCPT", "DATA", "sending the message", "end of message"}
	if int(s) < len(names) {
		return names[s]
	}
	return "?"
}

// String names an outcome.
func (o Outcome) String() string {
	return [...]string{"deferred", "delivered", "failed", "ambiguous"}[o]
}

// explain says in words what kept a step from its end.
func explain(err error, waited time.Duration) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "we stopped"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", waited)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return err.Error()
}

// better picks what to report of the hosts that were tried: a message that may
// still arrive is not given up, and who came furthest knows most.
func better(a, b *Failure) *Failure {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case (a.Outcome == Deferred) != (b.Outcome == Deferred):
		if b.Outcome == Deferred {
			a, b = b, a
		}
	case b.Stage > a.Stage:
		a, b = b, a
	}
	if b.Refused && !a.Refused {
		a.Refused = true
	}
	return a
}
