package config

import (
	"crypto/x509"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// LetsEncrypt is where a site's certificates come from unless it says otherwise.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// ACME says who issues the certificates of a site (RFC 8555).
type ACME struct {
	// Directory is the authority's URL; "off" orders none.
	Directory string `toml:"directory"`
	// Email is where the authority may write to.
	Email string `toml:"email"`
	// Roots is a PEM file that vouches for the authority's own certificate,
	// where it is a private one; empty: the system's roots.
	Roots string `toml:"roots"`
	// Addresses are the site's own, where its interfaces do not have them:
	// behind NAT or a load balancer. A name whose DNS leads elsewhere is not
	// ordered for.
	Addresses []netip.Addr `toml:"addresses"`
	// DNS writes the records of DNS-01 challenges. Without it the authority
	// asks our HTTP and HTTPS listeners.
	DNS DNSProvider `toml:"dns"`
}

// DNSProvider is who serves the site's zones, and how to change them: the
// settings are the provider's own, tokens and keys among them.
type DNSProvider struct {
	Provider string            `toml:"provider"`
	Settings map[string]string `toml:"settings"`
}

// Certificate is a chain of the operator's own with its key, in PEM files.
type Certificate struct {
	File string `toml:"file"`
	Key  string `toml:"key"`
}

// On reports whether certificates are ordered.
func (a *ACME) On() bool { return a.Directory != "" && a.Directory != "off" }

// RootPool are the certificates of Roots; nil without: the system's.
func (a *ACME) RootPool() (*x509.CertPool, error) {
	if a.Roots == "" {
		return nil, nil
	}
	text, err := os.ReadFile(a.Roots)
	if err != nil {
		return nil, errorf("[acme] roots: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errorf("[acme] roots: %s holds no certificate in PEM form", a.Roots)
	}
	return pool, nil
}

func (c *Config) checkCertificates() error {
	for _, own := range c.Certificates {
		if !filepath.IsAbs(own.File) || !filepath.IsAbs(own.Key) {
			return errorf("[[certificate]] file and key: give both as absolute paths")
		}
	}
	a := &c.ACME
	if !a.On() {
		return nil
	}
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return errorf("[acme] directory = %q: give the https URL of an authority's directory, or \"off\"", a.Directory)
	}
	if a.Email != "" && !strings.Contains(a.Email, "@") {
		return errorf("[acme] email = %q is not an address", a.Email)
	}
	if a.DNS.Provider == "" && len(a.DNS.Settings) > 0 {
		return errorf("[acme.dns] has settings and no provider")
	}
	_, err := a.RootPool()
	return err
}
