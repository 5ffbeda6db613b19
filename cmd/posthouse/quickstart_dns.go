package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"posthouse/internal/config"
	"posthouse/internal/doctor"
	"posthouse/smtp/mailauth"
)

// addresses are where the world finds this server, as far as can be told.
func (q *quickstart) addresses(cfg *config.Config) []netip.Addr {
	list := append(slices.Clone(q.IP), cfg.ACME.Addresses...)
	if len(list) == 0 {
		list = doctor.OwnAddresses()
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// records prints what to publish, on the real standard output.
func (q *quickstart) records(con *console, cfg *config.Config, records []mailauth.Record) error {
	addrs := q.addresses(cfg)
	switch q.Format {
	case "json":
		return con.json(q.view(cfg, addrs, records))
	case "table":
		return q.table(con, cfg, addrs, records)
	}
	if err := con.say("\n; DNS records: publish these in the zone of %s\n; the addresses of this server", q.address.Domain); err != nil {
		return err
	}
	if len(addrs) == 0 {
		if err := con.say("; %s. IN A your address, as the world sees it (--ip ADDR prints it in full)", cfg.Hostname); err != nil {
			return err
		}
	}
	for _, a := range addrs {
		if err := con.say("%s", doctor.AddressRecord(cfg.Hostname, a)); err != nil {
			return err
		}
	}
	for _, r := range records {
		why := r.Why
		if r.Optional {
			why += " (optional)"
		}
		if err := con.say("; %s\n%s", why, r.Zone()); err != nil {
			return err
		}
	}
	if q.DryRun {
		if err := con.say("; and a TXT record for each DKIM key, which are made with the domain"); err != nil {
			return err
		}
	}
	for _, a := range addrs {
		if err := con.say("; not in your zone: who rents you the address sets its name\n; %s", doctor.ReverseRecord(cfg.Hostname, a)); err != nil {
			return err
		}
	}
	return nil
}

// quickstartView is what --format json prints.
type quickstartView struct {
	Domain    string          `json:"domain"`
	Hostname  string          `json:"hostname"`
	Account   string          `json:"account"`
	Password  string          `json:"password,omitempty"` // made up, shown once
	Config    string          `json:"config"`
	Addresses []string        `json:"addresses"` // zone lines
	Reverse   []string        `json:"reverse"`   // zone lines, for who rents out the addresses
	Records   []dnsRecordView `json:"records"`
}

func (q *quickstart) view(cfg *config.Config, addrs []netip.Addr, records []mailauth.Record) quickstartView {
	v := quickstartView{Domain: q.address.Domain, Hostname: cfg.Hostname, Account: q.address.String(), Password: q.created, Config: q.file,
		Addresses: []string{}, Reverse: []string{}}
	for _, a := range addrs {
		v.Addresses = append(v.Addresses, doctor.AddressRecord(cfg.Hostname, a))
		v.Reverse = append(v.Reverse, doctor.ReverseRecord(cfg.Hostname, a))
	}
	for _, r := range records {
		v.Records = append(v.Records, dnsRecordView{r, r.Zone()})
	}
	return v
}

func (q *quickstart) table(con *console, cfg *config.Config, addrs []netip.Addr, records []mailauth.Record) error {
	var rows [][]string
	for _, a := range addrs {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		rows = append(rows, []string{cfg.Hostname, kind, "", a.String()})
	}
	for _, r := range records {
		priority := ""
		if r.Type == "MX" {
			priority = strconv.Itoa(r.Priority)
		}
		rows = append(rows, []string{r.Name, r.Type, priority, r.Value})
	}
	return con.table("NAME TYPE PRIORITY VALUE", rows)
}

// next says what is left to do.
func (q *quickstart) next(_ context.Context, cfg *config.Config) error {
	start := "systemctl daemon-reload && systemctl enable --now posthouse"
	at := ""
	if q.Root != "" || q.con.place.Config != "" {
		at = " --config " + q.file
		start = "posthouse serve" + at
	}
	nodes, err := runningNodes(cfg.Data)
	if err != nil {
		return err
	}
	done := func(running bool) string {
		if running {
			return " (it runs)"
		}
		return ""
	}
	steps := []string{
		"Publish the DNS records above, and have the PTR record set.",
		"Start the server: " + start + done(len(nodes) > 0),
		"See that all is well: posthouse doctor" + at,
		"In a mail program give " + q.address.String() + " and the password: it finds the rest by itself.",
		"Send a first mail and follow it: posthouse doctor send YOU@ELSEWHERE --from " + q.address.String() + at,
	}
	if err := q.con.say("\nWhat to do next:"); err != nil {
		return err
	}
	for i, s := range steps {
		if err := q.con.say("  %d. %s", i+1, s); err != nil {
			return err
		}
	}
	if q.con.place.Database != "" && q.givenDatabase() == "" {
		env := filepath.Join(filepath.Dir(q.file), "environment")
		if _, err := os.Stat(env); err != nil {
			return q.con.say("%s", fmt.Sprintf("The database comes from %s: for the unit, put it into %s.", config.DatabaseVariable, env))
		}
	}
	return nil
}
