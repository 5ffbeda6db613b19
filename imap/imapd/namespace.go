package imapd

import "context"

// cmdNamespace is NAMESPACE (RFC 2342): below the other two stand the addresses
// of accounts, see mailstore's reach.go.
func (s *session) cmdNamespace(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw(`* NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared/" "/"))` + "\r\n")
	return nil
}
