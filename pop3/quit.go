package pop3

import (
	"context"
	"errors"
	"time"

	"posthouse/internal/events"
	"posthouse/mailstore"
)

// updateTime bounds the UPDATE state, also when the server is shutting down.
const updateTime = time.Minute

// cmdQuit is QUIT (RFC 1939 §6). In the transaction state it is the only thing
// that deletes; once it was read whole, the client need not wait for it.
func (s *session) cmdQuit(ctx context.Context, arg string) {
	if !s.noArgument(arg) {
		return
	}
	s.end = quit
	if s.state == authorization {
		s.ok("Bye")
		return
	}
	s.state = update
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTime)
	defer cancel()
	var marked []int
	for i, d := range s.deleted {
		if d {
			marked = append(marked, i)
		}
	}
	err := s.drop.Commit(ctx, marked, s.account.Retention)
	switch {
	case errors.Is(err, mailstore.ErrInUse):
		s.fail("[IN-USE] The maildrop's lock was lost; nothing was deleted")
	case err != nil:
		s.failed("Some deleted messages were not removed", err)
	default:
		s.removed = len(marked)
		events.POP3Deleted.Add(float64(len(marked)))
		s.ok("Bye, %d messages left", s.left)
	}
	s.unlock()
}

// unlock gives the maildrop back before the client hears the answer: its next
// session may begin at once.
func (s *session) unlock() {
	if err := s.drop.Close(); err != nil {
		s.log.Warn("maildrop not closed in order", "event", "pop3.close", "error", err)
	}
}
