package pop3

import (
	"context"
	"fmt"
	"strings"

	"posthouse/internal/mail"
)

// cmdCapa is CAPA (RFC 2449 §5). What is listed holds in this state.
func (s *session) cmdCapa(_ context.Context, arg string) {
	if arg != "" {
		s.wrong("CAPA takes no argument")
		return
	}
	s.ok("Capabilities follow")
	for _, c := range s.capabilities() {
		fmt.Fprintf(s.w, "%s\r\n", c)
	}
	s.w.WriteString(".\r\n")
}

func (s *session) capabilities() []string {
	caps := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER"}
	if s.state == authorization {
		if s.mayAuth() {
			caps = append(caps, "USER", "SASL "+strings.Join(s.srv.Directory.Mechanisms(s.client()), " "))
		}
		if s.tls == nil && s.srv.TLS != nil {
			caps = append(caps, "STLS")
		}
	}
	return append(caps, "EXPIRE "+s.expire(), "IMPLEMENTATION Posthouse")
}

// expire is how many days mail stays after it was retrieved, at least (RFC 2449
// §6.7). Before login that is the least that an account can have.
func (s *session) expire() string {
	switch {
	case s.state == authorization:
		return "1 USER"
	case s.account.Retention.Mode == mail.RetainExpire:
		return fmt.Sprint(s.account.Retention.Days)
	}
	return "NEVER"
}
