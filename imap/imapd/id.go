package imapd

import (
	"context"
	"strings"

	"posthouse/imap/wire"
)

// maxIDFields is the limit of RFC 2971 §3.3.
const maxIDFields = 30

// cmdID is ID (RFC 2971). The client's name is for the log, and for what is
// hidden from programs of that name.
func (s *session) cmdID(ctx context.Context, c *command) error {
	if c.lex.IsList() {
		if err := s.readID(c.lex); err != nil {
			return err
		}
	} else if _, ok, err := c.lex.Nstring(); err != nil {
		return err
	} else if ok {
		return wire.Syntaxf("expected a list or NIL")
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw(`* ID ("name" "Posthouse" "vendor" "Posthouse")` + "\r\n")
	return nil
}

func (s *session) readID(lex *wire.Lexer) error {
	var name, version string
	fields := 0
	err := lex.List(func() error {
		if fields++; fields > maxIDFields {
			return wire.Syntaxf("more than %d fields", maxIDFields)
		}
		key, err := lex.QuotedOrLiteral()
		if err != nil {
			return err
		}
		if err := lex.SP(); err != nil {
			return err
		}
		value, _, err := lex.Nstring()
		switch strings.ToLower(key) {
		case "name":
			name = value
		case "version":
			version = value
		}
		return err
	})
	if err == nil {
		s.program = strings.Clone(clip(name))
		s.log.Info("client", "event", "imap.id", "name", clip(name), "version", clip(version))
	}
	return err
}

// clip keeps what a client says about itself short.
func clip(s string) string { return s[:min(len(s), 80)] }
