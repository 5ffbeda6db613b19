package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// This file brings each table of a document into the form in which export
// writes it.

func (d *docDomain) canonical() (err error) {
	if d.Name, err = mail.ParseDomain(d.Name); err != nil {
		return fmt.Errorf("domain: %w", err)
	}
	if err = canonicalTarget(&d.CatchAll); err == nil {
		err = canonicalTarget(&d.Postmaster)
	}
	d.MTASTS = unlessTesting(d.MTASTS)
	if err == nil && d.MTASTS != "" && !slices.Contains(directory.STSModes, d.MTASTS) {
		err = fmt.Errorf("mta_sts = %q: take testing, enforce or none", d.MTASTS)
	}
	return wrap(err, "domain %s", d.Name)
}

// stsTesting is the mode that a domain's MTA-STS policy has at first.
const stsTesting = "testing"

// unlessTesting is a mode as a document has it: nothing for the first one.
func unlessTesting(mode string) string {
	if mode == stsTesting {
		return ""
	}
	return mode
}

// canonicalTarget writes an address as it is written everywhere; an empty one stays.
func canonicalTarget(s *string) error {
	if *s == "" {
		return nil
	}
	a, err := mail.ParseAddress(*s)
	if err != nil {
		return fmt.Errorf("%q is not a mail address: %w", *s, err)
	}
	*s = a.String()
	return nil
}

// canonicalAddress is canonicalTarget for an address of ours, in which case
// makes no difference.
func canonicalAddress(s *string) error {
	if err := canonicalTarget(s); err != nil || *s == "" {
		return err
	}
	a, err := mail.ParseAddress(*s)
	*s = directory.Fold(a).String()
	return err
}

func (b *docBackup) canonical() error {
	d, err := b.backup()
	if err == nil {
		listed := b.Listed
		*b = backupDoc(d)
		for i := range listed {
			if err := canonicalAddress(&listed[i]); err != nil {
				return fmt.Errorf("backup domain %s: %w", b.Name, err)
			}
		}
		slices.Sort(listed)
		b.Listed = slices.Compact(listed)
	}
	return wrap(err, "backup domain %s", b.Name)
}

// backup is the table as the directory has it.
func (b *docBackup) backup() (directory.BackupDomain, error) {
	d := directory.BackupDomain{Name: b.Name, Recipients: directory.Recipients(b.Recipients)}
	for _, s := range b.Primary {
		h, err := directory.ParseHost(s)
		if err != nil {
			return d, err
		}
		d.Hosts = append(d.Hosts, h)
	}
	switch b.WhenDown {
	case "", "defer":
	case "accept":
		d.AcceptDown = true
	default:
		return d, fmt.Errorf("when_down %q: write defer or accept", b.WhenDown)
	}
	var err error
	if b.KnownFor != "" {
		d.KnownFor, err = config.ParseDuration(b.KnownFor)
	}
	if b.UnknownFor != "" && err == nil {
		d.UnknownFor, err = config.ParseDuration(b.UnknownFor)
	}
	if err != nil {
		return d, err
	}
	return d.Canonical()
}

func backupDoc(d directory.BackupDomain) docBackup {
	b := docBackup{Name: d.Name, Recipients: string(d.Recipients), WhenDown: "defer", KnownFor: d.KnownFor.String(), UnknownFor: d.UnknownFor.String()}
	if d.AcceptDown {
		b.WhenDown = "accept"
	}
	for _, h := range d.Hosts {
		b.Primary = append(b.Primary, h.String())
	}
	return b
}

func (a *docAccount) canonical() error {
	err := canonicalAddress(&a.Address)
	if err == nil && a.Address == "" {
		err = fmt.Errorf("the address is missing")
	}
	for _, v := range []*any{&a.Quota, &a.QuotaMessages} {
		var n *int64
		if err == nil {
			n, err = limitOfAny(*v)
		}
		switch {
		case n == nil:
			*v = nil
		case v == &a.Quota:
			*v = size(n)
		default:
			*v = *n
		}
	}
	for _, v := range []*any{&a.Hourly, &a.Daily} {
		if err == nil && *v != nil {
			err = canonicalLimit(v)
		}
	}
	if err == nil && a.Retention != "" {
		var r mail.Retention
		r, err = mail.ParseRetention(a.Retention)
		a.Retention = r.String()
	}
	if a.Retention == (mail.Retention{}).String() {
		a.Retention = ""
	}
	return wrap(err, "account %s", a.Address)
}

// limitOfAny reads a limit of a quota; nil is none.
func limitOfAny(v any) (*int64, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case int64:
		if v < 0 {
			return nil, fmt.Errorf("a quota of %d", v)
		}
		return &v, nil
	case string:
		var f sizeFlag
		err := f.UnmarshalText([]byte(v))
		return f.limit, err
	}
	return nil, fmt.Errorf("%v is not a limit: write a number, \"2G\" or \"none\"", v)
}

