package imapd

import "context"

// cmdNamespace is NAMESPACE (RFC 2342): one personal namespace, nobody else's
// mailboxes and no shared ones.
func (s *session) cmdNamespace(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw(`* NAMESPACE (("" "/")) NIL NIL` + "\r\n")
	return nil
}
