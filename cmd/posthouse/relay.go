package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"posthouse/internal/directory"
)

type relayCmd struct {
	Add      relayAddCmd      `cmd:"" help:"Add a relay: a smarthost, a list of next hops, or an LMTP server."`
	List     relayListCmd     `cmd:"" help:"List the relays, and which mail takes them."`
	Show     relayShowCmd     `cmd:"" help:"Show a relay."`
	Rm       relayRmCmd       `cmd:"" help:"Remove a relay that no route leads to."`
	Route    relayRouteCmd    `cmd:"" help:"Send all mail, that to a domain, or that from a sender along a relay, or directly."`
	Unroute  relayUnrouteCmd  `cmd:"" help:"Undo route."`
	Fallback relayFallbackCmd `cmd:"" help:"Name the relay for what cannot be delivered directly."`
	Test     relayTestCmd     `cmd:"" help:"Connect to a relay, log in, and say what happened; nothing is sent."`
}

// relayView is a relay as the commands show it. Its password is shown nowhere.
type relayView struct {
	Name     string    `json:"name"`
	Hosts    []string  `json:"hosts"`
	Protocol string    `json:"protocol"`
	TLS      string    `json:"tls"`
	User     string    `json:"user,omitempty"`
	Source   []string  `json:"source,omitempty"`
	SOCKS5   string    `json:"socks5,omitempty"`
	HELO     string    `json:"helo,omitempty"`
	Fallback string    `json:"fallback,omitempty"`
	Created  time.Time `json:"created"`
}

func viewRelay(r directory.Relay) relayView {
	v := relayView{Name: r.Name, Protocol: "smtp", TLS: r.TLS.String(), User: r.User, Source: addrs(r.Source),
		SOCKS5: r.SOCKS5, HELO: r.HELO, Fallback: r.Fallback, Created: r.Created}
	if r.LMTP {
		v.Protocol = "lmtp"
	}
	for _, h := range r.Hosts {
		v.Hosts = append(v.Hosts, h.String())
	}
	return v
}

func addrs(list []netip.Addr) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// routeView is a route as the commands show it.
type routeView struct {
	Side    string   `json:"side"` // to, from or all
	Pattern string   `json:"pattern,omitempty"`
	Relay   string   `json:"relay"` // or direct
	Source  []string `json:"source,omitempty"`
	SOCKS5  string   `json:"socks5,omitempty"`
	HELO    string   `json:"helo,omitempty"`
}

func viewRule(r directory.Rule) routeView {
	return routeView{string(r.Side), r.Pattern, or(r.Relay, "direct"), addrs(r.Source), r.SOCKS5, r.HELO}
}

func viewRules(rules []directory.Rule) []routeView {
	views := make([]routeView, len(rules))
	for i, r := range rules {
		views[i] = viewRule(r)
	}
	return views
}

// mailOf names the mail that a rule is for.
func mailOf(r directory.Rule) string {
	switch r.Side {
	case directory.ToDomain:
		return "mail to " + r.Pattern
	case directory.FromWhom:
		return "mail from " + r.Pattern
	}
	return "all mail"
}

// leads says where a rule leads.
func leads(r directory.Rule) string {
	if r.Relay != "" {
		return "relay " + r.Relay
	}
	if w := r.Way.String(); w != "" {
		return "direct (" + strings.ReplaceAll(w, ",", ", ") + ")"
	}
	return "direct"
}

// noRelay is explain for relays.
func noRelay(err error, name string) error {
	if errors.Is(err, directory.ErrNotFound) {
		return fail(exitNotFound, "%w; `posthouse relay list` shows what there is", err)
	}
	return explain(err, "relay", name)
}

// wayFlags say how connections are made.
type wayFlags struct {
	Source []netip.Addr `help:"Local address to connect from; once for IPv4, once for IPv6." placeholder:"ADDR"`
	SOCKS5 string       `name:"socks5" help:"Connect through this SOCKS5 proxy." placeholder:"HOST:PORT"`
	HELO   string       `name:"helo" help:"Name to greet with, instead of the server's." placeholder:"NAME"`
}

func (f wayFlags) way() directory.Way {
	return directory.Way{Source: f.Source, SOCKS5: f.SOCKS5, HELO: f.HELO}
}

type relayAddCmd struct {
	Name  string   `arg:"" help:"What to call it: letters, digits, dots and hyphens."`
	Hosts []string `arg:"" name:"host" help:"Its next hops, tried in order: HOST or HOST:PORT. Without a port: 465 with --tls implicit, 587 with --user, else 25."`
	User  string   `help:"Log in with this name; the password is asked for." placeholder:"NAME"`
	passwordFlag
	TLS      string `name:"tls" help:"opportunistic (STARTTLS if offered), verified (STARTTLS with a valid certificate or nothing), implicit (TLS from the start, as on 465) or never. Default: implicit on 465, verified with --user, else opportunistic." placeholder:"MODE"`
	LMTP     bool   `name:"lmtp" help:"Speak LMTP."`
	Fallback string `help:"The relay to try when this one takes nothing." placeholder:"RELAY"`
	Replace  bool   `help:"Change the relay of this name; its routes stay."`
	wayFlags
	changeFlags
}

