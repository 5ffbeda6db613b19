package captured

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"posthouse/internal/message"
	"posthouse/mailstore"
)

// summary is a message in a list.
type summary struct {
	ID          mailstore.UID `json:"id"`
	Recipient   string        `json:"recipient"`    // of the envelope, whose copy this is
	ReversePath string        `json:"reverse_path"` // of the envelope; empty: the null one
	From        string        `json:"from"`         // the field, decoded
	To          string        `json:"to"`
	Subject     string        `json:"subject"`
	Preview     string        `json:"preview"`
	Received    time.Time     `json:"received"`
	Size        int64         `json:"size"` // octets
}

// listFields are what a summary is made of.
const listFields = mailstore.FieldHeaderSubset | mailstore.FieldPreview | mailstore.FieldPrefix

func summarize(m *mailstore.Message) summary {
	field := func(of []byte, name string) string {
		v, _ := message.Field(of, name)
		return v
	}
	decoded := func(name string) string { return message.DecodeHeader([]byte(field(m.HeaderSubset, name))) }
	return summary{
		ID: m.UID, Received: m.InternalDate.UTC(), Size: m.Size - int64(len(m.Prefix)), Preview: m.Preview,
		Recipient:   field(m.Prefix, "Delivered-To"),
		ReversePath: strings.Trim(field(m.Prefix, "Return-Path"), "<>"),
		From:        decoded("From"), To: decoded("To"), Subject: decoded("Subject"),
	}
}

// scan calls yield for each message that f selects, oldest first, until it
// returns false.
func (h *handler) scan(ctx context.Context, f *filter, yield func(summary) bool) (newest mailstore.UID, err error) {
	box, err := h.inbox(ctx)
	if err != nil {
		return 0, err
	}
	view, box, err := h.Store.Load(ctx, h.account, box.ID)
	if err != nil {
		return 0, err
	}
	newest = box.UIDNext - 1
	uids := f.uids(view)
	if f.text != "" && !uids.IsEmpty() {
		found, err := h.Store.Search(ctx, h.account, box.ID, view, &mailstore.Criteria{Op: mailstore.SearchText, Text: f.text})
		if err != nil {
			return 0, err
		}
		uids = uids.Intersect(found)
	}
	if uids.IsEmpty() {
		return newest, nil
	}
	err = h.Store.Messages(ctx, h.account, box.ID, uids, listFields, func(m *mailstore.Message) error {
		if s := summarize(m); f.matches(&s) && !yield(s) {
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return newest, err
}

// errEnough ends a scan.
var errEnough = &problem{Detail: "enough"}

// list answers with the newest messages first. newest is the highest id that
// was ever given out: what comes later has a higher one.
func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return err
	}
	found := make([]summary, 0, 32)
	total := 0
	newest, err := h.scan(r.Context(), &f, func(s summary) bool {
		total++
		if found = append(found, s); len(found) > 2*f.limit {
			found = slices.Delete(found, 0, len(found)-f.limit)
		}
		return true
	})
	if err != nil {
		return err
	}
	found = found[max(len(found)-f.limit, 0):]
	slices.Reverse(found)
	return h.json(w, struct {
		Messages []summary     `json:"messages"`
		Total    int           `json:"total"` // that the filter selects
		Newest   mailstore.UID `json:"newest"`
	}{found, total, newest})
}

// inbox is all mail of one recipient.
type inbox struct {
	Recipient string        `json:"recipient"`
	Messages  int           `json:"messages"`
	Newest    mailstore.UID `json:"newest"`
	Received  time.Time     `json:"received"` // of the newest
}

// inboxes lists the recipients, the one with the newest message first.
func (h *handler) inboxes(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return err
	}
	byName := make(map[string]*inbox)
	newest, err := h.scan(r.Context(), &f, func(s summary) bool {
		key := strings.ToLower(s.Recipient)
		box := byName[key]
		if box == nil {
			box = &inbox{Recipient: s.Recipient}
			byName[key] = box
		}
		box.Messages++
		box.Newest, box.Received = s.ID, s.Received
		return true
	})
	if err != nil {
		return err
	}
	all := make([]*inbox, 0, len(byName))
	for _, box := range byName {
		all = append(all, box)
	}
	slices.SortFunc(all, func(a, b *inbox) int { return cmp.Compare(b.Newest, a.Newest) })
	return h.json(w, struct {
		Inboxes []*inbox      `json:"inboxes"`
		Newest  mailstore.UID `json:"newest"`
	}{all, newest})
}

// remove removes what the filter selects; without one, everything.
func (h *handler) remove(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return err
	}
	if r.URL.Query().Has("limit") {
		return badRequest("limit does not go with DELETE: all that is selected is removed")
	}
	var uids mailstore.UIDSet
	if _, err := h.scan(r.Context(), &f, func(s summary) bool { uids.Add(s.ID); return true }); err != nil {
		return err
	}
	return h.removeAll(w, r, uids)
}

func (h *handler) removeOne(w http.ResponseWriter, r *http.Request) error {
	m, err := h.one(r, 0)
	if err != nil {
		return err
	}
	return h.removeAll(w, r, mailstore.UIDs(m.UID))
}

func (h *handler) removeAll(w http.ResponseWriter, r *http.Request, uids mailstore.UIDSet) error {
	var gone mailstore.UIDSet
	if !uids.IsEmpty() {
		box, err := h.inbox(r.Context())
		if err == nil {
			gone, err = h.Store.Remove(r.Context(), h.account, box.ID, uids)
		}
		if err != nil {
			return err
		}
	}
	return h.json(w, struct {
		Removed int `json:"removed"`
	}{gone.Len()})
}
