package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"posthouse/imap/imapd"
	"posthouse/internal/admission"
	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/mailstore"
	"posthouse/mda"
	"posthouse/pop3"
	"posthouse/smtp/mailauth"
	"posthouse/smtp/queue"
	"posthouse/smtp/smtpd"
	"posthouse/web"
)

// Run is the life of a server: everything is made here and handed to those who
// need it, and taken down in the opposite order.
func (c *serveCmd) Run(_ context.Context, con *console) (err error) {
	cfg, logins, err := c.configure(con.place)
	if err != nil {
		return err
	}
	log, err := newLog(con.err, cfg.Log)
	if err != nil {
		return err
	}
	slog.SetDefault(log)
	giveHeapRoom()
	// The signal ends waiting; what runs is ended by the drain below.
	life := context.Background()
	ctx, unheed := signal.NotifyContext(life, syscall.SIGTERM, syscall.SIGINT)
	defer unheed()

	// The ground: ports first, while we may be root, then a user without
	// rights, the database, and what everybody needs of it.
	ports, err := bind(&cfg, c.asked)
	if err != nil {
		return err
	}
	defer closeAll(ports)
	ground, err := lay(ctx, &cfg, c.Ephemeral, log)
	if err != nil {
		return cancelled(ctx, err)
	}
	defer ground.clear()
	store, err := mailstore.Open(life, ground.pool, mailstore.Options{Log: log})
	if err != nil {
		return fmt.Errorf("open the mailstore: %w", err)
	}
	defer closing(log, "mailstore", store.Close)
	record, err := events.Open(ground.pool, events.Options{Log: log, Node: ground.name()})
	if err != nil {
		return fmt.Errorf("open the record of events: %w", err)
	}
	defer record.Close()
	record.Maintain(0)
	keys, err := mailauth.NewKeys(ground.pool, ground.key, log)
	if err != nil {
		return fmt.Errorf("open the DKIM keys: %w", err)
	}
	dir, err := directory.New(ground.pool, directory.Options{
		Key: ground.key, Hostname: cfg.Hostname, Log: log,
		OnCreate: onCreate(store), OnDomain: keys.CreateFor,
		Sending:  directory.SendingOptions{Lenient: !cfg.Throttle},
		Throttle: directory.ThrottleOptions{ExemptLoopback: !cfg.Throttle},
	})
	if err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	defer dir.Close()
	var accounts []login
	var inbox *login
	if cfg.Local {
		if accounts, inbox, err = localLogins(ctx, &cfg, dir, logins); err != nil {
			return cancelled(ctx, err)
		}
	}
	if err := keys.EnsureAll(ctx); err != nil { // domains of before there were keys
		return cancelled(ctx, fmt.Errorf("make DKIM keys: %w", err))
	}
	resolver, err := resolverFor(&cfg, log)
	if err != nil {
		return err
	}
	certificates, err := openCertificates(ctx, &cfg, ground, dir, resolver, ports, log)
	if err != nil {
		return cancelled(ctx, err)
	}
	defer certificates.Close()
	gate := admission.New(admission.Limits{
		Total: cfg.Limits.Connections, PerAddress: cfg.PerAddress(), PerAccount: cfg.Limits.ConnectionsPerAccount,
	})

	// The protocols, and local delivery behind the one that receives.
	var capture *mda.CaptureTo
	if cfg.Local && !cfg.Deliver {
		if capture, err = captureTo(ctx, dir, inbox); err != nil {
			return cancelled(ctx, err)
		}
	}
	outgoing := queue.New(queue.Config{Pool: ground.pool, Store: store, Log: log, Node: ground.name(), Hostname: cfg.Hostname, Key: dir.RouteKey})
	deliverer := mda.New(mda.Config{
		Directory: dir, Store: store, Queue: outgoing, Capture: capture, Hostname: cfg.Hostname, SpoolDir: cfg.SpoolDir(),
		Events: record, Log: log,
	})
	smtp, err := smtpd.New(smtpd.Config{
		Hostname: cfg.Hostname, Directory: dir, Deliverer: deliverer, QuotaOK: quotaOK(store), Relays: dir.RelaysFor,
		MaySend: dir.MaySend, Allow: dir.Allow, Sign: keys.Sign, Reverse: reverse(resolver), Events: record,
		TLS: certificates.Config("smtp"), Admission: gate, Log: log, SpoolDir: cfg.SpoolDir(),
		AllowPlainAuth: cfg.PlainAuth(), Capture: cfg.Capture, TrustedProxies: cfg.TrustedProxies,
		Limits: smtpd.Limits{Message: cfg.Limits.MessageBytes, Recipients: cfg.Limits.Recipients, Memory: cfg.Limits.SpoolMemoryBytes},
	})
	if err != nil {
		return err
	}
	imap := imapd.New(imapd.Config{
		Hostname: cfg.Hostname, Directory: dir, Store: store, TLS: certificates.Config("imap"), Admission: gate, Log: log,
		AllowPlainAuth: cfg.PlainAuth(), MaxMessage: cfg.Limits.MessageBytes, SpoolDir: cfg.SpoolDir(),
		TrustedProxies: cfg.TrustedProxies,
	})
	pop := pop3.New(pop3.Config{
		Hostname: cfg.Hostname, Directory: dir, Store: store, TLS: certificates.Config("pop3"), Admission: gate, Log: log,
		AllowPlainAuth: cfg.PlainAuth(), TrustedProxies: cfg.TrustedProxies,
	})
	watchFigures(prometheus.DefaultRegisterer, ground.pool, gate)
	pages := web.New(web.Config{
		Hostname: cfg.Hostname, Version: version(), Local: cfg.Local, Listeners: shown(ports), CAFile: certificates.local.File(),
		Ready: ground.ready, Metrics: prometheus.DefaultGatherer, MetricsFrom: cfg.MetricsFrom, Log: log,
		HTTPS: cfg.Listen[config.HTTPS] != "", Challenges: certificates.challenges(), Setup: setup(&cfg, dir, certificates, ports),
		Captured: capturedPages(&cfg, store, capture, ctx.Done(), log),
	})

	// The door opens.
	h := newHouse(log)
	for _, p := range ports {
		switch p.name {
		case config.SMTP:
			h.serve(p, func() error { return smtp.Serve(p, smtpMode(&cfg)) })
		case config.Submission:
			h.serve(p, func() error { return smtp.Serve(p, smtpd.Submission) })
		case config.Submissions:
			h.serve(p, func() error { return smtp.Serve(p, smtpd.SubmissionTLS) })
		case config.LMTP:
			h.serve(p, func() error { return smtp.Serve(p, smtpd.LMTP) })
		case config.IMAP, config.IMAPS:
			h.serve(p, func() error { return imap.Serve(p, p.name == config.IMAPS) })
		case config.POP3, config.POP3S:
			h.serve(p, func() error { return pop.Serve(p, p.name == config.POP3S) })
		case config.HTTP:
			h.serve(p, func() error { return pages.Serve(p, nil) })
		case config.HTTPS:
			h.serve(p, func() error { return pages.Serve(p, certificates.HTTPS()) })
		}
	}
	if err := ground.announce(con, c.JSONReady, ports, accounts, inbox, certificates.local.File()); err != nil {
		log.Error("print the ready page", "event", "ready", "err", err)
	}
	err = h.wait(ctx)
	unheed() // a second signal ends the process at once
	ground.closing.Store(true)
	h.drain(cfg.Limits.Drain(), smtp.Shutdown, imap.Shutdown, pop.Shutdown, pages.Shutdown)
	return err
}

// cancelled is nil when it was a signal that made the start fail.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
