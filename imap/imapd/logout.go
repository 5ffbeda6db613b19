package imapd

import "context"

// cmdLogout is LOGOUT (RFC 3501 §6.1.3). The session closes after the tagged OK.
func (s *session) cmdLogout(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw("* BYE Logging out\r\n")
	s.over = true
	return nil
}
