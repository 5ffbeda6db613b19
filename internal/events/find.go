package events

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Query says which events are meant; zero fields ask nothing.
type Query struct {
	Message   string // id of a message, in whole
	HeaderID  string // Message-ID field, with or without its angle brackets
	Account   int64  // who submitted the message
	From      string // an address, or a part of one: see Messages
	Recipient string
	Subject   string // a part of it
	Since     time.Time
	Until     time.Time // before
	Kinds     []Kind
	After     int64 // Find: only ids above
	Before    int64 // Find: only ids below; 0: all
	Newest    bool  // Find: from the newest down, instead of from the oldest up
	Limit     int   // 0: 100; at most MaxLimit
}

// MaxLimit is the most that one query gives.
const MaxLimit = 10_000

const eventFields = `id, at, kind, message, header_id, account_id, sender, recipient, subject, remote, code, enhanced, text, tls, size, duration, node`

// Find gives the events that meet all of q, by id. Whoever follows the log by
// After should know that ids are given out before commit: an event may become
// visible up to some seconds after another with a higher id.
func (l *Log) Find(ctx context.Context, q Query) ([]Event, error) {
	if l == nil {
		return nil, nil
	}
	var w where
	w.common(&q)
	if q.Message != "" {
		w.add(`message = %s`, q.Message)
	}
	if len(q.Kinds) > 0 {
		w.add(`kind = ANY(%s)`, kindNames(q.Kinds))
	}
	if q.From != "" {
		w.text += ` AND ` + w.address("sender", q.From, partly)
	}
	if q.Recipient != "" {
		w.text += ` AND ` + w.address("recipient", q.Recipient, partly)
	}
	if q.HeaderID != "" {
		w.add(`header_id = ANY(%s)`, headerIDs(q.HeaderID))
	}
	if q.Subject != "" {
		w.add(`lower(subject) LIKE %s`, contains(strings.ToLower(q.Subject)))
	}
	if q.After != 0 {
		w.add(`id > %s`, q.After)
	}
	if q.Before != 0 {
		w.add(`id < %s`, q.Before)
	}
	order := ` ORDER BY id`
	if q.Newest {
		order = ` ORDER BY id DESC`
	}
	rows, err := l.pool.Query(ctx, `SELECT `+eventFields+` FROM event WHERE true`+w.text+order+` LIMIT `+strconv.Itoa(q.limit()), w.args...)
	return collect(rows, err)
}

// Events gives all that happened to one message, in order; at most MaxLimit.
func (l *Log) Events(ctx context.Context, message string) ([]Event, error) {
	list, err := l.Find(ctx, Query{Message: message, Limit: MaxLimit})
	inOrder(list)
	return list, err
}

// inOrder puts the events of a message in the order in which they happened.
// Those of Add come to the table after those of AddTx that they led to.
func inOrder(list []Event) {
	slices.SortStableFunc(list, func(a, b Event) int { return a.At.Compare(b.At) })
}

func collect(rows pgx.Rows, err error) ([]Event, error) {
	if err != nil {
		return nil, fmt.Errorf("find events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
		err = row.Scan(&e.ID, &e.At, &e.Kind, &e.Message, &e.HeaderID, &e.Account, &e.From, &e.Recipient, &e.Subject, &e.Remote,
			&e.Code, &e.Enhanced, &e.Text, &e.TLS, &e.Size, &e.Duration, &e.Node)
		e.At = e.At.UTC()
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("find events: %w", err)
	}
	return list, nil
}

func (q *Query) limit() int {
	if q.Limit <= 0 {
		return 100
	}
	return min(q.Limit, MaxLimit)
}

func kindNames(kinds []Kind) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return names
}

// headerIDs are the forms that a Message-ID may have been kept in.
func headerIDs(s string) []string {
	bare := strings.Trim(strings.TrimSpace(s), "<>")
	return []string{bare, "<" + bare + ">"}
}

// where is a condition with its arguments.
type where struct {
	text string
	args []any
}

// arg is the placeholder of one more argument.
func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// add joins a condition on one argument.
func (w *where) add(condition string, v any) {
	w.text += ` AND ` + fmt.Sprintf(condition, w.arg(v))
}

func (w *where) common(q *Query) {
	if q.Account != 0 {
		w.add(`account_id = %s AND account_id <> 0`, q.Account) // the words of the partial index
	}
	if !q.Since.IsZero() {
		w.add(`at >= %s`, q.Since)
	}
	if !q.Until.IsZero() {
		w.add(`at < %s`, q.Until)
	}
}

// precision is how an address is compared.
type precision bool

const (
	exactly precision = false // the address, or all of a domain and those below it: by index where the day is over
	partly  precision = true  // any part of it: a scan
)

// address is the condition that column holds what term says, upper and lower
// case of ASCII letters alike.
func (w *where) address(column, term string, p precision) string {
	term = lowerASCII(strings.Trim(strings.TrimSpace(term), "<>"))
	local, domain, at := strings.Cut(term, "@")
	folded := `lower(` + column + ` COLLATE "C")`
	backwards := `reverse(` + folded + `)`
	switch {
	case at && local != "" && (strings.Contains(domain, ".") || domain == "localhost"):
		arg := w.arg(term)
		// The first is for scans, the second for the index.
		return `(` + column + ` <> '' AND ` + folded + ` = ` + arg + ` AND ` + backwards + ` = reverse(` + arg + `::text))`
	case at && local == "" && domain != "":
		return `(` + column + ` <> '' AND ` + w.prefix(backwards, reverse("@"+domain)) + `)`
	case p == exactly && !at && strings.Contains(term, "."):
		return `(` + column + ` <> '' AND (` + w.prefix(backwards, reverse("@"+term)) + ` OR ` + w.prefix(backwards, reverse("."+term)) + `))`
	}
	return folded + ` LIKE ` + w.arg(contains(term))
}

// lowerASCII folds as lower() does in the C collation.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// prefix is a range, which an index serves in every plan; LIKE with a parameter
// is not in a generic one.
func (w *where) prefix(expression, prefix string) string {
	return expression + ` >= ` + w.arg(prefix) + ` AND ` + expression + ` < ` + w.arg(prefix+"\U0010ffff")
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

var likeEscape = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// contains is the LIKE pattern of what holds s; s is folded already.
func contains(s string) string { return `%` + likeEscape.Replace(s) + `%` }
