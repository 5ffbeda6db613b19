package pop3

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// number gives the index of the message that arg names. It answers the client
// itself when there is none.
func (s *session) number(arg string) (int, bool) {
	n, err := strconv.ParseUint(arg, 10, 31)
	switch {
	case err != nil:
		s.wrong("That is no message number")
	case n == 0 || n > uint64(len(s.deleted)):
		s.fail("No such message")
	case s.deleted[n-1]:
		s.fail("Message " + strconv.FormatUint(n, 10) + " is deleted")
	default:
		return int(n - 1), true
	}
	return 0, false
}

// cmdStat is STAT (RFC 1939 §5).
func (s *session) cmdStat(_ context.Context, arg string) {
	if s.noArgument(arg) {
		s.ok("%d %d", s.left, s.leftSize)
	}
}

// cmdList is LIST (RFC 1939 §5).
func (s *session) cmdList(ctx context.Context, arg string) {
	s.listing(ctx, arg, func(i int) string { return strconv.FormatInt(s.drop.Item(i).Size, 10) })
}

// cmdUidl is UIDL (RFC 1939 §7).
func (s *session) cmdUidl(ctx context.Context, arg string) {
	s.listing(ctx, arg, s.drop.UIDL)
}

// listing answers for one message, or for all that are not deleted.
func (s *session) listing(_ context.Context, arg string, of func(int) string) {
	if arg = strings.TrimRight(arg, " "); arg != "" {
		if i, ok := s.number(arg); ok {
			s.ok("%d %s", i+1, of(i))
		}
		return
	}
	s.ok("%d messages (%d octets)", s.left, s.leftSize)
	for i, gone := range s.deleted {
		if !gone {
			fmt.Fprintf(s.w, "%d %s\r\n", i+1, of(i)) // a write that fails makes the others fail, too
		}
	}
	s.w.WriteString(".\r\n")
}

// cmdDele is DELE (RFC 1939 §5): it marks for QUIT.
func (s *session) cmdDele(_ context.Context, arg string) {
	if i, ok := s.number(strings.TrimRight(arg, " ")); ok {
		s.deleted[i] = true
		s.left--
		s.leftSize -= s.drop.Item(i).Size
		s.ok("Message %d deleted", i+1)
	}
}

// cmdRset is RSET (RFC 1939 §5).
func (s *session) cmdRset(_ context.Context, arg string) {
	if s.noArgument(arg) {
		s.reset()
		s.ok("Maildrop has %d messages (%d octets)", s.left, s.leftSize)
	}
}

// reset unmarks all messages.
func (s *session) reset() {
	clear(s.deleted)
	s.left, s.leftSize = len(s.deleted), 0
	for i := range s.deleted {
		s.leftSize += s.drop.Item(i).Size
	}
}

// cmdNoop is NOOP (RFC 1939 §5).
func (s *session) cmdNoop(_ context.Context, arg string) {
	if s.noArgument(arg) {
		s.ok("Still here")
	}
}

func (s *session) noArgument(arg string) bool {
	if strings.Trim(arg, " ") != "" {
		s.wrong("No argument is allowed here")
		return false
	}
	return true
}
