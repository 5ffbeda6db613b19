package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"posthouse/internal/config"
	"posthouse/internal/events"
	"posthouse/smtp/queue"
	"posthouse/web/api"
)

// api takes messages over HTTP, with the same checks and on the same way as
// submission does.
func (s *server) api() (http.Handler, error) {
	unsubscriber, err := events.NewUnsubscriber(s.ground.key)
	if err != nil {
		return nil, fmt.Errorf("open the HTTP API: %w", err)
	}
	return api.New(api.Config{
		Hostname: s.cfg.Hostname, Directory: s.directory, Deliverer: s.deliverer, Events: s.record,
		Sign: s.keys.Sign, Allow: s.directory.Allow, QuotaOK: quotaOK(s.store),
		Suppressions: events.NewSuppressions(s.ground.pool), Unsubscriber: unsubscriber, Hooks: s.hooks, Waiting: waiting(s.queue),
		URL: s.apiURL(), Plain: s.cfg.Local, TrustedProxies: s.cfg.TrustedProxies, SpoolDir: s.cfg.SpoolDir(), Closing: s.closing, Log: s.log,
		Limits: api.Limits{Message: s.cfg.Limits.MessageBytes, Recipients: s.cfg.Limits.Recipients},
	}), nil
}

// apiURL is where the links in mail lead: on a site to its name by HTTPS, which
// the API knows itself; in local mode to where it listens.
func (s *server) apiURL() string {
	for _, p := range s.ports {
		if s.cfg.Local && p.name == config.HTTP {
			return "http://" + p.address()
		}
	}
	return ""
}

// waiting shows how the recipients of a message stand in the queue.
func waiting(q *queue.Queue) func(context.Context, string) ([]api.Waiting, error) {
	return func(ctx context.Context, message string) ([]api.Waiting, error) {
		list, err := q.List(ctx, queue.Filter{Ref: message})
		if err != nil {
			return nil, err
		}
		var all []api.Waiting
		for _, e := range list {
			m, err := q.Show(ctx, e.ID)
			if errors.Is(err, queue.ErrNotFound) {
				continue // it left meanwhile
			}
			if err != nil {
				return nil, err
			}
			for _, w := range m.Waiting {
				all = append(all, api.Waiting{Recipient: w.Address, Held: w.State == "held", Attempts: w.Attempts, NextAt: w.Next})
			}
		}
		return all, nil
	}
}
