package imapd

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/inflate"
)

// part says good-bye where that makes sense.
func (s *session) part(err error) {
	answer, ok := errors.AsType[*imap.Error](err)
	switch {
	case err == nil || s.enc.Err() != nil: // the client is gone, perhaps in the middle of a body
	case errors.Is(err, errTorn):
		s.log.Error("session cut", "event", "imap.error", "error", err)
	case ok:
		s.sayBye(answer.Code, answer.Text)
	case errors.Is(err, wire.ErrLimit):
		s.sayBye(imap.ResponseCodeTooBig, "Too much: "+strings.TrimPrefix(err.Error(), wire.ErrLimit.Error()+": "))
		s.linger()
	case errors.Is(err, inflate.ErrCorrupt):
		s.sayBye("", "That is no DEFLATE")
		s.linger()
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.sayBye("", "Timeout")
	}
}

func (s *session) sayBye(code imap.ResponseCode, text string) {
	s.enc.Raw("* BYE " + bracket(string(code)) + text + "\r\n")
	if err := s.enc.Flush(); err != nil {
		s.log.Debug("good-bye not sent", "event", "imap.bye", "error", err)
	}
}

func bracket(code string) string {
	if code == "" {
		return ""
	}
	return "[" + code + "] "
}

// linger reads on for a moment after the last word: to close with octets unread
// would reset the connection, and the client might never see why.
func (s *session) linger() {
	if s.tls != nil {
		if s.tls.CloseWrite() != nil {
			return
		}
	} else if c, ok := s.conn.Conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	s.conn.busy(time.Second, 2*time.Second)
	_, err := io.CopyN(io.Discard, s.conn, 1<<20)
	s.log.Debug("closed after a fault of the client", "event", "imap.linger", "error", err)
}

// hangUp closes the connection, with the alert that tells a TLS client that
// nothing was cut off (RFC 8446 §6.1).
func (s *session) hangUp() {
	var c io.Closer = s.conn
	if s.tls != nil {
		s.conn.write = time.Second // whoever does not read does not hear it
		c = s.tls
	}
	if err := c.Close(); err != nil {
		s.log.Debug("connection not closed", "event", "imap.close", "error", err)
	}
}
