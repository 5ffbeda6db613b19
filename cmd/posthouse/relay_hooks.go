package main

import (
	"context"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/smtp/relay"
)

// The directory says where mail goes in words of its own: it stands below the
// relay. Here they become the relay's.

// routeFor answers the queue's question.
func routeFor(dir *directory.Directory) func(context.Context, mail.Address, string) (relay.Route, error) {
	return func(ctx context.Context, sender mail.Address, domain string) (relay.Route, error) {
		r, err := dir.RouteFor(ctx, sender, domain)
		if err != nil {
			return relay.Route{}, err
		}
		return *relayRoute(&r), nil
	}
}

// relayRoute is the same route to the relay. The TLS modes have one order in both.
func relayRoute(r *directory.Route) *relay.Route {
	if r == nil {
		return nil
	}
	to := &relay.Route{Key: r.Key, Domain: r.Domain, LMTP: r.LMTP, TLS: relay.TLSMode(r.TLS),
		Source: r.Source, HELO: r.HELO, SOCKS5: r.SOCKS5, Auth: (*relay.Login)(r.Auth), Fallback: relayRoute(r.Fallback)}
	for _, h := range r.Hosts {
		to.Hosts = append(to.Hosts, relay.Host(h))
	}
	return to
}

// verdict is what the answer to a callout says of its recipient. A 5.7 is about
// us (RFC 3463 §3.8) and a refusal before RCPT about anybody: neither says that
// the recipient does not exist.
func verdict(r relay.Result) directory.Verdict {
	v := directory.Verdict{Reply: r.Text}
	switch {
	case r.Outcome == relay.Delivered:
		v.Answer = directory.Known
	case r.Stage < relay.StageRcpt:
		v.Answer = directory.Away
	case r.Outcome == relay.Failed && r.Enhanced[1] != 7:
		v.Answer = directory.Unknown
	default:
		v.Answer = directory.Later
	}
	return v
}
