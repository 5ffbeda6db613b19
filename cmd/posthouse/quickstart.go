package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/dns"
	"posthouse/internal/doctor"
	"posthouse/internal/mail"
	"posthouse/smtp/mailauth"
)

type quickstartCmd struct {
	Address  string       `arg:"" help:"Your address: its domain is set up, and its account made." placeholder:"YOU@EXAMPLE.ORG"`
	Hostname string       `help:"The server's name (default mail.DOMAIN, or what the configuration says)." placeholder:"NAME"`
	IP       []netip.Addr `name:"ip" help:"The server's address on the Internet, where its interfaces do not have it; repeatable." placeholder:"ADDR"`
	Root     string       `help:"Write everything below this folder: for tests and images." placeholder:"DIR"`
	Format   string       `help:"How to print the DNS records: zone, json or table." enum:"zone,json,table" default:"zone"`
	DNS      string       `name:"dns" help:"Ask this DNS server instead of the system's." placeholder:"ADDR:PORT"`
	NoChecks bool         `help:"Do not look at the machine."`
	passwordFlag
	linkFlags
	changeFlags
}

func (c *quickstartCmd) Help() string {
	return `Looks at the machine, writes /etc/posthouse/posthouse.toml and a systemd unit, makes
the domain with its DKIM keys and your account, and prints the DNS records to
publish and what to do next. What it finds wrong is said and stops nothing; a
configuration that you changed is left as it is. Run it again as often as you
like: what is there stays.

The password is asked for, or read with --password-stdin. Without a terminal, or with
--link, none is set: a link is printed by which it is set, once, when the server runs.
With --format json, standard output holds one object and nothing else: the records,
and that link.

With --root DIR the configuration, the unit and the data lie below DIR, and the
configuration names the data there. For an image whose root DIR will be, give the
folder as seen from inside: --root DIR --data /var/lib/posthouse.`
}

// quickstart is one run of the command.
type quickstart struct {
	*quickstartCmd
	con     *console // what it says goes to err where out is for programs
	address mail.Address
	file    string        // the configuration
	inside  string        // the data folder as the configuration names it
	link    *passwordLink // by which the account's password is set; nil where it has one
}

func (c *quickstartCmd) Run(ctx context.Context, con *console) error {
	q := &quickstart{quickstartCmd: c, con: con}
	if c.Format == "json" {
		said := *con
		said.out = con.err
		q.con = &said
	}
	var err error
	if q.address, err = parseAddress(c.Address); err != nil {
		return err
	}
	cfg, fresh, err := q.configuration()
	if err != nil {
		return err
	}
	if !c.NoChecks {
		if err := q.look(ctx, cfg); err != nil {
			return err
		}
	}
	if err := q.files(cfg, fresh); err != nil {
		return err
	}
	records, err := q.begin(ctx, cfg)
	if err != nil {
		return err
	}
	if err := q.records(con, cfg, records); err != nil {
		return err
	}
	return q.next(ctx, cfg)
}

// configuration is that of the file where there is one, else a new one.
func (q *quickstart) configuration() (cfg *config.Config, fresh bool, err error) {
	q.file = or(q.con.place.Config, filepath.Join(or(q.Root, "/"), config.File))
	if q.Root != "" {
		if q.Root, err = filepath.Abs(q.Root); err != nil {
			return nil, false, err
		}
		q.file = or(q.con.place.Config, filepath.Join(q.Root, config.File))
	}
	made := config.Site()
	cfg = &made
	_, err = os.Stat(q.file)
	fresh = errors.Is(err, os.ErrNotExist)
	if !fresh {
		if err := cfg.Read(q.file); err != nil {
			return nil, false, err
		}
		if host := q.Hostname; host != "" && host != cfg.Hostname {
			return nil, false, fail(exitConflict, "%s says hostname = %q: change it there, or leave --hostname out", q.file, cfg.Hostname)
		}
		q.inside = cfg.Data
	} else {
		cfg.Hostname = or(q.Hostname, "mail."+q.address.Domain)
		cfg.ACME.Email = q.address.String()
		cfg.ACME.Addresses = q.IP
		q.inside = or(q.con.place.Data, filepath.Join(q.Root, cfg.Data))
	}
	cfg.Database = or(q.con.place.Database, cfg.Database)
	cfg.Data = q.outside(q.inside)
	return cfg, fresh, cfg.Check()
}

// outside is where a path of the configuration lies for us: one that does not
// name the root yet is as an image sees it.
func (q *quickstart) outside(path string) string {
	if q.Root == "" || path == q.Root || strings.HasPrefix(path, q.Root+string(filepath.Separator)) {
		return path
	}
	return filepath.Join(q.Root, path)
}

