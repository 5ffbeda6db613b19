package api

import (
	"errors"
	"net/http"
	"strconv"

	"posthouse/internal/events"
)

// listHooks is GET /hooks: the account's own.
func (s *server) listHooks(r *request) error {
	list, err := s.Hooks.List(r.Context(), r.key.Account)
	if err != nil {
		return unavailable(err)
	}
	own := make([]events.Hook, 0, len(list))
	for _, h := range list {
		if h.AccountID == r.key.Account {
			own = append(own, h)
		}
	}
	return r.reply(http.StatusOK, struct {
		Hooks []events.Hook `json:"hooks"`
	}{own})
}

// addHook is POST /hooks. Its answer alone has the secret.
func (s *server) addHook(r *request) error {
	root, err := s.readForm(r)
	if err != nil {
		return err
	}
	var f form
	f.object(root, "url", "kinds")
	hook := events.Hook{AccountID: r.key.Account}
	if root.kind == isObject {
		hook.URL = f.line(root.members["url"], 2000)
		for _, k := range f.elements(root.members["kinds"], len(events.Kinds)) {
			hook.Kinds = append(hook.Kinds, events.Kind(f.line(k, 40)))
		}
	}
	if hook.URL == "" {
		f.errors = append(f.errors, fieldError{"/url", "an address is needed"})
	}
	if err := f.err(); err != nil {
		return err
	}
	made, secret, err := s.Hooks.Add(r.Context(), hook)
	if errors.Is(err, events.ErrInvalid) {
		return fault("invalid-value", "%v", err)
	}
	if err != nil {
		return unavailable(err)
	}
	r.w.Header().Set("Location", "/api/v1/hooks/"+strconv.FormatInt(made.ID, 10))
	return r.reply(http.StatusCreated, struct {
		events.Hook
		Secret string `json:"secret"`
	}{made, secret})
}

// hook finds one of the account's.
func (s *server) hook(r *request) (events.Hook, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return events.Hook{}, fault("not-found", "A hook has a number")
	}
	h, err := s.Hooks.Hook(r.Context(), id)
	if errors.Is(err, events.ErrNotFound) || err == nil && h.AccountID != r.key.Account {
		return events.Hook{}, fault("not-found", "The account has no hook %d", id)
	}
	if err != nil {
		return events.Hook{}, unavailable(err)
	}
	return h, nil
}

// showHook is GET /hooks/{id}.
func (s *server) showHook(r *request) error {
	h, err := s.hook(r)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, h)
}

// removeHook is DELETE /hooks/{id}.
func (s *server) removeHook(r *request) error {
	h, err := s.hook(r)
	if err != nil {
		return err
	}
	if err := s.Hooks.Remove(r.Context(), h.ID); err != nil && !errors.Is(err, events.ErrNotFound) {
		return unavailable(err)
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}
