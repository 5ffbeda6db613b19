package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/doctor"
	"posthouse/smtp/mailauth"
	"posthouse/tls/certs"
)

// Exit codes of doctor.
const (
	exitWarnings = 10
	exitErrors   = 11
)

type doctorCmd struct {
	Check   doctorCheckCmd   `cmd:"" default:"withargs" help:"Look at everything (the default)."`
	Connect doctorConnectCmd `cmd:"" help:"Go through a dialogue with a server as a mail program would, and explain it."`
	Send    doctorSendCmd    `cmd:"" help:"Send a message and follow it to its end."`
}

type doctorCheckCmd struct {
	Watch bool          `help:"Look again and again, and print what changes."`
	Every time.Duration `help:"With --watch: how often." default:"1m"`
	All   bool          `help:"Print what is in order, too."`
	DNS   string        `name:"dns" help:"Ask this DNS server instead of the system's." placeholder:"ADDR:PORT"`
	listFlags
}

func (c *doctorCheckCmd) Help() string {
	return `Looks at the DNS records of every domain, the addresses of this server and their
names, certificates, each listener as its clients find it, whether strangers can
relay, the database, the queue, the clock, memory and disk. Nothing is changed.
It ends with 0 when all is well, 10 with warnings, 11 with errors.`
}

func (c *doctorCheckCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if !c.Watch {
		found, err := c.examine(ctx, s)
		if err != nil {
			return err
		}
		if err := c.report(con, found); err != nil {
			return err
		}
		return doctorVerdict(found)
	}
	if c.Every < time.Second {
		return fail(exitUsage, "--every %s: take a second or more", c.Every)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return c.watch(ctx, con, s)
}

// examine makes a patient of the site; all of it is looked up anew each time.
func (c *doctorCheckCmd) examine(ctx context.Context, s *site) ([]doctor.Finding, error) {
	p, err := c.patient(ctx, s)
	if err != nil {
		return nil, err
	}
	return p.Examine(ctx), nil
}

func (c *doctorCheckCmd) patient(ctx context.Context, s *site) (*doctor.Patient, error) {
	p := &doctor.Patient{
		Config: &s.config, Clock: true,
		Database: &doctor.Database{Pool: s.pool, URL: s.url, Private: s.config.Database == ""},
	}
	var err error
	if p.Roots, err = s.trusted(); err != nil {
		return nil, err
	}
	if p.Resolver, err = (&domainDNSCmd{DNS: c.DNS}).resolver(s); err != nil {
		return nil, err
	}
	if s.secret != nil && s.config.ACME.On() {
		if p.Orders, err = certs.Reports(ctx, s.pool, s.secret); err != nil {
			return nil, err
		}
	}
	nodes, err := runningNodes(s.config.Data)
	if err != nil {
		return nil, err
	}
	p.Listen = make(map[string]string)
	for _, n := range nodes {
		maps.Copy(p.Listen, n.Listen)
	}
	domains, err := s.directory.Domains(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		records, err := s.records(ctx, d)
		if err != nil {
			return nil, err
		}
		p.Domains = append(p.Domains, doctor.Domain{Name: d.Name, Records: records, STSMode: d.STSMode, STSSince: d.STSSince})
	}
	return p, nil
}

// trusted are the certificates that those who come here believe: on a laptop
// the local authority's.
func (s *site) trusted() (*x509.CertPool, error) {
	if !s.config.Local {
		return s.config.Testing.Roots()
	}
	file := filepath.Join(s.config.CADir(), "ca.pem")
	if _, err := os.Stat(file); err != nil {
		file = "" // the server never ran
	}
	return rootsOf(s.config.Testing, file)
}

// records are all that the DNS should say of a domain that this server alone
// receives for.
func (s *site) records(ctx context.Context, domain directory.Domain) ([]mailauth.Record, error) {
	keys, err := s.keys.List(ctx, domain.Name)
	if err != nil {
		return nil, err
	}
	host := s.config.Hostname
	return append(mailauth.Records(domain.Name, []string{host}, keys, domain.STSMode), programRecords(domain.Name, host, s.config.Listen)...), nil
}

// doctorVerdict is the exit code of what was found.
func doctorVerdict(found []doctor.Finding) error {
	warnings, errs := 0, 0
	for _, f := range found {
		switch f.Level {
		case doctor.Warning:
			warnings++
		case doctor.Error:
			errs++
		}
	}
	switch {
	case errs > 0:
		return fail(exitErrors, "%s, %s", counted(errs, "error"), counted(warnings, "warning"))
	case warnings > 0:
		return fail(exitWarnings, "%s", counted(warnings, "warning"))
	}
	return nil
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (c *doctorCheckCmd) report(con *console, found []doctor.Finding) error {
	if c.JSON {
		return con.json(found)
	}
	return con.findings(found, c.All)
}

// findings prints what is not in order, or all; each with what mends it.
func (con *console) findings(found []doctor.Finding, all bool) error {
	good := 0
	for _, f := range found {
		if f.Level == doctor.OK {
			good++
			if !all {
				continue
			}
		}
		if err := con.finding(f); err != nil {
			return err
		}
	}
	return con.say("%d of %d findings are in order", good, len(found))
}

func (con *console) finding(f doctor.Finding) error {
	subject := f.Subject
	if subject != "" && subject != f.Check {
		subject = " " + subject
	} else {
		subject = ""
	}
	if err := con.say("%-8s %s%s: %s", strings.ToUpper(string(f.Level)), f.Check, subject, f.Text); err != nil {
		return err
	}
	if f.Mend == "" {
		return nil
	}
	return con.say("         → %s", f.Mend)
}

// watch prints each finding when it comes, and when it goes.
func (c *doctorCheckCmd) watch(ctx context.Context, con *console, s *site) error {
	var before map[string]doctor.Finding
	for {
		found, err := c.examine(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		now := make(map[string]doctor.Finding)
		for _, f := range found {
			if f.Level == doctor.Warning || f.Level == doctor.Error {
				now[same(f)] = f
			}
		}
		if before == nil && len(now) == 0 && !c.JSON {
			if err := con.say("%s all is well", time.Now().Format(time.TimeOnly)); err != nil {
				return err
			}
		}
		if err := c.changes(con, before, now); err != nil {
			return err
		}
		before = now
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Every):
		}
	}
}

// same is equal for findings that differ in numbers alone: a port, an age, how
// much is free.
func same(f doctor.Finding) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, strings.Join([]string{string(f.Level), f.Check, f.Subject, f.Text}, "\x00"))
}

