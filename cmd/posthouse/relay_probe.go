package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/smtp/relay"
)

type relayTestCmd struct {
	Name  string `arg:"" help:"The relay."`
	From  string `help:"With --to: ask whether it takes mail of this sender." placeholder:"ADDRESS"`
	To    string `help:"Ask whether it takes mail for this recipient; nothing is sent." placeholder:"ADDRESS"`
	DNS   string `name:"dns" help:"Ask this resolver." placeholder:"ADDR:PORT"`
	Trust string `help:"Believe these certificates, too." placeholder:"FILE"`
	listFlags
}

func (c *relayTestCmd) Help() string {
	return `Each next hop is tried by itself, up to the login. It ends with 1 where none of
them would take mail now.`
}

// hopView is what became of one next hop.
type hopView struct {
	Host    string `json:"host"`
	OK      bool   `json:"ok"`
	Remote  string `json:"remote,omitempty"`
	TLS     string `json:"tls,omitempty"`
	Stage   string `json:"stage,omitempty"` // at which it failed
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

func (c *relayTestCmd) Run(ctx context.Context, con *console) error {
	var from, to mail.Address
	var err error
	if c.From != "" && c.To == "" {
		return fail(exitUsage, "--from goes with --to")
	}
	if c.From != "" {
		if from, err = parseAddress(c.From); err != nil {
			return err
		}
	}
	if c.To != "" {
		if to, err = parseAddress(c.To); err != nil {
			return err
		}
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	route, err := s.directory.RelayRoute(ctx, c.Name)
	if err != nil {
		return noRelay(err, c.Name)
	}
	out, err := c.relay(s)
	if err != nil {
		return err
	}
	views := make([]hopView, len(route.Hosts))
	good := 0
	for i, h := range route.Hosts {
		one := relayRoute(&route)
		one.Hosts, one.Fallback = []relay.Host{relay.Host(h)}, nil
		views[i] = probe(ctx, out, *one, from, to)
		views[i].Host = h.String()
		if views[i].OK {
			good++
		}
	}
	if err := c.report(con, route, views); err != nil {
		return err
	}
	if good == 0 {
		return fail(exitFailed, "relay %s takes no mail", c.Name)
	}
	return nil
}

// relay is one like the server's.
func (c *relayTestCmd) relay(s *site) (*relay.Relay, error) {
	t, err := s.testing()
	if err != nil {
		return nil, err
	}
	t.DNS, t.Trust = cmp.Or(c.DNS, t.DNS), cmp.Or(c.Trust, t.Trust)
	roots, err := t.Roots()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler) // what happened is said below
	resolver, err := resolverFor(&config.Config{Testing: t}, log)
	if err != nil {
		return nil, err
	}
	return relay.New(relay.Config{Hostname: s.config.Hostname, Resolver: resolver, Port: t.RelayPort, Roots: roots, Log: log}), nil
}

// probe tries one next hop.
func probe(ctx context.Context, out *relay.Relay, route relay.Route, from, to mail.Address) hopView {
	if !to.IsZero() {
		r := out.Verify(ctx, route, from, to)
		return viewHop(r, r.Outcome == relay.Delivered)
	}
	session, err := out.Dial(ctx, route, relay.Need{})
	if f, ok := errors.AsType[*relay.Failure](err); ok {
		return viewHop(f.Result, false)
	}
	if err != nil {
		return hopView{Message: err.Error()}
	}
	defer session.Close()
	host, addr, secured := session.Peer()
	return hopView{OK: true, Remote: remoteHop(host, addr), TLS: secured}
}

func viewHop(r relay.Result, ok bool) hopView {
	v := hopView{OK: ok, TLS: r.TLS, Code: r.Code, Message: r.Text}
	if r.Addr.IsValid() {
		v.Remote = remoteHop(r.Host, r.Addr.String())
	}
	if !ok {
		v.Stage = r.Stage.String()
	}
	return v
}

// reply is what the host said, or what went wrong.
func (v hopView) reply() string {
	if v.Code == 0 {
		return v.Message
	}
	return strings.TrimSpace(strconv.Itoa(v.Code) + " " + v.Message)
}

// remoteHop names who answered; a socket has no address.
func remoteHop(host, addr string) string {
	if addr == "" || strings.HasPrefix(addr, host) {
		return or(addr, host)
	}
	return host + " (" + addr + ")"
}

func (c *relayTestCmd) report(con *console, route directory.Route, views []hopView) error {
	if c.JSON {
		return con.json(views)
	}
	rows := make([][]string, len(views))
	for i, v := range views {
		state := "ok"
		said := []string{or(v.TLS, "in clear")}
		if v.OK && route.Auth != nil {
			said = append(said, "logged in as "+route.Auth.User)
		}
		if v.OK && v.Message != "" {
			said = append(said, v.reply())
		}
		if !v.OK {
			state, said = "FAILED", []string{v.Stage + ": " + v.reply()}
		}
		rows[i] = []string{v.Host, state, or(v.Remote, "-"), strings.Join(said, ", ")}
	}
	return con.table("HOST STATE REMOTE DETAIL", rows)
}
