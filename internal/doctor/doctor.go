// Package doctor looks at a mail server as a whole, from its machine to what the
// rest of the Internet sees of it, and says in words what is wrong and what one
// line mends it. Each kind of check has a file of its own:
//
//	machine.go     rights, memory, disk
//	ports.go       who has our ports; whether port 25 leads outside
//	address.go     A, AAAA and PTR records, DNS block lists of our addresses
//	domain.go      the DNS records of the domains, CAA, DANE
//	policy.go      the MTA-STS policy
//	web.go         the documents for mail programs
//	listener.go    banners, STARTTLS, AUTH, certificates, relaying
//	database.go    durability, locale, schema, space, bloat
//	orders.go      the certificates that the nodes order
//	queue.go       age and depth of what waits
//	clock.go       the clock, beside others
//
// A check changes nothing, asks nobody for long, and never ends a run: what
// could not be found out is a finding, too.
package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/tls/certs"
)

// Level is how much a Finding matters.
type Level string

const (
	OK      Level = "ok"
	Note    Level = "note"    // worth knowing; nothing is to be done
	Warning Level = "warning" // mail flows, less well than it could, or not for long
	Error   Level = "error"   // mail does not flow, or is in danger
)

// Finding is what a check saw.
type Finding struct {
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"` // what was looked at
	Level   Level  `json:"level"`
	Text    string `json:"text"`
	Mend    string `json:"mend,omitempty"` // one line: what to do, mostly a command or a DNS record
}

// findings is what one check fills.
type findings struct {
	check string
	list  []Finding
}

func (f *findings) add(level Level, subject, mend, format string, args ...any) {
	f.list = append(f.list, Finding{f.check, subject, level, fmt.Sprintf(format, args...), mend})
}

func (f *findings) ok(subject, format string, args ...any) { f.add(OK, subject, "", format, args...) }

// join makes one finding of those that say the same of several subjects, except
// of what is in order.
func (f *findings) join() {
	var list []Finding
	for _, one := range f.list {
		i := slices.IndexFunc(list, func(o Finding) bool {
			return one.Level != OK && o.Level == one.Level && o.Text == one.Text && o.Mend == one.Mend
		})
		if i < 0 {
			list = append(list, one)
			continue
		}
		list[i].Subject += ", " + one.Subject
	}
	f.list = list
}

// Patient is the server that is looked at.
type Patient struct {
	Config   *config.Config
	Resolver *dns.Resolver
	Roots    *x509.CertPool    // whom others would trust; nil: the system's
	Listen   map[string]string // where the server listens, by listener; empty: it does not run
	Domains  []Domain
	Database *Database      // nil: it is not looked at
	Orders   []certs.Report // what the nodes say of the certificates that they order
	Clock    bool           // ask others for the time
}

// stepPatience bounds one check. They run side by side, so it bounds a run, too.
const stepPatience = 40 * time.Second

// Examine runs every check and gives the findings in the order of the checks.
// A server of `serve --local` has nothing to do with the Internet, and is not
// asked about it.
func (p *Patient) Examine(ctx context.Context) []Finding {
	if p.Config.Local {
		return examine(ctx, check{"memory", p.memory}, check{"disk", p.disk}, check{"database", p.database}, check{"queue", p.queue},
			check{"listener", p.listeners}, check{"certificate", p.certificates})
	}
	return examine(ctx,
		check{"testing", p.testing}, check{"memory", p.memory}, check{"disk", p.disk}, check{"clock", p.clock},
		check{"database", p.database}, check{"queue", p.queue},
		check{"address", p.addresses}, check{"block list", p.blockLists}, check{"dns", p.domainRecords}, check{"caa", p.caa}, check{"dane", p.dane},
		check{"listener", p.listeners}, check{"relaying", p.relaying}, check{"certificate", p.certificates}, check{"order", p.orders}, check{"web", p.web},
	)
}

type check struct {
	name string
	run  func(context.Context, *findings)
}

func examine(ctx context.Context, checks ...check) []Finding {
	found := make([]findings, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, stepPatience)
			defer cancel()
			found[i].check = c.name
			c.run(ctx, &found[i])
		})
	}
	wg.Wait()
	var list []Finding
	for _, f := range found {
		list = append(list, f.list...)
	}
	return list
}

// testing warns of keys that take the place of the Internet.
func (p *Patient) testing(_ context.Context, f *findings) {
	if !p.Config.Testing.Set() {
		return
	}
	f.add(Warning, "[testing]", "remove [testing] from the configuration", "the configuration replaces parts of the Internet by others; a site that the world writes to must not")
}
