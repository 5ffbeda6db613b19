package imapd

import (
	"context"
	"math"
	"strconv"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// This file is APPENDLIMIT (RFC 7889): one limit for all mailboxes, told in the
// capability and, to who asks, by STATUS. A larger message is refused with
// TOOBIG before a client that waits sends it.

// appendLimit is the limit as RFC 7889 §5 writes it, in 32 bits.
func (s *session) appendLimit() string {
	return strconv.FormatInt(min(s.srv.MaxMessage, math.MaxUint32), 10)
}

// appendLimitCapability is "APPENDLIMIT=67108864".
func (s *session) appendLimitCapability() imap.Cap { return imap.Cap("APPENDLIMIT=" + s.appendLimit()) }

func init() {
	statusTexts["APPENDLIMIT"] = func(s *session, _ context.Context, _ *mailstore.Mailbox) (string, error) {
		return s.appendLimit(), nil
	}
}
