package captured

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"posthouse/internal/message"
	"posthouse/mailstore"
)

// Bounds of one answer.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func notFound(format string, args ...any) error {
	return &problem{http.StatusNotFound, "not_found", fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "bad_request", fmt.Sprintf(format, args...)}
}

// filter says which messages a request is about.
type filter struct {
	to      string // an address, or "@domain"; any case
	from    string // part of the reverse-path or the From field
	subject string // part of it
	text    string // part of the header or the body, as IMAP's SEARCH TEXT
	after   mailstore.UID
	before  mailstore.UID // 0: no bound
	limit   int
}

// read takes a filter from a request's query, where only the keys it knows, and
// those in more, may stand: a misspelt one would select everything.
func readFilter(q url.Values, more ...string) (filter, error) {
	f := filter{to: message.Fold(q.Get("to")), from: message.Fold(q.Get("from")), subject: message.Fold(q.Get("subject")), text: q.Get("q"), limit: defaultLimit}
	known := append([]string{"to", "from", "subject", "q", "after", "before", "limit"}, more...)
	for key, values := range q {
		if !slices.Contains(known, key) {
			return f, badRequest("%q is not a parameter here: take %s", key, strings.Join(known, ", "))
		}
		if len(values) != 1 {
			return f, badRequest("%s is given more than once", key)
		}
	}
	for key, to := range map[string]*mailstore.UID{"after": &f.after, "before": &f.before} {
		if s := q.Get(key); s != "" {
			n, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				return f, badRequest("%s=%s: give the id of a message", key, s)
			}
			*to = mailstore.UID(n)
		}
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			return f, badRequest("limit=%s: take 1 to %d", s, maxLimit)
		}
		f.limit = n
	}
	return f, nil
}

// uids are the ids that the filter leaves of a view, before it looks at headers.
func (f *filter) uids(v *mailstore.View) mailstore.UIDSet {
	lo := v.SeqFrom(f.after + 1)
	hi := v.Len()
	if f.before > 0 {
		hi = v.SeqFrom(f.before) - 1
	}
	if lo > hi {
		return nil
	}
	return v.UIDs(lo, hi)
}

func (f *filter) matches(s *summary) bool {
	to := message.Fold(s.Recipient)
	switch {
	case strings.HasPrefix(f.to, "@") && !strings.HasSuffix(to, f.to):
	case !strings.HasPrefix(f.to, "@") && f.to != "" && to != f.to:
	case !strings.Contains(message.Fold(s.ReversePath), f.from) && !strings.Contains(message.Fold(s.From), f.from):
	case !strings.Contains(message.Fold(s.Subject), f.subject):
	default:
		return true
	}
	return false
}
