package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
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
	Link      *passwordLink   `json:"password_link,omitempty"` // sets the password, once
	Config    string          `json:"config"`
	Addresses []string        `json:"addresses"` // zone lines
	Reverse   []string        `json:"reverse"`   // zone lines, for who rents out the addresses
	Records   []dnsRecordView `json:"records"`
}

func (q *quickstart) view(cfg *config.Config, addrs []netip.Addr, records []mailauth.Record) quickstartView {
	v := quickstartView{Domain: q.address.Domain, Hostname: cfg.Hostname, Account: q.address.String(), Link: q.link, Config: q.file,
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

// program is how this program is called: by its name where that is found.
func (q *quickstart) program() string {
	self, err := os.Executable()
	if err != nil {
		return "posthouse"
	}
	if found, err := exec.LookPath("posthouse"); err == nil {
		if found, err = filepath.EvalSymlinks(found); err == nil && found == self {
			return "posthouse"
		}
	}
	return self
}

// at is what the other commands need to find this configuration.
func (q *quickstart) at() string {
	if q.Root == "" && q.con.place.Config == "" {
		return ""
	}
	return " --config " + q.file
}

// start is the command that starts the server: systemd's, where it runs and the
// unit is for it.
func (q *quickstart) start(cfg *config.Config) string {
	_, err := os.Stat("/run/systemd/system")
	switch {
	case q.inside != cfg.Data:
		return "`posthouse serve`, or its unit, where " + q.Root + " is the root"
	case q.at() == "" && err == nil:
		return "systemctl daemon-reload && systemctl enable --now posthouse"
	}
	return q.program() + " serve" + q.at()
}

// next says what is left to do.
func (q *quickstart) next(_ context.Context, cfg *config.Config) error {
	nodes, err := runningNodes(cfg.Data)
	if err != nil {
		return err
	}
	runs := ""
	if len(nodes) > 0 {
		runs = " (it runs)"
	}
	steps := []string{
		"Publish the DNS records above, and have the PTR record set.",
		"Start the server: " + q.start(cfg) + runs,
		"See that all is well: " + q.program() + " doctor" + q.at(),
	}
	if q.link != nil {
		url := q.link.URL
		if q.Format == "json" { // what is said goes to a log, maybe
			url = "password_link in the JSON"
		}
		steps = append(steps, fmt.Sprintf("Set the password of %s by this link, once, until %s; whoever has it can:\n     %s\n     Before DNS and certificate are there: %s account passwd %s%s",
			q.address, q.link.until(), url, q.program(), q.address, q.at()))
	}
	steps = append(steps,
		"In a mail program give "+q.address.String()+" and the password: it finds the rest by itself.",
		"Send a first mail and follow it: "+q.program()+" doctor send YOU@ELSEWHERE --from "+q.address.String()+q.at())
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
