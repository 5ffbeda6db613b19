package events

import (
	"context"
	"fmt"
	"time"

	"posthouse/internal/mail"
)

// complaintAge is how old a message may be that a complaint is about.
const complaintAge = 30 * 24 * time.Hour

// Complain takes a feedback report to heart: of the message that it is about,
// if an account here submitted that, a Complained event is recorded for each
// recipient who complained, which puts them on the account's suppression list.
// It gives the events; none when the message is not known. Reports of not-spam
// change nothing.
//
// A report proves nothing, anybody can write one. So it counts only when it
// holds the Message-ID of a message from here, and for those alone to whom that
// was sent: who can write it could have complained anyway.
func (l *Log) Complain(ctx context.Context, r *Report) ([]Event, error) {
	if l == nil || r.HeaderID == "" || r.Type == "not-spam" {
		return nil, nil
	}
	received, err := l.Find(ctx, Query{HeaderID: r.HeaderID, Kinds: []Kind{Received}, Since: time.Now().Add(-complaintAge), Newest: true, Limit: 5})
	if err != nil {
		return nil, err
	}
	var found []Event
	for i := range received {
		m := &received[i]
		if m.Account == 0 {
			continue
		}
		history, err := l.Events(ctx, m.Message)
		if err != nil {
			return nil, err
		}
		for _, rcpt := range complainers(r, history) {
			found = append(found, Event{Kind: Complained, Message: m.Message, HeaderID: m.HeaderID, Account: m.Account, From: m.From, Recipient: rcpt,
				Subject: m.Subject, Remote: r.UserAgent, Text: r.Type})
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	found = cleaned(found, l.node)
	tx, err := l.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("record a complaint: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := l.insert(ctx, tx, found); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, fmt.Errorf("record a complaint: %w", err)
	}
	return found, nil
}

// complainers are the recipients of a message whom a report speaks of: those it
// names; if it hides them, the only one in the To field, or the only one at all; without those
// who complained before.
func complainers(r *Report, history []Event) []string {
	sent := make(map[string]string) // as it was written, by key
	for _, e := range history {
		if a, err := mail.ParseAddress(e.Recipient); err == nil && (e.Kind == Delivered || e.Kind == Queued || e.Kind == Deferred) {
			sent[SuppressionKey(a)] = e.Recipient
		}
	}
	for _, e := range history {
		if a, err := mail.ParseAddress(e.Recipient); err == nil && e.Kind == Complained {
			delete(sent, SuppressionKey(a))
		}
	}
	var list []string
	add := func(addrs []mail.Address) {
		for _, a := range addrs {
			key := SuppressionKey(a)
			if rcpt, ok := sent[key]; ok {
				list = append(list, rcpt)
				delete(sent, key)
			}
		}
	}
	add(r.Recipients)
	if len(r.Recipients) == 0 && len(r.To) == 1 {
		add(r.To)
	}
	if len(list) == 0 && len(r.Recipients) == 0 && len(sent) == 1 {
		for _, rcpt := range sent {
			return []string{rcpt}
		}
	}
	return list
}
