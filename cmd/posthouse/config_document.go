package main

import (
	"bytes"
	"fmt"

	"github.com/pelletier/go-toml/v2"
)

// document is the configuration that lives in the database, as one TOML file.
// What is left out of a table has its default; a [limits] or [routing] that is
// left out as a whole stays as it is. There are no secrets in it: passwords and
// keys are neither written nor compared. Rights in mailboxes are not in it: people
// give them by their mail programs, too, and a document would take these away.
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
	Issuers  []docIssuer  `toml:"issuer,omitempty"`
	Masks    []docMask    `toml:"imap_mask,omitempty"`
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
	MTASTS     string `toml:"mta_sts,omitempty"` // mode of the policy; none given: testing
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
	Shared        bool   `toml:"shared,omitempty"` // nobody logs in to it
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
		each(d.Hooks, (*docHook).canonical), each(d.Issuers, (*docIssuer).canonical), each(d.Masks, (*docMask).canonical),
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
