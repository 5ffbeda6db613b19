package main

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"posthouse/internal/clientsetup"
	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/dns"
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
func setup(c *config.Config, dir *directory.Directory, certificates *certificates, ports []listener) web.Setup {
	listeners := make(map[string]string)
	for _, p := range ports {
		listeners[p.name] = p.address()
	}
	return web.Setup{
		Hostname: c.Hostname, Services: clientsetup.Services(c.Hostname, listeners), Local: dir.LocalDomain,
		Sign: certificates.signProfile(c.Hostname), STSPolicy: mailauth.STSPolicy([]string{c.Hostname}),
	}
}
