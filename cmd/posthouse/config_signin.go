package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

// This file has the tables of a document that are about signing in: issuers of
// tokens, and what IMAP does not tell some programs.

type docIssuer struct {
	Name       string   `toml:"name"`
	URL        string   `toml:"url"`
	Audiences  []string `toml:"audiences"`
	Claim      string   `toml:"claim,omitempty"`
	Unverified bool     `toml:"unverified,omitempty"`
	Domains    []string `toml:"domains,omitempty"`    // none: all
	Algorithms []string `toml:"algorithms,omitempty"` // none: the usual ones
	Scope      string   `toml:"scope,omitempty"`
	Skew       string   `toml:"skew,omitempty"`
	Insecure   bool     `toml:"insecure,omitempty"`
	Introspect bool     `toml:"introspect,omitempty"`
	Endpoint   string   `toml:"endpoint,omitempty"`
	ClientID   string   `toml:"client_id,omitempty"`
	SecretFile string   `toml:"secret_file,omitempty"` // read where the issuer is new or its client another; never written
}

type docMask struct {
	Account string   `toml:"account,omitempty"` // none: all
	Client  string   `toml:"client,omitempty"`  // none: every program
	Hide    []string `toml:"hide"`
}

func (i *docIssuer) id() string { return "issuer " + i.Name }

func (m *docMask) id() string {
	id := "imap_mask"
	if m.Client != "" {
		id += " " + m.Client
	}
	if m.Account != "" {
		id += " of " + m.Account
	}
	return id
}

func (i *docIssuer) canonical() error {
	d, err := i.issuer()
	if err == nil {
		file := i.SecretFile
		*i = issuerDoc(d)
		i.SecretFile = file
	}
	return wrap(err, "issuer %s", i.Name)
}

// issuer is the table as the directory has it.
func (i *docIssuer) issuer() (directory.Issuer, error) {
	d := directory.Issuer{Name: i.Name, URL: i.URL, Audiences: i.Audiences, Claim: i.Claim, Unverified: i.Unverified, Domains: i.Domains,
		Algorithms: i.Algorithms, Scope: i.Scope, Insecure: i.Insecure, Introspect: i.Introspect, IntrospectURL: i.Endpoint, ClientID: i.ClientID}
	if i.Skew != "" {
		var err error
		if d.Skew, err = config.ParseDuration(i.Skew); err != nil {
			return d, fmt.Errorf("skew: %w", err)
		}
	}
	return d.Canonical()
}

func issuerDoc(i directory.Issuer) docIssuer {
	return docIssuer{Name: i.Name, URL: i.URL, Audiences: i.Audiences, Claim: i.Claim, Unverified: i.Unverified, Domains: i.Domains, Algorithms: i.Algorithms,
		Scope: i.Scope, Skew: i.Skew.String(), Insecure: i.Insecure, Introspect: i.Introspect, Endpoint: i.IntrospectURL, ClientID: i.ClientID}
}

func (m *docMask) canonical() error {
	d, err := directory.Mask{Client: m.Client, Capabilities: m.Hide}.Canonical()
	if err == nil {
		m.Client, m.Hide = d.Client, d.Capabilities
		err = canonicalAddress(&m.Account)
	}
	switch {
	case err != nil:
	case m.Account == "" && m.Client == "":
		err = fmt.Errorf("name an account, a client, or both")
	case len(m.Hide) == 0:
		err = fmt.Errorf("hide is missing: name what is hidden")
	}
	return wrap(err, "%s", m.id())
}

func (s *site) storedSignin(ctx context.Context, d *document) error {
	issuers, err := s.directory.Issuers(ctx)
	if err != nil {
		return err
	}
	for _, i := range issuers {
		d.Issuers = append(d.Issuers, issuerDoc(i))
	}
	masks, err := s.directory.Masks(ctx, mail.Address{})
	for _, m := range masks {
		d.Masks = append(d.Masks, docMask{m.Account, m.Client, m.Capabilities})
	}
	return err
}

// issuer adds or changes an issuer. One whose client is the same keeps its secret,
// unless a file names another.
func (a *applier) issuer(ctx context.Context, have object, o *docIssuer) error {
	i, err := o.issuer()
	if err != nil {
		return err
	}
	was, _ := have.(*docIssuer)
	secret := ""
	if i.Introspect && (was == nil || was.ClientID != i.ClientID || o.SecretFile != "") {
		if o.SecretFile == "" {
			return fail(exitConfig, "the secret of client %s is not known: name a file that holds it (secret_file), or add the issuer with `posthouse issuer add`", o.ClientID)
		}
		if secret, err = secretIn(o.SecretFile); err != nil {
			return err
		}
	}
	_, err = a.site.directory.AddIssuer(ctx, i, secret, was != nil)
	return err
}

// mask hides what a table says; nothing, where it is to go.
func (a *applier) mask(ctx context.Context, o *docMask, hide []string) error {
	addr, err := parsed(o.Account)
	if err != nil {
		return err
	}
	return a.site.directory.SetMask(ctx, addr, o.Client, hide)
}

// bare is a table without what is nothing to compare: where secrets are read.
func bare(o object) object {
	switch o := o.(type) {
	case *docRelay:
		r := *o
		r.PasswordFile = ""
		return &r
	case *docIssuer:
		i := *o
		i.SecretFile = ""
		return &i
	}
	return o
}

// secretIn reads a secret from a file.
func secretIn(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, "\r"), nil
}
