package events

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of an event's strings, in octets. What is longer is cut, at a
// character.
const (
	maxText    = 1000
	maxAddress = 320
	maxSubject = 200
	maxID      = 300
	maxName    = 100
)

// clean makes an event fit for a row: other hosts and clients choose many of
// its strings.
func clean(e *Event, node string) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.At = e.At.UTC().Truncate(time.Microsecond) // as Postgres keeps it
	if e.Node == "" {
		e.Node = node
	}
	for _, s := range []struct {
		text *string
		max  int
	}{
		{&e.Message, maxID}, {&e.HeaderID, maxID}, {&e.From, maxAddress}, {&e.Recipient, maxAddress},
		{&e.Subject, maxSubject}, {&e.Remote, maxID}, {&e.Enhanced, maxName}, {&e.Text, maxText},
		{&e.TLS, maxName}, {&e.Node, maxName}, {(*string)(&e.Kind), maxName},
	} {
		*s.text = line(*s.text, s.max)
	}
}

// line gives s as one line of valid UTF-8 without controls, of at most limit
// octets. It allocates only when something has to change.
func line(s string, limit int) string {
	if plain(s) {
		if len(s) <= limit {
			return s
		}
		return cut(s, limit)
	}
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		}
		return r // bad UTF-8 comes as U+FFFD
	}, s)
	return cut(strings.TrimSpace(s), limit)
}

func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