// look says what is wrong with the machine. Nothing of it ends the run.
func (q *quickstart) look(ctx context.Context, cfg *config.Config) error {
	p, err := q.patient(cfg)
	if err != nil {
		return err
	}
	if err := q.con.say("The machine:"); err != nil {
		return err
	}
	found := p.Before(ctx)
	if err := q.con.findings(found, false); err != nil {
		return err
	}
	for _, f := range found {
		if f.Check == "port" && f.Level == doctor.Warning && strings.Contains(f.Text, "submission") {
			if err := q.con.say("         → mail programs can come by another port, too: submission = \":2525\" under [listen]"); err != nil {
				return err
			}
		}
	}
	return q.con.say("")
}

func (q *quickstart) patient(cfg *config.Config) (*doctor.Patient, error) {
	testing := cfg.Testing
	testing.DNS = or(q.DNS, testing.DNS)
	server, err := testing.Resolver()
	if err != nil {
		return nil, err
	}
	p := &doctor.Patient{Config: cfg, Clock: true, Listen: make(map[string]string)}
	if server.IsValid() {
		p.Resolver = dns.New(dns.Config{Servers: []netip.AddrPort{server}})
	} else {
		p.Resolver = dns.New(dns.Config{})
	}
	nodes, err := runningNodes(cfg.Data)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		for name, addr := range n.Listen {
			p.Listen[name] = addr
		}
	}
	return p, nil
}

// begin makes the domain and the account, and gives the records that the DNS
// needs. A dry run touches no database.
func (q *quickstart) begin(ctx context.Context, cfg *config.Config) ([]mailauth.Record, error) {
	if q.DryRun {
		if err := q.con.say("would add the domain %s with its DKIM keys, and the account %s, unless they are there", q.address.Domain, q.address); err != nil {
			return nil, err
		}
		host := []string{cfg.Hostname}
		return append(mailauth.Records(q.address.Domain, host, nil, stsTesting), programRecords(q.address.Domain, cfg.Hostname, cfg.Listen)...), nil
	}
	place := *q.con.place
	place.Config, place.Data = q.file, cfg.Data
	there := *q.con
	there.place = &place
	if err := q.ownDatabase(ctx, cfg, &there); err != nil {
		return nil, err
	}
	s, err := there.openNew(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	switch _, err := s.directory.CreateDomain(ctx, q.address.Domain); {
	case err == nil:
		err = q.con.say("domain %s added, with its DKIM keys", q.address.Domain)
		if err != nil {
			return nil, err
		}
	case !errors.Is(err, directory.ErrConflict):
		return nil, created(err, "domain", q.address.Domain)
	}
	if err := q.account(ctx, s); err != nil {
		return nil, err
	}
	if err := s.keys.EnsureAll(ctx); err != nil { // of a domain of before there were keys
		return nil, fmt.Errorf("make DKIM keys: %w", err)
	}
	d, err := s.directory.Domain(ctx, q.address.Domain)
	if err != nil {
		return nil, explain(err, "domain", q.address.Domain)
	}
	return s.records(ctx, d)
}

// account makes the account unless it is there: its password stays then. One
// that nobody has set yet gets a new link, for the first may be lost.
func (q *quickstart) account(ctx context.Context, s *site) error {
	_, err := s.directory.Account(ctx, q.address)
	switch {
	case err == nil:
		has, err := s.directory.HasPassword(ctx, q.address)
		if err != nil {
			return err
		}
		if has {
			return q.con.say("account %s is there; `%s account passwd %s%s` changes its password", q.address, q.program(), q.address, q.at())
		}
		if err := q.con.say("account %s is there, without a password", q.address); err != nil {
			return err
		}
		return q.makeLink(ctx, s)
	case !errors.Is(err, directory.ErrNotFound):
		return explain(err, "account", q.Address)
	}
	password := "" // nobody can log in until it is set
	in, ok := q.con.in.(*os.File)
	if q.PasswordStdin || !q.Link && ok && term.IsTerminal(int(in.Fd())) {
		if password, err = q.read(q.con, q.address.String()); err != nil {
			return err
		}
	}
	if _, err := s.directory.CreateAccount(ctx, q.address, password); err != nil {
		return created(err, "account", q.Address)
	}
	if err := q.con.say("account %s added", q.address); err != nil || password != "" {
		return err
	}
	return q.makeLink(ctx, s)
}

// makeLink makes a link by which the account's password is set. It is printed
// among what to do next, or in the JSON.
func (q *quickstart) makeLink(ctx context.Context, s *site) error {
	l, err := s.passwordLink(ctx, q.address, q.LinkFor)
	q.link = &l
	return err
}
