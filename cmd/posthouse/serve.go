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
	"posthouse/mda"
	"posthouse/pop3"
	"posthouse/smtp/queue"
	"posthouse/smtp/smtpd"
	"posthouse/web"
	"posthouse/web/password"
)

// Run is the life of a server: everything is made here and handed to those who
// need it, and taken down in the opposite order.
func (c *serveCmd) Run(_ context.Context, con *console) (err error) {
	cfg, logins, err := c.configure(con.place)
	if err != nil {
		return err
	}
	r := &reloader{configure: func() (config.Config, error) { next, _, err := c.configure(con.place); return next, err }}
	log, err := newLogAt(con.err, cfg.Log, &r.level)
	if err != nil {
		return err
	}
	again := r.heed(&cfg)
	defer signal.Stop(again)
	slog.SetDefault(log)
	giveHeapRoom()
	defer giveBackWhenIdle()()
	supervisor := superviseBy(log)
	defer supervisor.close()
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
	s := &server{cfg: &cfg, log: log, ground: ground, ports: ports, closing: ctx.Done()}
	defer s.close()
	if err := s.furnish(ctx); err != nil {
		return cancelled(ctx, err)
	}
	var accounts []login
	var inbox *login
	if cfg.Local {
		if accounts, inbox, err = localLogins(ctx, &cfg, s.directory, logins); err != nil {
			return cancelled(ctx, err)
		}
	}
	if err := s.keys.EnsureAll(ctx); err != nil { // domains of before there were keys
		return cancelled(ctx, fmt.Errorf("make DKIM keys: %w", err))
	}
	if s.certificates, err = openCertificates(ctx, s); err != nil {
		return cancelled(ctx, err)
	}
	defer s.certificates.Close()
	// Local delivery, and what takes mail away.
	var capture *mda.CaptureTo
	if !cfg.Deliver {
		if capture, err = captureTo(ctx, s.directory, inbox); err != nil {
			return cancelled(ctx, err)
		}
	}
	s.queue = queue.New(queue.Config{
		Pool: ground.pool, Store: s.store, Log: log, Node: ground.name(), Hostname: cfg.Hostname, Key: s.directory.RouteKey,
	})
	s.deliverer = mda.New(mda.Config{
		Directory: s.directory, Store: s.store, Queue: s.queue, Capture: capture, Hostname: cfg.Hostname, SpoolDir: cfg.SpoolDir(),
		Events: s.record, Log: log, Forward: s.srs.Forward, Return: returnPath(s.srs),
	})
	var shutdowns []func(context.Context) error
	if cfg.Deliver {
		out, err := s.send()
		if err != nil {
			return cancelled(ctx, fmt.Errorf("begin to send: %w", err))
		}
		shutdowns = append(shutdowns, out.Shutdown)
	}
	defer s.hooks.Start().Close()

	all, err := s.protocols(capture)
	if err != nil {
		return err
	}
	watchFigures(prometheus.DefaultRegisterer, ground.pool, all.gate)
	prometheus.DefaultRegisterer.MustRegister(s.certificates)

	// The door opens.
	h := newHouse(log)
	for _, p := range ports {
		all.serve(h, p)
	}
	if err := ground.announce(con, c.JSONReady, ports, accounts, inbox, s.certificates.local.File()); err != nil {
		log.Error("print the ready page", "event", "ready", "err", err)
	}
	supervisor.ready(cfg.Hostname)
	r.begin(s, all.gate, supervisor)
	err = h.wait(ctx, again, r.reload)
	supervisor.stopping()
	unheed() // a second signal ends the process at once
	ground.closing.Store(true)
	h.drain(cfg.Limits.Drain(), append(shutdowns, all.smtp.Shutdown, all.imap.Shutdown, all.pop.Shutdown, all.web.Shutdown)...)
	return err
}

// protocols are the four that the world knows this server by.
type protocols struct {
	*server
	gate *admission.Gate // their connections, together
	smtp *smtpd.Server
	imap *imapd.Server
	pop  *pop3.Server
	web  *web.Server
}

