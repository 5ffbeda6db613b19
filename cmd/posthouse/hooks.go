package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"posthouse/internal/admission"
	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/mailstore"
	"posthouse/mda"
	"posthouse/smtp/smtpd"
	"posthouse/web"
	"posthouse/web/captured"
)

// The packages below name what they need of each other in small interfaces and
// functions of their own; here they are joined.

// onCreate gives a new account its mailboxes, in the transaction that makes it.
func onCreate(store *mailstore.Store) func(context.Context, pgx.Tx, int64) error {
	return func(ctx context.Context, tx pgx.Tx, id int64) error {
		return store.InitAccount(ctx, tx, mailstore.AccountID(id))
	}
}

// quotaOK asks the store at RCPT.
func quotaOK(store *mailstore.Store) func(context.Context, int64, int64) error {
	return func(ctx context.Context, account, octets int64) error {
		return store.QuotaOK(ctx, mailstore.AccountID(account), octets)
	}
}

// captureTo names the account that keeps what would leave.
func captureTo(ctx context.Context, dir *directory.Directory, inbox *login) (*mda.CaptureTo, error) {
	addr, err := mail.ParseAddress(inbox.Address)
	if err != nil {
		return nil, err
	}
	a, err := dir.Account(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("find the captured inbox: %w", err)
	}
	return &mda.CaptureTo{Account: a.ID}, nil
}

// captured shows what was captured; nil where nothing is.
func (s *server) captured(to *mda.CaptureTo) http.Handler {
	if to == nil {
		return nil
	}
	return captured.New(captured.Config{Store: s.store, Account: to.Account, Hostname: s.cfg.Hostname, Closing: s.closing, Log: s.log})
}

// domainNames lists the domains for the certificate.
func domainNames(dir *directory.Directory) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		domains, err := dir.Domains(ctx)
		if err != nil {
			return nil, err
		}
		names := make([]string, len(domains))
		for i, d := range domains {
			names[i] = d.Name
		}
		return names, nil
	}
}

// smtpMode is what the SMTP port is: on a laptop one may log in on it too.
func smtpMode(c *config.Config) smtpd.Mode {
	if c.Local {
		return smtpd.LocalMX
	}
	return smtpd.MX
}

// shown are the listeners as the index page names them.
func shown(ports []listener) []web.Listener {
	list := make([]web.Listener, len(ports))
	for i, p := range ports {
		list[i] = web.Listener{Name: p.name, Addr: p.address()}
	}
	return list
}

// watchFigures adds to the metrics what belongs to no package: the pool and the
// connections admitted.
func watchFigures(r prometheus.Registerer, pool *pgxpool.Pool, gate *admission.Gate) {
	for name, f := range map[string]struct {
		help string
		of   func() float64
	}{
		"posthouse_connections_open":              {"Client connections open now, over all protocols.", func() float64 { return float64(gate.Open()) }},
		"posthouse_database_connections":          {"Connections to the database.", func() float64 { return float64(pool.Stat().TotalConns()) }},
		"posthouse_database_connections_acquired": {"Connections to the database in use now.", func() float64 { return float64(pool.Stat().AcquiredConns()) }},
		"posthouse_database_waits_total":          {"Times that work waited for a connection to the database.", func() float64 { return float64(pool.Stat().EmptyAcquireCount()) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: f.help}, f.of))
	}
}

// mailboxView is a mailbox as `account show` prints it.
type mailboxView struct {
	Name     string `json:"name"`
	Messages int64  `json:"messages"`
	Unseen   int64  `json:"unseen"`
	Bytes    int64  `json:"bytes"`
}

// usage is what an account keeps.
type usage struct {
	bytes, messages int64
	mailboxes       []mailboxView
}

func (s *site) usage(ctx context.Context, account int64) (usage, error) {
	boxes, err := s.store.Mailboxes(ctx, mailstore.AccountID(account))
	if err != nil {
		return usage{}, fmt.Errorf("list the mailboxes: %w", err)
	}
	u := usage{mailboxes: make([]mailboxView, len(boxes))}
	for i, m := range boxes {
		u.bytes += m.Bytes
		u.messages += m.Messages
		u.mailboxes[i] = mailboxView{m.Name, m.Messages, m.Unseen, m.Bytes}
	}
	return u, nil
}
