package mail

import (
	"errors"
	"fmt"
)

// Class is the decision that an error carries.
type Class uint8

const (
	Temporary Class = iota // try again later: 4xx, NO [UNAVAILABLE], -ERR [SYS/TEMP]
	Permanent              // never try again: 5xx, NO, -ERR [SYS/PERM]
	Unknown                // the outcome of a commit is not known: answered as temporary, asked for first
)

// Enhanced is an enhanced status code (RFC 3463): class, subject, detail.
type Enhanced [3]uint8

func (e Enhanced) String() string { return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2]) }

// Error is a refusal with everything that a protocol needs to answer it. Text
// is for the client and says what happened to what; Err is for the log.
type Error struct {
	Class    Class
	Code     int // SMTP reply code
	Enhanced Enhanced
	Text     string
	Err      error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Refuse makes a permanent Error: code is 5xx.
func Refuse(code int, enhanced Enhanced, text string) *Error {
	return &Error{Class: Permanent, Code: code, Enhanced: enhanced, Text: text}
}

// Defer makes a temporary Error around its cause, which may be nil: code is 4xx.
func Defer(code int, enhanced Enhanced, text string, cause error) *Error {
	return &Error{Class: Temporary, Code: code, Enhanced: enhanced, Text: text, Err: cause}
}

// ClassOf is the decision that err carries. An error that carries none is
// temporary: nothing is bounced because of a fault of ours.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Temporary
}
