package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/dns"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/mda"
	"posthouse/smtp/mailauth"
	"posthouse/smtp/queue"
	"posthouse/smtp/relay"
)

// outbound is what takes mail away.
type outbound struct {
	scheduler *queue.Scheduler
	reports   *mailauth.Reports
	outcomes  *outcomes
}

// send begins to empty the queue: the relay that knows the way, the reports on
// how TLS went there, and the scheduler that leads them.
func (s *server) send() (*outbound, error) {
	roots, err := s.cfg.Testing.Roots()
	if err != nil {
		return nil, err
	}
	o := &outbound{outcomes: gatherOutcomes(s.directory, s.log), reports: s.tlsReports(roots)}
	out := relay.New(relay.Config{
		Hostname: s.cfg.Hostname, Resolver: s.resolver, Port: s.cfg.Testing.RelayPort, Roots: roots, HTTPSPort: s.cfg.Testing.HTTPSPort,
		Self: self(s.cfg, s.ports), STS: mailauth.NewSTSCache(s.ground.pool), TLSReport: func(r relay.TLSResult) { o.reports.Add(tlsResult(r)) },
		SpoolDir: s.cfg.SpoolDir(), Log: s.log,
	})
	s.directory.Attach(directory.Hooks{OnRoutes: s.reroute, Verify: s.callout(out), Notify: s.notify})
	o.scheduler, err = s.queue.Start(queue.Sending{
		Dial: s.deliverer.Dial(dialWith(out)), Route: s.deliverer.Routes(routeFor(s.directory)), Bounce: s.deliverer.DeliverIn,
		Outcome: o.outcomes.add, Retry: s.cfg.Testing.Schedule(), Expire: time.Duration(s.cfg.Testing.Expire),
		Events: s.record, SpoolDir: s.cfg.SpoolDir(),
	})
	if err != nil {
		o.outcomes.close()
		return nil, errors.Join(err, o.reports.Close(context.Background()))
	}
	return o, nil
}

// tlsReports tell other domains how TLS to them went (RFC 8460).
func (s *server) tlsReports(roots *x509.CertPool) *mailauth.Reports {
	return mailauth.NewReports(mailauth.ReportsConfig{
		Pool: s.ground.pool, Keys: s.keys, SRS: s.srs, Resolver: s.resolver, From: reporter(s.cfg, s.directory), Log: s.log,
		Send: func(ctx context.Context, from, to mail.Address, text []byte) error {
			return s.hand(ctx, from, mail.Recipient{Address: to, Notify: mail.NotifyNever}, text, nil)
		},
		HTTP: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DialContext:     (&dns.Dialer{Resolver: s.resolver, HTTPSPort: s.cfg.Testing.HTTPSPort, Allow: abroad(s.cfg)}).DialContext,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		}},
	})
}

// reroute leads anew what waits when routes have changed.
func (s *server) reroute(ctx context.Context) {
	if err := s.queue.Reroute(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("routes changed, and what waits was not led anew; it goes the old way", "event", "queue.reroute", "err", err)
	}
}

// callout asks a primary about a recipient.
func (s *server) callout(out *relay.Relay) func(context.Context, string, mail.Address, mail.Address) directory.Verdict {
	return func(ctx context.Context, domain string, from, rcpt mail.Address) directory.Verdict {
		route, err := s.directory.RouteFor(ctx, from, domain)
		if err != nil {
			return directory.Verdict{Answer: directory.Later, Reply: err.Error()}
		}
		return verdict(out.Verify(ctx, *relayRoute(&route), from, rcpt))
	}
}

// notify delivers a notice of the directory's to a postmaster.
func (s *server) notify(ctx context.Context, to mail.Address, text []byte, inTx func(context.Context, pgx.Tx) error) error {
	return s.hand(ctx, mail.Address{}, mail.Recipient{Address: to}, text, inTx)
}

