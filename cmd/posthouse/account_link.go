package main

import (
	"context"
	"net"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/web/password"
)

// linkFlags are embedded by commands that make an account.
type linkFlags struct {
	Link    bool          `help:"Set no password, but print a link by which its owner sets one, once."`
	LinkFor time.Duration `help:"How long the link is good." default:"24h" placeholder:"TIME"`
}

// say makes a link and prints it. It is a secret until it has been used.
func (f linkFlags) say(ctx context.Context, con *console, s *site, addr mail.Address) error {
	return con.link(ctx, s, addr, f.LinkFor, false)
}

// passwordLink is a link as the commands show it.
type passwordLink struct {
	Account string    `json:"account"`
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// until is the end of a link's life, in the time of this machine.
func (l passwordLink) until() string { return l.Expires.Local().Format("2006-01-02 15:04") }

// passwordLink makes a link for an account.
func (s *site) passwordLink(ctx context.Context, addr mail.Address, valid time.Duration) (passwordLink, error) {
	base, err := s.linkBase()
	if err != nil {
		return passwordLink{}, err
	}
	token, expires, err := s.directory.MakeLink(ctx, addr, valid)
	return passwordLink{addr.String(), base + password.Path + token, expires}, err
}

// link makes a link for an account and prints it, or gives it as JSON.
func (con *console) link(ctx context.Context, s *site, addr mail.Address, valid time.Duration, asJSON bool) error {
	l, err := s.passwordLink(ctx, addr, valid)
	if err != nil {
		return err
	}
	if asJSON {
		return con.json(l)
	}
	return con.say("%s sets the password of %s, once, until %s: whoever has it can\n", l.URL, addr, l.until())
}

// linkBase is where the pages of this site are, without a slash at the end. In
// local mode they are where the running server listens.
func (s *site) linkBase() (string, error) {
	name, scheme, usual := config.HTTPS, "https://", "443"
	if s.config.Local {
		name, scheme, usual = config.HTTP, "http://", "80"
	}
	listen := s.config.Listen[name]
	nodes, err := runningNodes(s.config.Data)
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if at := n.Listen[name]; at != "" {
			listen = at
		}
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		host, port = "", usual // a proxy is in front
	}
	if scheme == "https://" {
		host = s.config.Hostname
	}
	if port == usual {
		return scheme + host, nil
	}
	return scheme + net.JoinHostPort(host, port), nil
}

type accountLinkCmd struct {
	Address string        `arg:"" help:"The address."`
	For     time.Duration `help:"How long the link is good." default:"24h" placeholder:"TIME"`
	listFlags
	changeFlags
}

func (c *accountLinkCmd) Run(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if c.DryRun {
		if _, _, err := s.directory.MakeLink(directory.DryRun(ctx), addr, c.For); err != nil {
			return explain(err, "account", c.Address)
		}
		return c.done(con, "", "make a link that sets the password of "+c.Address)
	}
	if err := con.link(ctx, s, addr, c.For, c.JSON); err != nil {
		return explain(err, "account", c.Address)
	}
	return nil
}
