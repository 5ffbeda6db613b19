package pop3

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"posthouse/internal/events"
	"posthouse/mailstore"
)

// cmdRetr is RETR (RFC 1939 §5).
func (s *session) cmdRetr(ctx context.Context, arg string) {
	i, ok := s.number(strings.TrimRight(arg, " "))
	if !ok || !s.send(ctx, i, -1) {
		return
	}
	s.retrieved++
	events.POP3Retrieved.Inc()
	// Losing the note keeps mail; the message itself was sent.
	if err := s.drop.Retrieved(ctx, i, s.account.Pop3MarksSeen); err != nil {
		s.log.Warn("retrieval not noted", "event", "pop3.retrieved", "account", s.account.Address.String(), "error", err)
	}
}

// cmdTop is TOP (RFC 1939 §7): the header and the first lines of the body.
func (s *session) cmdTop(ctx context.Context, arg string) {
	number, count, found := strings.Cut(arg, " ")
	n, err := strconv.ParseUint(strings.TrimRight(count, " "), 10, 31)
	if !found || err != nil {
		s.wrong("TOP takes a message number and a number of lines")
		return
	}
	if i, ok := s.number(number); ok {
		s.send(ctx, i, int(n))
	}
}

// chunk is how much of a message is read at a time, in octets.
const chunk = 32 << 10

// send streams a message; bodyLines below 0 is all of it. It reports whether
// the whole answer was written.
func (s *session) send(ctx context.Context, i, bodyLines int) bool {
	body, err := s.drop.Body(ctx, i)
	buf := make([]byte, min(chunk, max(s.drop.Item(i).Size, 1)))
	n := 0
	if err == nil { // the first octets come before the answer: then it can still be -ERR
		n, err = body.ReadAt(buf, 0)
	}
	if errors.Is(err, mailstore.ErrGone) {
		s.fail("[SYS/PERM] The message is no longer there")
		return false
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed("The message could not be read", err)
		return false
	}
	if bodyLines < 0 {
		s.ok("%d octets", s.drop.Item(i).Size)
	} else {
		s.ok("Top of message follows")
	}
	out := stuffer{w: s.w, left: bodyLines, header: true, start: true}
	for off := int64(0); n > 0 && !out.done; {
		if out.write(buf[:n]) != nil {
			s.end = gone
			return false
		}
		if off += int64(n); off >= body.Size() || out.done {
			break
		}
		n, err = body.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			// No more words: a final dot would make half a message a whole one.
			s.log.Error("message cut short", "event", "pop3.read", "account", s.account.Address.String(), "error", err)
			s.end = broken
			return false
		}
	}
	if out.finish() != nil {
		s.end = gone
		return false
	}
	s.octets += out.octets
	events.POP3Octets.Add(float64(out.octets))
	return true
}
