package main

import (
	"context"
	"net/netip"
	"strings"

	"posthouse/internal/clientsetup"
	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/dns"
	"posthouse/internal/doctor"
	"posthouse/internal/mail"
	"posthouse/smtp/mailauth"
)

type domainDNSCmd struct {
	Name    string   `arg:"" help:"The domain."`
	MX      []string `help:"The hosts that receive its mail, the first preferred, instead of this server; repeatable." placeholder:"HOST"`
	Check   bool     `help:"Ask the DNS, and say what is missing or differs; exit 1 if something is."`
	Apply   bool     `help:"Write what is missing into the zone, through the provider of [acme.dns]. What others wrote there stays."`
	Replace bool     `help:"With --apply: replace records that are in the way."`
	Zone    string   `help:"With --apply: the zone, where it cannot be found by the DNS." placeholder:"NAME"`
	DNS     string   `help:"With --check and --apply: ask this DNS server instead of the system's." placeholder:"ADDR:PORT"`
	listFlags
	changeFlags
}

// dnsRecordView is a record as the command shows it.
type dnsRecordView struct {
	mailauth.Record
	Zone string `json:"zone"`
}

// dnsView is what a domain needs.
type dnsView struct {
	Domain    string          `json:"domain"`
	Records   []dnsRecordView `json:"records"`
	STSPolicy string          `json:"mta_sts_policy"`
}

func (c *domainDNSCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.directory.Domain(ctx, c.Name)
	if err != nil {
		return explain(err, "domain", c.Name)
	}
	if !c.Apply && (c.DryRun || c.Replace || c.Zone != "") || c.Apply && c.Check {
		return fail(exitUsage, "--dry-run, --replace and --zone go with --apply, and --check does not")
	}
	hosts, err := parseHosts(c.MX, s.config.Hostname)
	if err != nil {
		return err
	}
	keys, err := s.keys.List(ctx, d.Name)
	if err != nil {
		return err
	}
	records := append(mailauth.Records(d.Name, hosts, keys, d.STSMode), programRecords(d.Name, s.config.Hostname, s.config.Listen)...)
	if c.Check {
		return c.compare(ctx, con, s, d, records)
	}
	if c.Apply {
		return c.apply(ctx, con, s, records, keys)
	}
	if c.JSON {
		return con.json(viewDNS(d, hosts, records))
	}
	return con.zone(hosts, keys, records, d.STSMode)
}

func viewDNS(d directory.Domain, hosts []string, records []mailauth.Record) dnsView {
	v := dnsView{Domain: d.Name, STSPolicy: mailauth.STSPolicy(d.STSMode, hosts)}
	for _, r := range records {
		v.Records = append(v.Records, dnsRecordView{r, r.Zone()})
	}
	return v
}

// parseHosts are the hosts given, or this server.
func parseHosts(given []string, own string) ([]string, error) {
	if len(given) == 0 {
		return []string{own}, nil
	}
	hosts := make([]string, len(given))
	for i, g := range given {
		var err error
		if hosts[i], err = mail.ParseDomain(g); err != nil {
			return nil, fail(exitUsage, "%q is not the name of a host", g)
		}
	}
	return hosts, nil
}

// zone prints records as a zone file has them, each with its reason.
func (con *console) zone(hosts []string, keys []mailauth.Key, records []mailauth.Record, mode string) error {
	for _, r := range records {
		why := r.Why
		if r.Optional {
			why += " (optional)"
		}
		if err := con.say("; %s\n%s", why, r.Zone()); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		if err := con.say("; DKIM keys are made when the server starts, or first signs"); err != nil {
			return err
		}
	}
	policy := strings.ReplaceAll(strings.TrimSpace(mailauth.STSPolicy(mode, hosts)), "\r\n", "\n;   ")
	return con.say("; %s needs A and AAAA records with its addresses, and these a PTR record with its name\n"+
		"; the MTA-STS policy, for https://mta-sts.DOMAIN/.well-known/mta-sts.txt:\n;   %s", strings.Join(hosts, ", "), policy)
}

// compare prints what the DNS says; what is bad ends with exit code 1.
func (c *domainDNSCmd) compare(ctx context.Context, con *console, s *site, d directory.Domain, records []mailauth.Record) error {
	resolver, err := c.resolver(s)
	if err != nil {
		return err
	}
	findings := mailauth.Check(ctx, resolver, records)
	published, err := c.published(ctx, s, d)
	if err != nil {
		return err
	}
	findings = append(findings, published...)
	bad := 0
	for _, f := range findings {
		if f.Bad() {
			bad++
		}
	}
	if err := c.report(con, findings); err != nil {
		return err
	}
	if bad > 0 {
		return fail(exitFailed, "%d of %d DNS records of %s need attention; `posthouse domain dns %s` prints them as they should be", bad, len(findings), c.Name, c.Name)
	}
	return nil
}

// published looks at what belongs to the records and is none of the domain's
// zone: the MTA-STS policy as it is served, the addresses of this server, and
// that their PTR records lead to it and back. A laptop has none of that.
func (c *domainDNSCmd) published(ctx context.Context, s *site, d directory.Domain) ([]mailauth.Finding, error) {
	if s.config.Local {
		return nil, nil
	}
	p, err := (&doctorCheckCmd{DNS: c.DNS}).patient(ctx, s)
	if err != nil {
		return nil, err
	}
	var list []mailauth.Finding
	for _, f := range p.Published(ctx, doctor.Domain{Name: d.Name, STSMode: d.STSMode, STSSince: d.STSSince}) {
		r := mailauth.Finding{Record: mailauth.Record{Kind: mailauth.Kind(f.Check), Name: f.Subject, Type: strings.ToUpper(f.Check), Optional: f.Level == doctor.Note},
			Verdict: mailauth.VerdictDiffers, Detail: f.Text}
		if f.Level == doctor.OK {
			r.Verdict = mailauth.VerdictOK
		}
		if f.Mend != "" {
			r.Detail += " → " + f.Mend
		}
		list = append(list, r)
	}
	return list, nil
}

func (c *domainDNSCmd) report(con *console, findings []mailauth.Finding) error {
	if c.JSON {
		return con.json(findings)
	}
	rows := make([][]string, len(findings))
	for i, f := range findings {
		verdict := string(f.Verdict)
		if f.Optional && f.Verdict != mailauth.VerdictOK {
			verdict += " (optional)"
		}
		rows[i] = []string{f.Name, f.Type, verdict, f.Detail}
	}
	return con.table("NAME TYPE VERDICT DETAIL", rows)
}

// resolver asks the server of the flag, of the configuration, or the system's.
func (c *domainDNSCmd) resolver(s *site) (*dns.Resolver, error) {
	testing := config.Testing{DNS: or(c.DNS, s.config.Testing.DNS)}
	server, err := testing.Resolver()
	if err != nil || !server.IsValid() {
		return dns.New(dns.Config{}), err
	}
	return dns.New(dns.Config{Servers: []netip.AddrPort{server}}), nil
}

// programRecords lead mail programs to this server.
func programRecords(domain, host string, listeners config.Listeners) []mailauth.Record {
	var list []mailauth.Record
	for _, r := range clientsetup.SRV(domain, clientsetup.Services(host, listeners)) {
		if r.Target != "." {
			list = append(list, mailauth.ServiceRecord(r.Name, r.Priority, r.Port, r.Target))
		}
	}
	return append(list, mailauth.SetupRecord("autoconfig."+domain, host), mailauth.SetupRecord("autodiscover."+domain, host))
}
