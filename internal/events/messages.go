package events

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Message sums up what is known of one message.
type Message struct {
	ID         string            `json:"id"`
	At         time.Time         `json:"at"`                   // of the first event
	Last       time.Time         `json:"last"`                 // of the last one
	HeaderID   string            `json:"message_id,omitempty"` // the Message-ID field
	From       string            `json:"from"`
	Subject    string            `json:"subject,omitempty"`
	Size       int64             `json:"size,omitempty"`
	Recipients []RecipientStatus `json:"recipients"`
}

// RecipientStatus is where one recipient of a message stands.
type RecipientStatus struct {
	Address string `json:"address"`
	Last    Event  `json:"last"` // the last event of weight
}

// Messages gives the messages of which each condition of q is met by one of
// their events, newest first. Addresses are found without regard to case: a
// whole address, "@example.org" or "example.org" for a domain (the latter with
// the domains below it), or any part of an address, which is asked for only
// when the domain has none.
func (l *Log) Messages(ctx context.Context, q Query) ([]Message, error) {
	if l == nil {
		return nil, nil
	}
	ids, err := l.messageIDs(ctx, &q, exactly)
	if err == nil && len(ids) == 0 && (q.From != "" || q.Recipient != "") {
		ids, err = l.messageIDs(ctx, &q, partly)
	}
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	rows, err := l.pool.Query(ctx, `SELECT `+eventFields+` FROM event WHERE message = ANY($1) ORDER BY message DESC, id LIMIT 100000`, ids)
	list, err := collect(rows, err)
	if err != nil {
		return nil, err
	}
	var found []Message
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && list[end].Message == list[start].Message {
			end++
		}
		inOrder(list[start:end])
		found = append(found, Summarize(list[start:end]))
		start = end
	}
	return found, nil
}

// messageIDs gives ids, which begin with the time, newest first.
func (l *Log) messageIDs(ctx context.Context, q *Query, p precision) ([]string, error) {
	var w where
	var sets []string
	set := func(condition string) {
		var c where
		c.args = w.args
		c.common(q)
		if q.Message != "" {
			c.add(`message = %s`, q.Message)
		}
		w.args = c.args
		sets = append(sets, `SELECT message FROM event WHERE message <> ''`+c.text+condition)
	}
	if len(q.Kinds) > 0 {
		set(` AND kind = ANY(` + w.arg(kindNames(q.Kinds)) + `)`)
	}
	if q.From != "" {
		set(` AND ` + w.address("sender", q.From, p))
	}
	if q.Recipient != "" {
		set(` AND ` + w.address("recipient", q.Recipient, p))
	}
	if q.HeaderID != "" {
		set(` AND header_id = ANY(` + w.arg(headerIDs(q.HeaderID)) + `) AND header_id <> ''`)
	}
	if q.Subject != "" {
		set(` AND lower(subject) LIKE ` + w.arg(contains(strings.ToLower(q.Subject))))
	}
	if len(sets) == 0 {
		set("")
	}
	var sql string
	if len(sets) == 1 { // from the newest down the index, as far as the limit asks
		sql = strings.Replace(sets[0], `SELECT message`, `SELECT DISTINCT message`, 1)
	} else {
		sql = `SELECT message FROM (` + strings.Join(sets, ` INTERSECT `) + `) m`
	}
	rows, err := l.pool.Query(ctx, sql+` ORDER BY message DESC LIMIT `+strconv.Itoa(q.limit()), w.args...)
	if err != nil {
		return nil, fmt.Errorf("find messages: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find messages: %w", err)
	}
	return ids, nil
}

// weight tells what decides about a recipient from what accompanies it.
var weight = map[Kind]int{
	Held: 0, Released: 0,
	Queued: 1, Deferred: 2,
	Captured: 3, Stored: 3, Refused: 3, Suppressed: 3, Delivered: 3, Bounced: 3,
	Complained: 4,
}

// Summarize sums up all events of one message, in order.
func Summarize(list []Event) Message {
	m := Message{Recipients: []RecipientStatus{}}
	byAddress := make(map[string]int)
	for _, e := range list {
		m.note(&e)
		if e.Recipient == "" || e.Kind == Received || e.Kind == Reported { // reports go to the sender
			continue
		}
		key := strings.ToLower(e.Recipient)
		i, known := byAddress[key]
		if !known {
			i = len(m.Recipients)
			byAddress[key] = i
			m.Recipients = append(m.Recipients, RecipientStatus{Address: e.Recipient, Last: e})
		}
		if weight[e.Kind] >= weight[m.Recipients[i].Last.Kind] {
			m.Recipients[i].Last = e
		}
	}
	return m
}

func (m *Message) note(e *Event) {
	m.ID = e.Message
	if m.At.IsZero() || e.At.Before(m.At) {
		m.At = e.At
	}
	if e.At.After(m.Last) {
		m.Last = e.At
	}
	if e.Kind == Received || m.From == "" {
		m.From = e.From
	}
	if e.HeaderID != "" {
		m.HeaderID = e.HeaderID
	}
	if e.Subject != "" {
		m.Subject = e.Subject
	}
	m.Size = max(m.Size, e.Size)
}