// change is a finding of --watch that came, or went.
type change struct {
	At   time.Time `json:"at"`
	Gone bool      `json:"gone,omitempty"`
	doctor.Finding
}

func (c *doctorCheckCmd) changes(con *console, before, now map[string]doctor.Finding) error {
	var list []change
	at := time.Now()
	for key, f := range before {
		if _, still := now[key]; !still {
			list = append(list, change{at, true, f})
		}
	}
	for key, f := range now {
		if _, known := before[key]; !known {
			list = append(list, change{at, false, f})
		}
	}
	slices.SortStableFunc(list, func(a, b change) int { return strings.Compare(same(a.Finding), same(b.Finding)) })
	for _, ch := range list {
		if err := c.tell(con, ch); err != nil {
			return err
		}
	}
	return nil
}

// tell prints a change; for programs in one line.
func (c *doctorCheckCmd) tell(con *console, ch change) error {
	if c.JSON {
		e := json.NewEncoder(con.out)
		e.SetEscapeHTML(false)
		return e.Encode(ch)
	}
	if ch.Gone {
		ch.Level, ch.Mend = "mended", ""
	}
	fmt.Fprint(con.out, ch.At.Format(time.TimeOnly), " ")
	return con.finding(ch.Finding)
}

// rootsOf are the certificates to believe: the configuration's, and a file's.
func rootsOf(t config.Testing, file string) (*x509.CertPool, error) {
	if file != "" {
		if _, err := os.Stat(file); err != nil {
			return nil, fail(exitUsage, "--trust: %w", err)
		}
		t.Trust = file
	}
	return t.Roots()
}
