package main

import (
	"context"
	"fmt"
	"strings"

	"posthouse/internal/directory"
	"posthouse/smtp/queue"
)

// routeFlags choose the mail that a route is for.
type routeFlags struct {
	All  bool   `help:"All mail that no other route is for." xor:"mail" required:""`
	To   string `help:"Mail to this domain; *.example.org is every domain below it." placeholder:"DOMAIN" xor:"mail" required:""`
	From string `help:"Mail whose sender is in this domain, or is this address." placeholder:"DOMAIN|ADDRESS" xor:"mail" required:""`
}

func (f routeFlags) rule() directory.Rule {
	switch {
	case f.To != "":
		return directory.Rule{Side: directory.ToDomain, Pattern: f.To}
	case f.From != "":
		return directory.Rule{Side: directory.FromWhom, Pattern: f.From}
	}
	return directory.Rule{Side: directory.AllMail}
}

type relayRouteCmd struct {
	Relay string `arg:"" help:"A relay, or direct: by the MX records of the recipient's domain."`
	routeFlags
	wayFlags
	changeFlags
}

func (c *relayRouteCmd) Help() string {
	return `A message takes the first route that fits: the one for its recipient's domain,
then for *.DOMAIN above that, for its sender's address, for its sender's domain,
for *.DOMAIN above that, for all mail; without any it goes directly.

--source, --helo and --socks5 are for direct routes: mail from a domain leaves
by an address of its own, for example. A relay has its own.`
}

func (c *relayRouteCmd) Run(ctx context.Context, con *console) error {
	r := c.rule()
	r.Way = c.way()
	if c.Relay != "direct" {
		r.Relay = c.Relay
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if r, err = s.directory.SetRule(c.context(ctx), r); err != nil {
		return noRelay(err, c.Relay)
	}
	return c.doneRoutes(ctx, con, s, mailOf(r)+" now takes: "+leads(r), "send "+mailOf(r)+" by: "+leads(r))
}

type relayUnrouteCmd struct {
	routeFlags
	changeFlags
}

func (c *relayUnrouteCmd) Run(ctx context.Context, con *console) error {
	r := c.rule()
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.directory.RemoveRule(c.context(ctx), r.Side, r.Pattern); err != nil {
		return noRelay(err, "")
	}
	return c.doneRoutes(ctx, con, s, "route for "+mailOf(r)+" removed", "remove the route for "+mailOf(r))
}

type relayFallbackCmd struct {
	Relay string `arg:"" help:"A relay, or none."`
	Of    string `help:"The fallback of this relay, instead of direct delivery's." placeholder:"RELAY"`
	changeFlags
}

func (c *relayFallbackCmd) Help() string {
	return `The fallback is tried when nobody at a destination takes a connection (port 25
is blocked, say) or those who do refuse this server. A destination that refuses
a recipient, or is busy, is not retried through it. Its own fallback does not
count then.`
}

func (c *relayFallbackCmd) Run(ctx context.Context, con *console) error {
	to := strings.ToLower(c.Relay)
	if to == "none" {
		to = ""
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.directory.SetFallback(c.context(ctx), c.Of, to); err != nil {
		return noRelay(err, c.Relay)
	}
	whose := "direct delivery"
	if c.Of != "" {
		whose = "relay " + c.Of
	}
	return c.doneRoutes(ctx, con, s, "fallback of "+whose+" is now "+or(to, "none"), "make the fallback of "+whose+" "+or(to, "none"))
}

// doneRoutes is done for what changes where mail goes: what waits already is
// sent the new way.
func (f changeFlags) doneRoutes(ctx context.Context, con *console, s *site, past, conditional string) error {
	if !f.DryRun {
		q := queue.New(queue.Config{Pool: s.pool, Key: s.directory.RouteKey})
		if err := q.Reroute(ctx); err != nil {
			return fmt.Errorf("%s, but what waits could not be sent the new way; servers that run do it by themselves: %w", past, err)
		}
	}
	return f.done(con, past, conditional)
}
