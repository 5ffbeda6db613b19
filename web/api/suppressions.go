package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// suppressed are those of a message's recipients that get nothing, and why.
func (s *server) suppressed(ctx context.Context, account int64, list string, to []mail.Address) (map[mail.Address]string, error) {
	if s.Suppressions == nil {
		return nil, nil
	}
	found, err := s.Suppressions.Suppressed(ctx, account, list, to...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	why := make(map[mail.Address]string, len(found))
	for a, f := range found {
		why[a] = string(f.Reason)
		if f.Note != "" {
			why[a] += ": " + f.Note
		}
	}
	return why, nil
}

// suppressionView is an entry as its account sees it.
type suppressionView struct {
	Address string        `json:"address"`
	List    string        `json:"list,omitempty"`
	Reason  events.Reason `json:"reason"`
	Note    string        `json:"note,omitempty"`
	Message string        `json:"message,omitempty"` // that led to it
	Site    bool          `json:"site,omitempty"`    // the operator's, for everybody
	Added   time.Time     `json:"added"`
}

func viewSuppression(e events.Suppression) suppressionView {
	return suppressionView{e.Address, e.List, e.Reason, e.Note, e.Message, e.AccountID == 0, e.Added.UTC()}
}

// listSuppressions is GET /suppressions, those of the whole site too.
func (s *server) listSuppressions(r *request) error {
	q := events.SuppressionQuery{Account: r.key.Account, SiteToo: true, Limit: defaultEvents}
	for name, list := range r.URL.Query() {
		value := list[len(list)-1]
		var err error
		switch name {
		case "after":
			q.After, err = strconv.ParseInt(value, 10, 64)
			if err != nil || q.After < 0 {
				return fault("invalid-parameter", "after: the next of an answer, or 0")
			}
		case "limit":
			q.Limit, err = strconv.Atoi(value)
			if err != nil || q.Limit < 1 || q.Limit > maxEvents {
				return fault("invalid-parameter", "limit: 1 to %d", maxEvents)
			}
		case "address":
			q.Contains = value
		default:
			return fault("invalid-parameter", "%.40q is unknown; known are after, limit and address", name)
		}
	}
	list, err := s.Suppressions.List(r.Context(), q)
	if err != nil {
		return unavailable(err)
	}
	page := struct {
		Suppressions []suppressionView `json:"suppressions"`
		Next         int64             `json:"next"`
	}{make([]suppressionView, len(list)), q.After}
	for i, e := range list {
		page.Next = e.ID
		page.Suppressions[i] = viewSuppression(e)
	}
	return r.reply(http.StatusOK, page)
}

// readForm spools and reads a small body of JSON. The spool must be closed.
func (s *server) readForm(r *request) (*node, error) {
	const limit = 64 << 10
	if r.media() != "application/json" {
		return nil, fault("unsupported-media-type", "Send application/json")
	}
	body, err := s.receive(r, limit)
	if err != nil {
		return nil, err
	}
	defer body.Close() // in memory
	return readJSON(body, limit)
}

// addSuppression is POST /suppressions: 201, or 200 where it was there before.
func (s *server) addSuppression(r *request) error {
	root, err := s.readForm(r)
	if err != nil {
		return err
	}
	var f reader
	f.object(root, "address", "list", "note")
	if root.kind == isNull || root.members["address"] == nil {
		f.errors = append(f.errors, fieldError{"/address", "an address is needed"})
		return f.err()
	}
	at := root.members["address"]
	addr := f.address(at, f.line(at, mail.MaxPath))
	entry := events.Suppression{AccountID: r.key.Account, Reason: events.ReasonManual, List: f.line(root.members["list"], maxList), Note: f.line(root.members["note"], 500)}
	if err := f.err(); err != nil {
		return err
	}
	added, err := s.Suppressions.Add(r.Context(), addr, entry)
	if errors.Is(err, events.ErrInvalid) {
		return fault("invalid-value", "%q cannot stand on the list", addr.String())
	}
	if err != nil {
		return unavailable(err)
	}
	found, err := s.Suppressions.Suppressed(r.Context(), r.key.Account, entry.List, addr)
	if err != nil {
		return unavailable(err)
	}
	status := http.StatusOK
	if added {
		status = http.StatusCreated
	}
	return r.reply(status, viewSuppression(found[addr]))
}

// removeSuppression is DELETE /suppressions/{address}, from all lists of the
// account.
func (s *server) removeSuppression(r *request) error {
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return fault("not-found", "%.80q is no mail address", r.PathValue("address"))
	}
	_, err = s.Suppressions.Remove(r.Context(), r.key.Account, addr)
	if errors.Is(err, events.ErrNotFound) {
		return fault("not-found", "%s is not on the account's list", addr)
	}
	if err != nil {
		return unavailable(err)
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}