// hand delivers a message of the server's own, whole with its header; inTx, if
// there is one, in the same transaction.
func (s *server) hand(ctx context.Context, from mail.Address, to mail.Recipient, text []byte, inTx func(context.Context, pgx.Tx) error) error {
	body := spool.New("", len(text)+1)
	defer body.Close()
	if _, err := body.Write(text); err != nil {
		return fmt.Errorf("hand a message to %s: %w", to.Address, err)
	}
	in := &mail.Incoming{ID: mail.NewID(), Arrived: time.Now(), Envelope: mail.Envelope{From: from, Recipients: []mail.Recipient{to}}}
	return s.deliverer.DeliverIn(ctx, in, body, inTx)
}

// Shutdown lets what is being sent finish until ctx ends.
func (o *outbound) Shutdown(ctx context.Context) error {
	err := o.scheduler.Close(ctx)
	o.outcomes.close()
	return errors.Join(err, o.reports.Close(ctx))
}

// dialWith makes the relay's sessions and failures those of the queue.
func dialWith(out *relay.Relay) mda.DialFunc {
	return func(ctx context.Context, route relay.Route, need queue.Need) (queue.Connection, error) {
		s, err := out.Dial(ctx, route, relay.Need(need))
		if err != nil {
			return nil, dialError(err)
		}
		return s, nil
	}
}

// self reports whether a next hop is this server: one of its names, or an
// address and port that it listens on.
func self(c *config.Config, ports []listener) func(string, netip.AddrPort) bool {
	var ours []netip.AddrPort
	for _, p := range ports {
		if a, err := netip.ParseAddrPort(p.address()); err == nil && p.name == config.SMTP {
			ours = append(ours, a)
		}
	}
	return func(host string, addr netip.AddrPort) bool {
		if host == c.Hostname {
			return true
		}
		for _, a := range ours {
			if addr.Port() == a.Port() && (addr.Addr().Unmap() == a.Addr().Unmap() || a.Addr().IsUnspecified() && isInterface(addr.Addr())) {
				return true
			}
		}
		return false
	}
}

// tlsResult is how TLS went, in the words of the reports.
func tlsResult(r relay.TLSResult) mailauth.TLSResult {
	return mailauth.TLSResult{Domain: r.Domain, Policy: mailauth.TLSPolicy(r.Policy), Failure: r.Failure, Reason: r.Reason, Waived: r.Waived,
		MX: r.MX, Helo: r.Helo, Remote: r.Remote, Local: r.Local}
}

// reporter is whom reports on TLS are from: the postmaster of the domain that
// the host's name lies in, else of the first that others can know of.
func reporter(c *config.Config, dir *directory.Directory) func(context.Context) (mail.Address, error) {
	return func(ctx context.Context) (mail.Address, error) {
		domains, err := dir.Domains(ctx)
		if err != nil {
			return mail.Address{}, err
		}
		var from mail.Address
		for _, d := range domains {
			switch {
			case d.Name == c.Hostname || strings.HasSuffix(c.Hostname, "."+d.Name):
				return mail.Address{Local: "postmaster", Domain: d.Name}, nil
			case from.IsZero() && strings.Contains(d.Name, "."):
				from = mail.Address{Local: "postmaster", Domain: d.Name}
			}
		}
		return from, nil
	}
}

// dialError is the relay's failure in the queue's words.
func dialError(err error) error {
	f, ok := errors.AsType[*relay.Failure](err)
	if !ok {
		return err
	}
	return &queue.DialError{Result: f.Result, Refused: f.Refused}
}

// isInterface reports whether an address is one of this machine's.
func isInterface(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return a.IsLoopback()
	}
	for _, i := range list {
		if p, err := netip.ParsePrefix(i.String()); err == nil && p.Addr().Unmap() == a.Unmap() {
			return true
		}
	}
	return false
}

// abroad refuses addresses that are not on the Internet: where reports go to
// is for strangers to say, and what they name must not be asked behind our
// firewall. In local mode all there is is here.
func abroad(c *config.Config) func(netip.AddrPort) error {
	if c.Local {
		return nil
	}
	return func(a netip.AddrPort) error {
		if ip := a.Addr().Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() {
			return fmt.Errorf("%s is not an address on the Internet", a)
		}
		return nil
	}
}
