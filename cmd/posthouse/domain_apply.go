package main

import (
	"context"
	"slices"
	"strings"

	wire "github.com/miekg/dns"

	"posthouse/internal/dns"
	"posthouse/internal/doctor"
	"posthouse/internal/zone"
	"posthouse/smtp/mailauth"
	"posthouse/tls/certs"
)

// apply brings the zone in line with the records, and with the addresses of
// this host where its name is in the same zone and has none.
func (c *domainDNSCmd) apply(ctx context.Context, con *console, s *site, records []mailauth.Record, keys []mailauth.Key) error {
	provider, err := zoneProvider(s)
	if err != nil {
		return err
	}
	resolver, err := c.resolver(s)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(c.Zone, ".")
	if name == "" {
		if name, err = zoneOf(ctx, resolver, c.Name); err != nil {
			return err
		}
	}
	have, err := provider.GetRecords(ctx, name+".")
	if err != nil {
		return fail(exitFailed, "the zone %s cannot be read from %s: %w", name, s.config.ACME.DNS.Provider, err)
	}
	fits := func(r mailauth.Record) bool {
		// The other records tell which hosts an SPF record must let send.
		return slices.ContainsFunc(mailauth.Check(ctx, resolver, append(slices.DeleteFunc(slices.Clone(records), notMX), r)),
			func(f mailauth.Finding) bool {
				return f.Record == r && f.Kind != mailauth.KindMX && f.Verdict == mailauth.VerdictOK
			})
	}
	steps := zone.Plan(name, have, append(c.hostAddresses(ctx, s, resolver), records...), retired(keys), fits, c.Replace)
	if !c.DryRun {
		if err := zone.Apply(ctx, provider, name, steps); err != nil {
			return fail(exitFailed, "%w", err)
		}
	}
	if err := c.tell(con, steps); err != nil {
		return err
	}
	if n := conflicts(steps); n > 0 {
		return fail(exitConflict, "%s of others in the way: look at them, and give --replace if this server is to have their place", counted(n, "record"))
	}
	return nil
}

func notMX(r mailauth.Record) bool { return r.Kind != mailauth.KindMX }

// conflicts counts the records in the way without which mail does not work.
func conflicts(steps []zone.Step) (n int) {
	for _, s := range steps {
		if s.Action == zone.Conflict && !s.Optional {
			n++
		}
	}
	return n
}

// zoneProvider is the one of [acme.dns].
func zoneProvider(s *site) (zone.Provider, error) {
	of := s.config.ACME.DNS
	if of.Provider == "" {
		return nil, fail(exitConfig, "no DNS provider is configured: name one, with its settings, in [acme.dns]; `posthouse domain dns NAME` prints the records to publish by hand")
	}
	p, err := certs.DNSProvider(of.Provider, of.Settings)
	if err != nil {
		return nil, fail(exitConfig, "%w", err)
	}
	z, ok := p.(zone.Provider)
	if !ok {
		return nil, fail(exitConfig, "[acme.dns] provider = %q does not show its zones", of.Provider)
	}
	return z, nil
}

// zoneOf is the zone that a name is in.
func zoneOf(ctx context.Context, r *dns.Resolver, name string) (string, error) {
	for at := strings.TrimSuffix(name, "."); at != ""; _, at, _ = strings.Cut(at, ".") {
		switch _, err := r.Lookup(ctx, at, wire.TypeSOA); {
		case err == nil:
			return at, nil
		case !dns.IsNotFound(err):
			return "", fail(exitFailed, "the DNS cannot be asked for the zone of %s: %w; name it with --zone", name, err)
		}
	}
	return "", fail(exitFailed, "the DNS knows no zone of %s: name it with --zone", name)
}

// hostAddresses are the records of this host, which has none yet.
func (c *domainDNSCmd) hostAddresses(ctx context.Context, s *site, r *dns.Resolver) []mailauth.Record {
	if s.config.Local {
		return nil
	}
	if _, _, err := r.Addresses(ctx, s.config.Hostname); !dns.IsNotFound(err) {
		return nil
	}
	var list []mailauth.Record
	for _, a := range append(slices.Clone(s.config.ACME.Addresses), doctor.OwnAddresses()...) {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		r := mailauth.Record{Kind: mailauth.KindAddress, Name: s.config.Hostname, Type: kind, Value: a.String(), Why: "where this server is"}
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

// retired are the records of DKIM keys that nobody needs any more.
func retired(keys []mailauth.Key) (list []mailauth.Record) {
	for _, k := range keys {
		if k.State == mailauth.Retired {
			list = append(list, mailauth.Record{Kind: mailauth.KindDKIM, Name: k.Name(), Type: "TXT", Value: k.Record(), Why: "DKIM key that is retired"})
		}
	}
	return list
}

// tell prints what was done, or would be, one record a line, as a diff has it.
func (c *domainDNSCmd) tell(con *console, steps []zone.Step) error {
	if c.JSON {
		return con.json(steps)
	}
	changes := 0
	for _, s := range steps {
		if s.Changes() {
			changes++
		}
		var line string
		switch s.Action {
		case zone.Keep:
			continue
		case zone.Add:
			line = "+ " + s.Zone()
		case zone.Remove:
			line = "- " + s.Zone()
		case zone.Replace:
			line = "- " + s.Name + ". IN " + strings.Join(s.Found, "\n- "+s.Name+". IN ") + "\n+ " + s.Zone()
		case zone.Conflict:
			line = "! " + s.Name + ". has " + strings.Join(s.Found, ", ") + ", in the way of: " + s.Zone()
		case zone.Elsewhere:
			line = "; in another zone: " + s.Zone()
		}
		if err := con.say("%s", line); err != nil {
			return err
		}
	}
	if changes == 0 {
		return con.say("nothing to change")
	}
	return c.done(con, counted(changes, "record")+" changed", "change "+counted(changes, "record"))
}
