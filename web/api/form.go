package api

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// form reads the values of a request and collects what is wrong with them, so
// that one answer names all of it.
type form struct {
	errors []fieldError
}

// maxErrors in one answer.
const maxErrors = 50

func (f *form) wrong(n *node, format string, args ...any) {
	if len(f.errors) < maxErrors {
		f.errors = append(f.errors, fieldError{n.pointer(), fmt.Sprintf(format, args...)})
	}
}

// err is the problem with all that was wrong; nil if nothing was.
func (f *form) err() error {
	if len(f.errors) == 0 {
		return nil
	}
	return invalid(f.errors...)
}

// is checks the kind of a value that is there; null is like absent.
func (f *form) is(n *node, want kind) bool {
	if n == nil || n.kind == isNull {
		return false
	}
	if n.kind != want {
		f.wrong(n, "%s is needed here, not %s", want, n.kind)
		return false
	}
	return true
}

// object reports whether n is one, and complains about members that have no
// meaning: a misspelt one would otherwise be ignored in silence.
func (f *form) object(n *node, known ...string) bool {
	if !f.is(n, isObject) {
		return false
	}
	allowed := make(map[string]bool, len(known))
	for _, k := range known {
		allowed[k] = true
	}
	for _, name := range n.names {
		if !allowed[name] {
			f.wrong(n.members[name], "unknown field; known here: %s", strings.Join(known, ", "))
		}
	}
	return true
}

// str is a string of at most limit octets.
func (f *form) str(n *node, limit int) string {
	if !f.is(n, isString) {
		return ""
	}
	if len(n.text) > limit {
		f.wrong(n, "at most %d octets", limit)
		return ""
	}
	return n.text
}

// line is a string that can stand in a header: no controls, so no line ends
// (TRUST rows 9 and 35).
func (f *form) line(n *node, limit int) string {
	s := f.str(n, limit)
	if i := strings.IndexFunc(s, isControl); i >= 0 {
		f.wrong(n, "control character %U at octet %d", []rune(s[i:])[0], i)
		return ""
	}
	return s
}

// isControl: of ASCII and ISO 8859, and the separators of lines and paragraphs.
func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// boolean is false where there is none.
func (f *form) boolean(n *node) bool { return f.is(n, isBool) && n.yes }

// moment is a time of RFC 3339; zero where there is none.
func (f *form) moment(n *node) time.Time {
	s := f.str(n, 64)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		f.wrong(n, "a time as in 2027-01-31T12:00:00Z is needed")
	}
	return t
}

// elements of an array, at most limit.
func (f *form) elements(n *node, limit int) []*node {
	if !f.is(n, isList) {
		return nil
	}
	if len(n.list) > limit {
		f.wrong(n, "at most %d", limit)
		return nil
	}
	return n.list
}
