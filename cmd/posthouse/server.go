package main

import (
	"context"
	"fmt"
	"log/slog"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/dns"
	"posthouse/internal/events"
	"posthouse/mailstore"
	"posthouse/mailstore/localpg"
	"posthouse/mda"
	"posthouse/smtp/mailauth"
	"posthouse/smtp/queue"
)

// server is what the parts of a running server need of each other. serve makes
// it, from the ground up.
type server struct {
	cfg     *config.Config
	log     *slog.Logger
	ground  *ground
	ports   []listener
	closing <-chan struct{} // closed when the server stops

	store        *mailstore.Store
	record       *events.Log
	hooks        *events.Hooks
	keys         *mailauth.Keys
	srs          *mailauth.SRS
	directory    *directory.Directory
	resolver     *dns.Resolver
	certificates *certificates
	queue        *queue.Queue
	deliverer    *mda.MDA
}

// furnish opens what stands on the database alone.
func (s *server) furnish(ctx context.Context) (err error) {
	life := context.WithoutCancel(ctx) // a signal begins the drain, which needs all of it
	pool, key := s.ground.pool, s.ground.key
	if s.resolver, err = resolverFor(s.cfg, s.log); err != nil {
		return err
	}
	if s.store, err = mailstore.Open(life, pool, mailstore.Options{Log: s.log, Memory: localpg.Memory()}); err != nil {
		return fmt.Errorf("open the mailstore: %w", err)
	}
	if s.record, err = events.Open(pool, events.Options{Log: s.log, Node: s.ground.name()}); err != nil {
		return fmt.Errorf("open the record of events: %w", err)
	}
	s.record.Maintain(0)
	if s.hooks, err = events.NewHooks(pool, events.HookOptions{Key: key, Log: s.log, Lookup: addresses(s.resolver), AllowPrivate: s.cfg.Local}); err != nil {
		return fmt.Errorf("open the webhooks: %w", err)
	}
	if s.keys, err = mailauth.NewKeys(pool, key, s.log); err != nil {
		return fmt.Errorf("open the DKIM keys: %w", err)
	}
	if s.srs, err = mailauth.NewSRS(pool, key); err != nil {
		return fmt.Errorf("open the rewriting of senders: %w", err)
	}
	tokens, err := tokenVerifier(s.cfg, s.resolver, s.log)
	if err != nil {
		return err
	}
	s.directory, err = directory.New(pool, directory.Options{
		Key: key, Hostname: s.cfg.Hostname, Log: s.log,
		OnCreate: onCreate(s.store), OnDomain: s.keys.CreateFor,
		Tokens:   tokens,
		Sending:  directory.SendingOptions{Lenient: !s.cfg.Throttle},
		Throttle: directory.ThrottleOptions{ExemptLoopback: !s.cfg.Throttle},
	})
	if err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	return nil
}

// close closes what furnish opened, in the opposite order.
func (s *server) close() {
	if s.directory != nil {
		s.directory.Close()
	}
	if s.record != nil {
		s.record.Close()
	}
	if s.store != nil {
		closing(s.log, "mailstore", s.store.Close)
	}
}
