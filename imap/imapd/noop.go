package imapd

import "context"

// cmdNoop is NOOP and CHECK (RFC 3501 §6.1.2, §6.4.1): what is new is told
// before the tagged answer of every command. Nothing is ever left to be written
// to disk, so CHECK has nothing more to do.
func (s *session) cmdNoop(ctx context.Context, c *command) error { return c.lex.End() }
