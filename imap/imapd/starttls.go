package imapd

import (
	"context"

	"github.com/emersion/go-imap/v2"
)

// loginCapabilities are STARTTLS, LOGINDISABLED and the mechanisms of AUTHENTICATE.
func (s *session) loginCapabilities() []imap.Cap {
	var caps []imap.Cap
	if s.tls == nil && s.srv.TLS != nil && s.deflate == nil {
		caps = append(caps, imap.CapStartTLS)
	}
	if !s.mayPlain() {
		caps = append(caps, imap.CapLoginDisabled)
	}
	for _, m := range s.mechanisms() {
		caps = append(caps, imap.AuthCap(m))
	}
	return caps
}

// cmdStartTLS is STARTTLS (RFC 3501 §6.2.1). Whoever sends more in the clear
// behind it is closed: those octets could be somebody else's, and must not run
// as commands inside TLS (CVE-2011-0411).
func (s *session) cmdStartTLS(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	if s.tls != nil {
		return bad("TLS is active already")
	}
	if s.srv.TLS == nil {
		return bad("TLS is not available")
	}
	if s.deflate != nil { // RFC 4978 §4: compression goes inside TLS
		return bad("TLS begins before COMPRESS")
	}
	if c.lex.Buffered() > 0 {
		c.lex.Drop()
		return bye("", "Nothing may follow STARTTLS before the handshake")
	}
	s.tagged(c, imap.StatusResponseTypeOK, "", "Begin TLS negotiation now")
	if err := s.enc.Flush(); err != nil {
		return err
	}
	c.lex.Release()
	if s.handshake(ctx) != nil {
		return errClosed // half a handshake: no telling what the peer would read
	}
	c.answered = true
	return nil
}
