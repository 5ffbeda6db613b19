package api

import (
	"encoding/base32"
	"net/http"
	"slices"
	"strings"
	"time"

	"posthouse/internal/events"
)

// messageStatus is what is known of a message.
type messageStatus struct {
	ID         string            `json:"id"`
	At         time.Time         `json:"at"`
	MessageID  string            `json:"message_id,omitempty"`
	From       string            `json:"from"`
	Subject    string            `json:"subject,omitempty"`
	Size       int64             `json:"size,omitempty"`
	Recipients []recipientStatus `json:"recipients"`
}

// recipientStatus is where one of its recipients stands: Status is the kind of
// the last event of weight, or held.
type recipientStatus struct {
	Address     string     `json:"address"`
	Status      string     `json:"status"`
	At          time.Time  `json:"at"`
	Code        int        `json:"code,omitempty"`
	Enhanced    string     `json:"enhanced,omitempty"`
	Detail      string     `json:"detail,omitempty"`
	Remote      string     `json:"remote,omitempty"`
	Attempts    int        `json:"attempts,omitempty"`     // while it waits
	NextAttempt *time.Time `json:"next_attempt,omitempty"` // while it waits
}

// message is GET /messages/{id}: the account's own only.
func (s *server) message(r *request) error {
	id := r.PathValue("id")
	list, err := s.history(r, id)
	if err != nil {
		return unavailable(err)
	}
	if len(list) == 0 || id == "" {
		return fault("not-found", "The account sent no message %.40q, or it was long ago", id)
	}
	sum := events.Summarize(list)
	m := messageStatus{ID: id, At: sum.At, MessageID: bracketed(sum.HeaderID), From: sum.From, Subject: sum.Subject, Size: sum.Size,
		Recipients: make([]recipientStatus, len(sum.Recipients))}
	for i, to := range sum.Recipients {
		m.Recipients[i] = recipientStatus{Address: to.Address, Status: string(to.Last.Kind), At: to.Last.At, Code: to.Last.Code,
			Enhanced: to.Last.Enhanced, Detail: to.Last.Text, Remote: to.Last.Remote}
	}
	if s.Waiting != nil {
		waiting, err := s.Waiting(r.Context(), id)
		if err != nil {
			return unavailable(err)
		}
		for _, w := range waiting {
			m.wait(w)
		}
	}
	return r.reply(http.StatusOK, m)
}

// bracketed is a Message-ID as its field has it.
func bracketed(id string) string {
	if id == "" || strings.HasPrefix(id, "<") {
		return id
	}
	return "<" + id + ">"
}

// recently is within what it takes until all that happens to a message at first
// is recorded: who asks at once waits that long.
const recently = 3 * time.Second

// history are the events of a message of the account. They are recorded soon
// after the message was accepted: while it is as young as that, they are waited
// for.
func (s *server) history(r *request, id string) ([]events.Event, error) {
	for {
		list, err := s.Events.Find(r.Context(), events.Query{Message: id, Account: r.key.Account, Limit: events.MaxLimit})
		complete := slices.ContainsFunc(list, func(e events.Event) bool { return e.Kind == events.Received })
		if err != nil || complete || !madeWithin(id, recently) || !s.pause(r.Context(), recently/60) {
			return list, err
		}
	}
}

// madeWithin reads the time out of an id, see mail.NewID.
func madeWithin(id string, d time.Duration) bool {
	b, err := base32.HexEncoding.DecodeString(strings.ToUpper(id))
	if err != nil || len(b) != 10 {
		return false
	}
	const span = 1 << 40 // what the milliseconds are counted in
	made := int64(b[0])<<32 | int64(b[1])<<24 | int64(b[2])<<16 | int64(b[3])<<8 | int64(b[4])
	age := (time.Now().UnixMilli() - made) % span
	return age >= 0 && age < d.Milliseconds()
}

// wait adds how a recipient stands in the queue.
func (m *messageStatus) wait(w Waiting) {
	for i := range m.Recipients {
		to := &m.Recipients[i]
		if !strings.EqualFold(to.Address, w.Recipient) || to.Status != string(events.Queued) && to.Status != string(events.Deferred) {
			continue
		}
		if w.Held {
			to.Status = string(events.Held)
		}
		to.Attempts = w.Attempts
		if !w.NextAt.IsZero() {
			at := w.NextAt.UTC()
			to.NextAttempt = &at
		}
	}
}