// relay is what the flags say.
func (c *relayAddCmd) relay() (directory.Relay, error) {
	r := directory.Relay{Name: c.Name, LMTP: c.LMTP, User: c.User, Way: c.way(), Fallback: strings.ToLower(c.Fallback)}
	for _, s := range c.Hosts {
		h, err := directory.ParseHost(s)
		if err != nil {
			return r, err
		}
		r.Hosts = append(r.Hosts, h)
	}
	r.TLS = directory.DefaultTLS(r.Hosts, r.User != "")
	if c.TLS != "" {
		var err error
		if r.TLS, err = directory.ParseTLSMode(c.TLS); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (c *relayAddCmd) Run(ctx context.Context, con *console) error {
	r, err := c.relay()
	if err != nil {
		return err
	}
	if c.PasswordStdin && c.User == "" {
		return fail(exitUsage, "--password-stdin goes with --user")
	}
	var password string
	if c.User != "" {
		if password, err = c.read(con, c.User+" at relay "+c.Name); err != nil {
			return err
		}
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if r, err = s.directory.AddRelay(c.context(ctx), r, password, c.Replace); err != nil {
		if !c.Replace && errors.Is(err, directory.ErrConflict) {
			return fail(exitConflict, "relay %s exists already; --replace changes it", c.Name)
		}
		return noRelay(err, c.Name)
	}
	if c.Replace {
		return c.doneRoutes(ctx, con, s, "relay "+r.Name+" changed", "change relay "+r.Name)
	}
	if err := c.done(con, "relay "+r.Name+" added", "add relay "+r.Name); err != nil || c.DryRun {
		return err
	}
	return con.say("no mail takes it yet: `posthouse relay route %s --all` sends everything there, --to and --from a part; `posthouse relay test %[1]s` tries it", r.Name)
}

type relayListCmd struct{ listFlags }

func (c *relayListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	relays, err := s.directory.Relays(ctx)
	if err != nil {
		return err
	}
	rules, err := s.directory.Rules(ctx)
	if err != nil {
		return err
	}
	fallback, err := s.directory.Fallback(ctx)
	if err != nil {
		return err
	}
	views := make([]relayView, len(relays))
	rows := make([][]string, len(relays))
	for i, r := range relays {
		v := viewRelay(r)
		views[i] = v
		rows[i] = []string{v.Name, strings.Join(v.Hosts, ", "), v.Protocol, v.TLS, or(v.User, "-"), or(v.Fallback, "-")}
	}
	if c.JSON {
		return con.json(struct {
			Relays   []relayView `json:"relays"`
			Routes   []routeView `json:"routes"`
			Fallback string      `json:"fallback,omitempty"`
		}{views, viewRules(rules), fallback})
	}
	if err := con.table("RELAY HOSTS PROTOCOL TLS USER FALLBACK", rows); err != nil {
		return err
	}
	if err := con.say(""); err != nil {
		return err
	}
	routes := make([][]string, len(rules), len(rules)+2)
	for i, r := range rules {
		routes[i] = []string{mailOf(r), leads(r)}
	}
	if !slices.ContainsFunc(rules, func(r directory.Rule) bool { return r.Side == directory.AllMail }) {
		routes = append(routes, []string{"all other mail", "direct, by MX records"})
	}
	routes = append(routes, []string{"what direct delivery cannot do", or(fallback, "waits, then bounces")})
	return con.table("MAIL TAKES", routes)
}

type relayShowCmd struct {
	Name string `arg:"" help:"The relay."`
	listFlags
}

func (c *relayShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	r, err := s.directory.Relay(ctx, c.Name)
	if err != nil {
		return noRelay(err, c.Name)
	}
	rules, err := s.directory.Rules(ctx)
	if err != nil {
		return err
	}
	rules = slices.DeleteFunc(rules, func(rule directory.Rule) bool { return rule.Relay != r.Name })
	v := viewRelay(r)
	if c.JSON {
		return con.json(struct {
			relayView
			Routes []routeView `json:"routes"`
		}{v, viewRules(rules)})
	}
	fields := [][2]string{
		{"relay", v.Name},
		{"hosts", strings.Join(v.Hosts, ", ")},
		{"protocol", v.Protocol},
		{"tls", v.TLS},
		{"user", or(v.User, "none: no login")},
		{"source", or(strings.Join(v.Source, ", "), "as the system chooses")},
		{"socks5", or(v.SOCKS5, "none")},
		{"helo", or(v.HELO, "the server's name")},
		{"fallback", or(v.Fallback, "none")},
	}
	for _, rule := range rules {
		fields = append(fields, [2]string{"taken by", mailOf(rule)})
	}
	return con.fields(fields)
}

type relayRmCmd struct {
	Name string `arg:"" help:"The relay."`
	changeFlags
}

func (c *relayRmCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.directory.RemoveRelay(c.context(ctx), c.Name); err != nil {
		return noRelay(err, c.Name)
	}
	return c.doneRoutes(ctx, con, s, "relay "+c.Name+" removed", "remove relay "+c.Name)
}
