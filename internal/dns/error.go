package dns

import (
	"errors"
	"net"
	"strings"

	wire "github.com/miekg/dns"
	"github.com/mjl-/adns"
)

// Kind is the decision that an Error carries.
type Kind uint8

const (
	Temporary Kind = iota // SERVFAIL, REFUSED, no answer, nonsense: ask again later
	NoName                // NXDOMAIN, or not a name at all: nothing can be there
	NoRecord              // the name exists (NODATA), and has no record of the type
)

// Error is why there is no answer. It is found by errors.As as an
// *adns.DNSError or *net.DNSError, too, for packages that look for those; and
// as an adns.ErrorCode when the server sent an extended error (RFC 8914).
type Error struct {
	Kind     Kind
	Name     string // asked for; with its final dot
	Type     uint16
	Server   string // who said so; empty: nobody was asked
	Timeout  bool
	Extended *adns.ExtendedError // nil: there was none
	Err      error               // nil: the answer was plain
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("dns: ")
	b.WriteString(wire.TypeToString[e.Type])
	b.WriteString(" of ")
	b.WriteString(strings.TrimSuffix(e.Name, "."))
	switch e.Kind {
	case NoName:
		b.WriteString(": no such name")
	case NoRecord:
		b.WriteString(": no such record")
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Extended != nil {
		b.WriteString(" (")
		b.WriteString(e.Extended.Error())
		b.WriteString(")")
	}
	if e.Server != "" && e.Kind == Temporary {
		b.WriteString(" from ")
		b.WriteString(e.Server)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// As lets the types of other resolvers be found in an Error.
func (e *Error) As(target any) bool {
	found, temporary := e.Kind != Temporary, e.Kind == Temporary
	switch t := target.(type) {
	case **adns.DNSError:
		*t = &adns.DNSError{UnwrapErr: e.Err, Err: e.Error(), Name: e.Name, Server: e.Server, IsTimeout: e.Timeout, IsTemporary: temporary, IsNotFound: found}
	case **net.DNSError:
		*t = &net.DNSError{UnwrapErr: e.Err, Err: e.Error(), Name: e.Name, Server: e.Server, IsTimeout: e.Timeout, IsTemporary: temporary, IsNotFound: found}
	case *adns.ErrorCode:
		if e.Extended == nil {
			return false
		}
		*t = e.Extended.InfoCode
	default:
		return false
	}
	return true
}

// IsNotFound says that a name or its record does not exist, on the word of a
// server.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind != Temporary
}

// IsNoName says that a name does not exist at all, on the word of a server, or
// cannot.
func IsNoName(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == NoName
}

// IsTemporary says that err left the question open.
func IsTemporary(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return err != nil && (!ok || e.Kind == Temporary)
}
