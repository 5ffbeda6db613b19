package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"

	"posthouse/internal/clientsetup"
	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/internal/mail"
	"posthouse/smtp/mailauth"
	"posthouse/web"
)

// resolverFor is the one resolver of the process.
func resolverFor(c *config.Config, log *slog.Logger) (*dns.Resolver, error) {
	server, err := c.Testing.Resolver()
	if err != nil {
		return nil, err
	}
	cfg := dns.Config{Log: log}
	if server.IsValid() {
		cfg.Servers = []netip.AddrPort{server}
	}
	return dns.New(cfg), nil
}

// reverse names a client by its PTR record, if that name leads back to it.
func reverse(r *dns.Resolver) func(context.Context, netip.Addr) string {
	return func(ctx context.Context, client netip.Addr) string {
		names, _, err := r.LookupAddr(ctx, client.String())
		if err != nil {
			return ""
		}
		for _, name := range names[:min(len(names), 3)] {
			addrs, _, err := r.Addresses(ctx, name)
			if err != nil {
				continue
			}
			for _, a := range addrs {
				if a.Unmap() == client.Unmap() {
					return strings.TrimSuffix(name, ".")
				}
			}
		}
		return ""
	}
}

// setup tells mail programs how to reach this server, and other servers the
// policy of its domains.
func (s *server) setup() web.Setup {
	listeners := make(map[string]string)
	for _, p := range s.ports {
		listeners[p.name] = p.address()
	}
	return web.Setup{
		Hostname: s.cfg.Hostname, Services: clientsetup.Services(s.cfg.Hostname, listeners), Local: s.directory.LocalDomain,
		Sign: s.certificates.signProfile(s.cfg.Hostname), STSPolicy: s.policy,
	}
}

// policy is the MTA-STS policy of a domain of this site.
func (s *server) policy(ctx context.Context, domain string) (string, error) {
	mode, _, err := s.directory.STSMode(ctx, domain)
	return mailauth.STSPolicy(mode, []string{s.cfg.Hostname}), err
}

// addresses looks up a host for those who connect by themselves.
func addresses(r *dns.Resolver) func(context.Context, string) ([]netip.Addr, error) {
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		list, _, err := r.Addresses(ctx, host)
		return list, err
	}
}

// returnPath gives the sender that a rewritten one stands for: the zero address
// for an ordinary one.
func returnPath(srs *mailauth.SRS) func(context.Context, mail.Address) (mail.Address, error) {
	return func(ctx context.Context, rcpt mail.Address) (mail.Address, error) {
		back, err := srs.Reverse(ctx, rcpt)
		switch {
		case errors.Is(err, mailauth.ErrNotSRS):
			return mail.Address{}, nil
		case errors.Is(err, mailauth.ErrSRS):
			return mail.Address{}, mail.Refuse(550, mail.Enhanced{5, 1, 1}, "This return path was not given out here, or is too old")
		}
		return back, err
	}
}
