package imapd

import "context"

// cmdNoop is NOOP and CHECK (RFC 3501 §6.1.2, §6.4.1). What is new is told
// before the tagged answer of every command; a client that polls with these is
// told what other servers did, too, without waiting for their sign. Nothing is
// ever left to be written to disk, so CHECK has nothing more to do.
func (s *session) cmdNoop(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	if s.box == nil || s.silent() {
		return nil
	}
	return s.syncNow(ctx, false)
}
