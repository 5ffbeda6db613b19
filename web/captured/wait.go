package captured

import (
	"fmt"
	"net/http"
	"time"
)

// Bounds of waiting.
const (
	defaultWait = 30 * time.Second
	maxWait     = 5 * time.Minute
)

// wait answers with the oldest message that the filter selects, as soon as
// there is one: with the address that a test made up for itself, the message
// that it provoked, whether it came before the question or after; with after=ID,
// the next one.
func (h *handler) wait(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilter(r.URL.Query(), "timeout")
	if err != nil {
		return err
	}
	patience := defaultWait
	if s := r.URL.Query().Get("timeout"); s != "" {
		if patience, err = time.ParseDuration(s); err != nil || patience < 0 || patience > maxWait {
			return badRequest("timeout=%s: give a time like 10s, at most %v", s, maxWait)
		}
	}
	// The server's own limit is shorter than what one may wait here.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience + 30*time.Second)); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	box, err := h.inbox(r.Context())
	if err != nil {
		return err
	}
	changes := h.Store.Watch(box.ID)
	defer changes.Close()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		var first *summary
		newest, err := h.scan(r.Context(), &f, func(s summary) bool { first = &s; return false })
		if err != nil {
			return err
		}
		if first != nil {
			return h.json(w, first)
		}
		f.after = max(f.after, newest) // what was there once did not match
		select {
		case <-changes.C:
		case <-timeout.C:
			return &problem{http.StatusNotFound, "none_came", fmt.Sprintf("No such message came within %v", patience)}
		case <-h.Closing:
			return &problem{http.StatusServiceUnavailable, "closing", "The server stops"}
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}