// protocols makes them; capture is where mail for other domains stays, or nil.
func (s *server) protocols(capture *mda.CaptureTo) (_ *protocols, err error) {
	cfg := s.cfg
	p := &protocols{server: s, gate: admission.New(admissionLimits(cfg))}
	p.smtp, err = smtpd.New(smtpd.Config{
		Hostname: cfg.Hostname, Directory: s.directory, Deliverer: s.deliverer, QuotaOK: quotaOK(s.store), Relays: s.directory.RelaysFor,
		MaySend: s.directory.MaySend, Allow: s.directory.Allow, Sign: s.keys.Sign, Return: returnPath(s.srs), Reverse: reverse(s.resolver),
		Events: s.record, TLS: s.certificates.Config("smtp"), Admission: p.gate, Log: s.log, SpoolDir: cfg.SpoolDir(),
		AllowPlainAuth: cfg.PlainAuth(), Capture: cfg.Capture, TrustedProxies: cfg.TrustedProxies,
		Limits: smtpd.Limits{Message: cfg.Limits.MessageBytes, Recipients: cfg.Limits.Recipients, Memory: cfg.Limits.SpoolMemoryBytes},
	})
	if err != nil {
		return nil, err
	}
	p.imap = imapd.New(imapd.Config{
		Hostname: cfg.Hostname, Directory: s.directory, Store: s.store, TLS: s.certificates.Config("imap"), Admission: p.gate, Log: s.log,
		AllowPlainAuth: cfg.PlainAuth(), MaxMessage: cfg.Limits.MessageBytes, SpoolDir: cfg.SpoolDir(),
		TrustedProxies: cfg.TrustedProxies,
	})
	p.pop = pop3.New(pop3.Config{
		Hostname: cfg.Hostname, Directory: s.directory, Store: s.store, TLS: s.certificates.Config("pop3"), Admission: p.gate, Log: s.log,
		AllowPlainAuth: cfg.PlainAuth(), TrustedProxies: cfg.TrustedProxies,
	})
	programs, err := s.api()
	if err != nil {
		return nil, err
	}
	p.web = web.New(web.Config{
		Hostname: cfg.Hostname, Version: version(), Local: cfg.Local, Listeners: shown(s.ports), CAFile: s.certificates.local.File(),
		Ready: s.ground.ready, Metrics: prometheus.DefaultGatherer, MetricsFrom: cfg.MetricsFrom, Log: s.log,
		HTTPS: cfg.Listen[config.HTTPS] != "", Challenges: s.certificates.challenges(), Setup: s.setup(),
		API: programs, Captured: s.captured(capture), Password: password.New(password.Config{
			Hostname: cfg.Hostname, Directory: s.directory, Plain: cfg.Local, TrustedProxies: cfg.TrustedProxies, Log: s.log,
		}),
	})
	return p, nil
}

// serve runs the protocol of one listener.
func (p *protocols) serve(h *house, l listener) {
	switch l.name {
	case config.SMTP:
		h.serve(l, func() error { return p.smtp.Serve(l, smtpMode(p.cfg)) })
	case config.Submission:
		h.serve(l, func() error { return p.smtp.Serve(l, smtpd.Submission) })
	case config.Submissions:
		h.serve(l, func() error { return p.smtp.Serve(l, smtpd.SubmissionTLS) })
	case config.LMTP:
		h.serve(l, func() error { return p.smtp.Serve(l, smtpd.LMTP) })
	case config.IMAP, config.IMAPS:
		h.serve(l, func() error { return p.imap.Serve(l, l.name == config.IMAPS) })
	case config.POP3, config.POP3S:
		h.serve(l, func() error { return p.pop.Serve(l, l.name == config.POP3S) })
	case config.HTTP:
		h.serve(l, func() error { return p.web.Serve(l, nil) })
	case config.HTTPS:
		h.serve(l, func() error { return p.web.Serve(l, p.certificates.HTTPS()) })
	}
}

// cancelled is nil when it was a signal that made the start fail.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