// canonicalLimit folds a number of recipients.
func canonicalLimit(v *any) error {
	switch n := (*v).(type) {
	case int64:
		if n >= 0 {
			return nil
		}
	case string:
		if n == "none" || n == "unlimited" {
			*v = "none"
			return nil
		}
		if i, err := strconv.ParseInt(n, 10, 32); err == nil && i >= 0 {
			*v = i
			return nil
		}
	}
	return fmt.Errorf("%v is not a limit: write a number or \"none\"", *v)
}

// recipients is the number of a canonical limit.
func recipients(v any) int {
	if n, ok := v.(int64); ok {
		return int(n)
	}
	return directory.Unlimited
}

func limitDoc(n int) any {
	if n < 0 {
		return "none"
	}
	return int64(n)
}

func (a *docAlias) canonical() error {
	err := canonicalAddress(&a.Address)
	for i := range a.Targets {
		if err == nil {
			err = canonicalTarget(&a.Targets[i])
		}
	}
	if err == nil && (a.Address == "" || len(a.Targets) == 0) {
		err = fmt.Errorf("an alias has an address and targets")
	}
	slices.Sort(a.Targets)
	a.Targets = slices.Compact(a.Targets)
	return wrap(err, "alias %s", a.Address)
}

func (r *docRelay) canonical() error {
	d, err := r.relay()
	if err == nil {
		file := r.PasswordFile
		*r = relayDoc(d)
		r.PasswordFile = file
	}
	return wrap(err, "relay %s", r.Name)
}

// relay is the table as the directory has it.
func (r *docRelay) relay() (directory.Relay, error) {
	d := directory.Relay{Name: r.Name, LMTP: r.LMTP, User: r.User, Fallback: strings.ToLower(r.Fallback)}
	for _, s := range r.Hosts {
		h, err := directory.ParseHost(s)
		if err != nil {
			return d, err
		}
		d.Hosts = append(d.Hosts, h)
	}
	d.TLS = directory.DefaultTLS(d.Hosts, d.User != "")
	var err error
	if r.TLS != "" {
		if d.TLS, err = directory.ParseTLSMode(r.TLS); err != nil {
			return d, err
		}
	}
	if d.Way, err = way(r.Source, r.SOCKS5, r.HELO); err != nil {
		return d, err
	}
	return d.Canonical()
}

func relayDoc(r directory.Relay) docRelay {
	d := docRelay{Name: r.Name, LMTP: r.LMTP, TLS: r.TLS.String(), User: r.User, Source: addrs(r.Source), SOCKS5: r.SOCKS5, HELO: r.HELO, Fallback: r.Fallback}
	for _, h := range r.Hosts {
		d.Hosts = append(d.Hosts, h.String())
	}
	return d
}

func way(source []string, socks5, helo string) (directory.Way, error) {
	w := directory.Way{SOCKS5: socks5, HELO: helo}
	for _, s := range source {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return w, fmt.Errorf("source: %w", err)
		}
		w.Source = append(w.Source, a)
	}
	return w, nil
}

func (r *docRoute) canonical() error {
	d, err := r.rule()
	if err == nil {
		*r = routeDoc(d)
	}
	return wrap(err, "route %q", r.Mail)
}

// rule is the table as the directory has it.
func (r *docRoute) rule() (directory.Rule, error) {
	side, pattern, _ := strings.Cut(strings.TrimSpace(r.Mail), " ")
	d := directory.Rule{Side: directory.Side(side), Pattern: strings.TrimSpace(pattern), Relay: strings.ToLower(r.Relay)}
	if d.Side != directory.AllMail && d.Side != directory.ToDomain && d.Side != directory.FromWhom {
		return d, fmt.Errorf("write mail = \"all\", \"to example.org\" or \"from example.org\"")
	}
	if d.Relay == "" {
		return d, fmt.Errorf("write relay = \"NAME\" or \"direct\"")
	}
	if d.Relay == "direct" {
		d.Relay = ""
	}
	var err error
	if d.Way, err = way(r.Source, r.SOCKS5, r.HELO); err != nil {
		return d, err
	}
	return d.Canonical()
}

func routeDoc(r directory.Rule) docRoute {
	return docRoute{Mail: r.String(), Relay: cmp.Or(r.Relay, "direct"), Source: addrs(r.Source), SOCKS5: r.SOCKS5, HELO: r.HELO}
}

func (h *docHook) canonical() error {
	kinds, err := parseKinds(h.Kinds, events.HookKinds)
	if err == nil && len(kinds) == 0 {
		err = fmt.Errorf("kinds is missing: name of what it is told")
	}
	h.Kinds = nil
	for _, k := range kinds {
		h.Kinds = append(h.Kinds, string(k))
	}
	slices.Sort(h.Kinds)
	h.Kinds = slices.Compact(h.Kinds)
	if err == nil {
		err = canonicalAddress(&h.Account)
	}
	return wrap(err, "hook %s", h.URL)
}
