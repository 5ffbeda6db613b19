// Package wire is the grammar of IMAP as octets: a lexer that reads commands
// from a connection through one bounded buffer, and an encoder that writes
// responses. It knows no commands and no mailstore.
//
// The lexer is a stream: a command is never held in memory as a whole. Whatever
// a command's handler leaves unread, because it failed halfway or refused a
// literal, [Lexer.Skip] discards, literals included, so that their octets never
// run as commands (RFC 3501 §4.3, RFC 7888).
//
// RFC 3501 §9 (grammar), RFC 7888 (LITERAL+), RFC 3516 (literal8), RFC 4466.
package wire

import (
	"errors"
	"fmt"
)

// SyntaxError says what the client sent wrong; it is answered BAD. The rest of
// the command can be skipped and the connection goes on.
type SyntaxError struct{ Text string }

func (e *SyntaxError) Error() string { return e.Text }

// Syntaxf makes a SyntaxError. Its text goes to the client: it must not repeat
// octets that the client sent, unless %q guards them.
func Syntaxf(format string, args ...any) error {
	return &SyntaxError{Text: fmt.Sprintf(format, args...)}
}

// ErrLimit is matched by errors after which the stream cannot be followed any
// further: a line without end, a literal that is too big to be discarded. The
// connection is closed with BYE.
var ErrLimit = errors.New("too much input")

// ErrTooBig is matched by the SyntaxError-like refusal of a literal that is
// over the limit, but can be discarded.
var ErrTooBig = errors.New("literal too large")

// Limits bound what a command may take. All are in octets.
type Limits struct {
	Line     int   // of one command, beside its literals
	String   int64 // of one literal that is an argument (APPEND opens its own)
	Strings  int64 // of all such literals of a command
	Discard  int64 // of a literal that is refused, yet consumed; above it the connection is closed
	MaxDepth int   // of nested parentheses
}

// Guest are the limits before login: enough for every SASL exchange, and for a
// LOGIN whose arguments are literals (Outlook sends {29+}).
var Guest = Limits{Line: 16 << 10, String: 4 << 10, Strings: 16 << 10, Discard: 64 << 10, MaxDepth: 10}

// User are the limits after login. Clients send sets of 20,000 UIDs in one line.
var User = Limits{Line: 1 << 20, String: 64 << 10, Strings: 1 << 20, Discard: 128 << 20, MaxDepth: 50}
