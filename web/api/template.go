package api

import (
	"html"
	"strings"

	"posthouse/internal/mail"
)

// Bounds of templates.
const (
	maxVariables     = 200
	maxVariableName  = 64
	maxVariableValue = 64 << 10 // octets
)

// merged are the variables of a message: those common to a batch, then its own.
// nil: there are none, and "{{" is text like any other.
func merged(n, common *node) []*node {
	var list []*node
	for _, from := range []*node{common, n} {
		if from != nil && from.members["variables"] != nil {
			list = append(list, from.members["variables"])
		}
	}
	return list
}

// variables reads them: strings, numbers and booleans by their names.
func (r *reader) variables(from []*node) map[string]string {
	vars := make(map[string]string)
	for _, n := range from {
		if !r.is(n, isObject) {
			continue
		}
		if len(n.names) > maxVariables {
			r.wrong(n, "at most %d variables", maxVariables)
			continue
		}
		for _, name := range n.names {
			v := n.members[name]
			if !isVariable(name) {
				r.wrong(v, "a name has letters, digits and . _ -, and at most %d of them", maxVariableName)
			}
			switch v.kind {
			case isString, isNumber:
				vars[name] = v.text
			case isBool:
				vars[name] = map[bool]string{true: "true", false: "false"}[v.yes]
			default:
				r.wrong(v, "a string, a number or a boolean is needed here, not %s", v.kind)
			}
			if len(v.text) > maxVariableValue || strings.IndexByte(v.text, 0) >= 0 {
				r.wrong(v, "at most %d octets, and no NUL", maxVariableValue)
			}
		}
	}
	return vars
}

func isVariable(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= maxVariableName
}

// expand puts the variables into subject, text, html and headers. In html they
// are escaped; in a header none may bring a line end. A name that no variable
// has is an error: better no mail than "Dear {{name}}".
func (r *reader) expand(d *draft, n *node, from []*node, get func(string) *node) {
	if len(from) == 0 {
		return
	}
	vars := r.variables(from)
	plain := func(s string) string { return s }
	d.subject = r.fill(get("subject"), d.subject, vars, plain, maxSubject, true)
	d.text = r.fill(get("text"), d.text, vars, plain, int(r.limits.Text), false)
	d.html = r.fill(get("html"), d.html, vars, html.EscapeString, int(r.limits.Text), false)
	headers := get("headers")
	for i, h := range d.headers {
		d.headers[i][1] = r.fill(headers.members[h[0]], h[1], vars, plain, maxValue, true)
	}
}

// fill replaces each {{name}} in s, which stood at n. The result has at most
// limit octets.
func (r *reader) fill(n *node, s string, vars map[string]string, escape func(string) string, limit int, line bool) string {
	if !strings.Contains(s, "{{") {
		return s
	}
	var b strings.Builder
	rest := s
	for {
		before, after, found := strings.Cut(rest, "{{")
		b.WriteString(before)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}}")
		name = strings.TrimSpace(name)
		if !closed || !isVariable(name) {
			r.wrong(n, "{{ begins a variable, and %.20q is none", after)
			return ""
		}
		value, known := vars[name]
		if !known {
			r.wrong(n, "unknown variable %s", name)
		}
		b.WriteString(escape(value))
		if b.Len() > limit {
			r.wrong(n, "more than %d octets with its variables", limit)
			return ""
		}
		rest = tail
	}
	if out := b.String(); line && strings.ContainsFunc(out, isControl) {
		r.wrong(n, "a variable brings a control character where a line is needed")
		return ""
	}
	return b.String()
}

// headers reads additional fields by their names.
func (r *reader) headers(n *node) (list [][2]string) {
	if !r.is(n, isObject) {
		return nil
	}
	if len(n.names) > maxHeaders {
		r.wrong(n, "at most %d", maxHeaders)
		return nil
	}
	seen := make(map[string]bool)
	for _, name := range n.names {
		v := n.members[name]
		lower := strings.ToLower(name)
		switch {
		case !isFieldName(name):
			r.wrong(v, "%.80q is no field name", name)
		case isReserved(lower):
			r.wrong(v, "%s is not for you to set here", name)
		case seen[lower]:
			r.wrong(v, "%s stands twice", name)
		}
		seen[lower] = true
		list = append(list, [2]string{name, r.line(v, maxValue)})
	}
	return list
}

// isFieldName is RFC 5322 §3.6.8, without what no client would survive.
func isFieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 76
}

// reserved are the fields that the API writes, that other fields of a request
// stand for, or that say what only a server may.
var reserved = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true, "subject": true, "date": true,
	"message-id": true, "mime-version": true, "received": true, "return-path": true, "dkim-signature": true,
	"domainkey-signature": true, "authentication-results": true, "delivered-to": true, "x-original-to": true,
	"errors-to": true, "apparently-to": true, "tls-required": true, "list-unsubscribe-post": true, "received-spf": true,
}

func isReserved(lower string) bool {
	for _, prefix := range []string{"content-", "resent-", "arc-", "x-posthouse-"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	return reserved[lower]
}

// recipients are those of the envelope, each once.
func (d *draft) recipients() (list []mail.Address) {
	seen := make(map[mail.Address]bool)
	for _, people := range [][]person{d.to, d.cc, d.bcc} {
		for _, p := range people {
			if !seen[p.address] {
				seen[p.address] = true
				list = append(list, p.address)
			}
		}
	}
	return list
}
