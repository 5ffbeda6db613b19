package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/tls/certs"
	"posthouse/web"
)

// certificates are those of all listeners, from everywhere they come from.
type certificates struct {
	*certs.Certificates
	local *certs.Local
	acme  *certs.ACME // nil: none are ordered
}

// openCertificates makes sure that every listener has a certificate, and begins
// to order better ones where the configuration says so.
func openCertificates(ctx context.Context, s *server) (*certificates, error) {
	c := s.cfg
	local, err := certs.OpenLocal(ctx, c.CADir(), c.Hostname, domainNames(s.directory), s.log)
	if err != nil {
		return nil, err
	}
	all := &certificates{local: local}
	if c.ACME.On() {
		if all.acme, err = orderCertificates(ctx, s); err != nil {
			return nil, err
		}
	}
	if all.Certificates, err = certs.Open(local, all.acme, ownFiles(c), s.ground.key, s.ground.name(), s.log); err != nil {
		if all.acme != nil {
			all.acme.Close()
		}
		return nil, fail(exitConfig, "%w", err)
	}
	return all, nil
}

// Close ends what goes on in the background.
func (a *certificates) Close() {
	a.Certificates.Close()
	if a.acme != nil {
		a.acme.Close()
	}
}

func orderCertificates(ctx context.Context, s *server) (*certs.ACME, error) {
	c := s.cfg
	roots, err := c.ACME.RootPool()
	if err != nil {
		return nil, err
	}
	cfg := certs.ACMEConfig{
		Pool: s.ground.pool, Key: s.ground.key, Hostname: c.Hostname, Email: c.ACME.Email, CA: c.ACME.Directory, Roots: roots,
		Resolver: c.Testing.DNS, Domains: domainNames(s.directory), Addresses: c.ACME.Addresses, Log: s.log,
		Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			list, _, err := s.resolver.Addresses(ctx, name)
			if dns.IsNotFound(err) {
				return nil, nil
			}
			return list, err
		},
	}
	for _, p := range s.ports {
		switch p.name {
		case config.HTTP:
			cfg.HTTPPort = portOf(p)
		case config.HTTPS:
			cfg.TLSPort = portOf(p)
		}
	}
	if name := c.ACME.DNS.Provider; name != "" {
		if cfg.DNS, err = certs.DNSProvider(name, c.ACME.DNS.Settings); err != nil {
			return nil, fail(exitConfig, "%w", err)
		}
		if c.Testing.DNS != "" {
			cfg.DNSResolvers = []string{c.Testing.DNS}
		}
	}
	acme, err := certs.OpenACME(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("prepare to order certificates: %w", err)
	}
	return acme, nil
}

// portOf is the number of a listener's port.
func portOf(p listener) int {
	_, port, err := net.SplitHostPort(p.address())
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// challenges answers the authority on the HTTP listener.
func (a *certificates) challenges() func(http.Handler) http.Handler {
	if a.acme == nil {
		return nil
	}
	return a.acme.Challenges
}

// signProfile signs Apple's configuration profiles with the certificate of the
// host's name.
func (a *certificates) signProfile(hostname string) func([]byte) ([]byte, error) {
	return func(profile []byte) ([]byte, error) {
		cert, err := a.Certificates.Of(hostname)
		if err != nil {
			return nil, err
		}
		return web.SignProfile(profile, cert)
	}
}
