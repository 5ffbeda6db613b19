package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// document is the configuration that lives in the database, as one TOML file.
// What is left out of a table has its default; a [limits] or [routing] that is
// left out as a whole stays as it is. There are no secrets in it: passwords and
// keys are neither written nor compared.
type document struct {
	Limits   *docLimits   `toml:"limits,omitempty"`
	Domains  []docDomain  `toml:"domain,omitempty"`
	Backups  []docBackup  `toml:"backup,omitempty"`
	Accounts []docAccount `toml:"account,omitempty"`
	Aliases  []docAlias   `toml:"alias,omitempty"`
	Relays   []docRelay   `toml:"relay,omitempty"`
	Routing  *docRouting  `toml:"routing,omitempty"`
	Routes   []docRoute   `toml:"route,omitempty"`
	Hooks    []docHook    `toml:"hook,omitempty"`
}

// docLimits are the recipients that an account writes to, where it has no
// limits of its own.
type docLimits struct {
	Hourly any `toml:"hourly"` // a number or "none"
	Daily  any `toml:"daily"`
}

type docDomain struct {
	Name       string `toml:"name"`
	CatchAll   string `toml:"catch_all,omitempty"`
	Postmaster string `toml:"postmaster,omitempty"`
}

type docBackup struct {
	Name       string   `toml:"name"`
	Primary    []string `toml:"primary,omitempty"` // none: by MX records
	Recipients string   `toml:"recipients,omitempty"`
	WhenDown   string   `toml:"when_down,omitempty"` // defer or accept
	KnownFor   string   `toml:"known_for,omitempty"`
	UnknownFor string   `toml:"unknown_for,omitempty"`
	Listed     []string `toml:"listed,omitempty"`
}

type docAccount struct {
	Address       string `toml:"address"`
	Disabled      bool   `toml:"disabled,omitempty"`
	Quota         any    `toml:"quota,omitempty"` // "2G", a number of octets, or none
	QuotaMessages any    `toml:"quota_messages,omitempty"`
	Retention     string `toml:"retention,omitempty"`
	Pop3MarksSeen bool   `toml:"pop3_marks_seen,omitempty"`
	Hourly        any    `toml:"hourly,omitempty"` // its own limits: a number or "none"
	Daily         any    `toml:"daily,omitempty"`
}

type docAlias struct {
	Address string   `toml:"address"`
	Targets []string `toml:"targets"`
}

type docRelay struct {
	Name         string   `toml:"name"`
	Hosts        []string `toml:"hosts"`
	LMTP         bool     `toml:"lmtp,omitempty"`
	TLS          string   `toml:"tls,omitempty"`
	User         string   `toml:"user,omitempty"`
	PasswordFile string   `toml:"password_file,omitempty"` // read where the relay is new or its user another; never written
	Source       []string `toml:"source,omitempty"`
	SOCKS5       string   `toml:"socks5,omitempty"`
	HELO         string   `toml:"helo,omitempty"`
	Fallback     string   `toml:"fallback,omitempty"`
}

type docRouting struct {
	Fallback string `toml:"fallback"` // of direct delivery; "" is none
}

type docRoute struct {
	Mail   string   `toml:"mail"`  // "all", "to example.org", "from example.org"
	Relay  string   `toml:"relay"` // or "direct"
	Source []string `toml:"source,omitempty"`
	SOCKS5 string   `toml:"socks5,omitempty"`
	HELO   string   `toml:"helo,omitempty"`
}

type docHook struct {
	URL          string   `toml:"url"`
	Kinds        []string `toml:"kinds"`
	Account      string   `toml:"account,omitempty"`
	AllowPrivate bool     `toml:"allow_private,omitempty"`
}

// parseDocument reads a document strictly and brings it into the form in which
// export writes it.
func parseDocument(text []byte) (*document, error) {
	var d document
	dec := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		if strict, ok := err.(*toml.StrictMissingError); ok {
			return nil, fail(exitConfig, "unknown keys:\n%s", strict.String())
		}
		if bad, ok := err.(*toml.DecodeError); ok {
			row, column := bad.Position()
			return nil, fail(exitConfig, "line %d, column %d: %w", row, column, err)
		}
		return nil, fail(exitConfig, "%w", err)
	}
	if err := d.canonical(); err != nil {
		return nil, fail(exitConfig, "%w", err)
	}
	return &d, nil
}

// canonical folds what may be written in several ways.
func (d *document) canonical() error {
	if d.Limits != nil {
		for _, v := range []*any{&d.Limits.Hourly, &d.Limits.Daily} {
			if *v == nil {
				return fmt.Errorf("limits: give both hourly and daily, a number or \"none\"")
			}
			if err := canonicalLimit(v); err != nil {
				return fmt.Errorf("limits: %w", err)
			}
		}
	}
	for _, err := range []error{
		each(d.Domains, (*docDomain).canonical), each(d.Backups, (*docBackup).canonical), each(d.Accounts, (*docAccount).canonical),
		each(d.Aliases, (*docAlias).canonical), each(d.Relays, (*docRelay).canonical), each(d.Routes, (*docRoute).canonical),
		each(d.Hooks, (*docHook).canonical),
	} {
		if err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, o := range d.objects() {
		if seen[o.id()] {
			return fmt.Errorf("%s stands there twice", o.id())
		}
		seen[o.id()] = true
	}
	return nil
}

func each[T any](list []T, fn func(*T) error) error {
	for i := range list {
		if err := fn(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *docDomain) canonical() (err error) {
	if d.Name, err = mail.ParseDomain(d.Name); err != nil {
		return fmt.Errorf("domain: %w", err)
	}
	if err = canonicalTarget(&d.CatchAll); err == nil {
		err = canonicalTarget(&d.Postmaster)
	}
	return wrap(err, "domain %s", d.Name)
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
