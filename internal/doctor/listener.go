package doctor

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"posthouse/internal/config"
)

// service is what a listener speaks.
type service struct {
	name     string
	protocol Protocol
	implicit bool // TLS from the first octet
	login    bool // clients log in there
}

var services = []service{
	{config.SMTP, SMTP, false, false},
	{config.Submission, SMTP, false, true},
	{config.Submissions, SMTP, true, true},
	{config.IMAP, IMAP, false, true},
	{config.IMAPS, IMAP, true, true},
	{config.POP3, POP3, false, true},
	{config.POP3S, POP3, true, true},
}

// reach are the addresses at which to try a listener: first as the world finds
// it, by the host's name, then on this machine. outer says how many are the
// world's.
func (p *Patient) reach(ctx context.Context, name string) (list []string, outer int) {
	host, port, err := net.SplitHostPort(p.Listen[name])
	if err != nil {
		return nil, 0
	}
	bound, err := netip.ParseAddr(host)
	if err != nil {
		return []string{p.Listen[name]}, 0
	}
	if !bound.IsLoopback() { // else nobody out there is meant
		if found, err := p.hostAddresses(ctx); err == nil {
			for _, a := range found {
				list = append(list, net.JoinHostPort(a.String(), port))
			}
		}
		outer = len(list)
	}
	if bound.IsUnspecified() {
		host = "127.0.0.1"
		if bound.Is6() && !slices.Contains(list, "127.0.0.1:"+port) {
			return append(list, "127.0.0.1:"+port, "[::1]:"+port), outer
		}
	}
	return append(list, net.JoinHostPort(host, port)), outer
}

// open connects to a listener from as far outside as can be.
func (p *Patient) open(ctx context.Context, s service, f *findings) (*Talk, error) {
	list, outer := p.reach(ctx, s.name)
	var first error
	for i, addr := range list {
		t := &Talk{Protocol: s.protocol, Host: p.Config.Hostname, Roots: p.Roots}
		err := t.Open(ctx, addr, s.implicit)
		if err == nil {
			if f != nil && outer > 0 && i >= outer {
				f.add(Warning, s.name, "open the port in the firewall; behind NAT, forward it, and try from outside with: posthouse doctor connect "+s.url(p.Config.Hostname),
					"it answers on this machine (%s), and not at %s: %v", addr, list[0], first)
			}
			return t, nil
		}
		t.Close()
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func (s service) url(host string) string {
	scheme := map[string]string{config.Submission: "submission", config.Submissions: "submissions"}[s.name]
	if scheme == "" {
		scheme = s.name
	}
	return scheme + "://" + host
}

// listeners talks with each listener as a client does.
func (p *Patient) listeners(ctx context.Context, f *findings) {
	if len(p.Listen) == 0 {
		f.add(Error, "server", "systemctl start posthouse, or: posthouse serve", "no server runs on this data folder")
		return
	}
	for _, s := range services {
		if p.Listen[s.name] == "" {
			continue
		}
		t, err := p.open(ctx, s, f)
		if err != nil {
			f.add(Error, s.name, "journalctl -u posthouse; and look who has the port: ss -ltnp", "nobody answers at %s: %v", p.Listen[s.name], err)
			continue
		}
		p.listener(ctx, f, s, t)
		t.Close()
	}
}

func (p *Patient) listener(ctx context.Context, f *findings, s service, t *Talk) {
	broken := func(what string, err error) { f.add(Error, s.name, "journalctl -u posthouse", "%s: %v", what, err) }
	hello, err := t.Greeting()
	if err != nil || !hello.OK {
		f.add(Error, s.name, "journalctl -u posthouse", "its greeting is no welcome: %q %v", hello.Last(), err)
		return
	}
	if s.protocol == SMTP && !strings.Contains(strings.ToLower(hello.Lines[0]), p.Config.Hostname) {
		f.add(Warning, s.name, "look what else listens on "+p.Listen[s.name], "its greeting does not name %s: %q", p.Config.Hostname, hello.Lines[0])
	}
	words, err := t.Capabilities("doctor." + p.Config.Hostname)
	if err != nil {
		broken("it does not say what it can", err)
		return
	}
	if !s.implicit {
		if offersLogin(s.protocol, words) && !p.Config.Local {
			f.add(Error, s.name, "run it as a site (posthouse serve --config), which never does", "passwords can be sent in clear: it offers to log in before TLS")
		}
		if !has(words, "STARTTLS") && !has(words, "STLS") {
			f.add(Error, s.name, "journalctl -u posthouse", "it does not offer STARTTLS")
			return
		}
		if err := t.StartTLS(ctx); err != nil {
			broken("TLS does not begin", err)
			return
		}
		if words, err = t.Capabilities("doctor." + p.Config.Hostname); err != nil {
			broken("under TLS it does not say what it can", err)
			return
		}
	}
	if s.login && !offersLogin(s.protocol, words) {
		f.add(Error, s.name, "journalctl -u posthouse", "nobody can log in: it offers no way to, under TLS either")
		return
	}
	t.Quit()
	f.ok(s.name, "answers at %s", p.Listen[s.name])
}

// offersLogin reports whether a client that sees these words would send its
// password now.
func offersLogin(p Protocol, words []string) bool {
	switch p {
	case IMAP:
		return !has(words, "LOGINDISABLED") || slices.ContainsFunc(words, func(w string) bool { return w == "AUTH=PLAIN" || w == "AUTH=LOGIN" })
	case POP3:
		return has(words, "USER") || has(words, "SASL")
	}
	return has(words, "AUTH")
}

// forms are recipients elsewhere, in the ways in which relays have been tricked.
var forms = []string{"postmaster@example.net", "postmaster%example.net@HOST", `"postmaster@example.net"@HOST`, "example.net!postmaster@HOST", "@HOST:postmaster@example.net"}

// relaying asks the SMTP listener to take mail for others without a login. It
// must not: a server that does is abused within hours, and then believed by
// nobody.
func (p *Patient) relaying(ctx context.Context, f *findings) {
	if p.Listen[config.SMTP] == "" {
		return
	}
	t, err := p.open(ctx, services[0], nil)
	if err != nil {
		return // the listener's check says so
	}
	defer t.Close()
	if r, err := t.Greeting(); err != nil || !r.OK {
		return
	}
	if _, err := t.Capabilities("doctor." + p.Config.Hostname); err != nil {
		return
	}
	if r, err := t.Command("MAIL FROM:<>", ""); err != nil || !r.OK {
		f.add(Note, config.SMTP, "", "whether it relays was not asked: MAIL FROM:<> is answered %q %v", r.Last(), err)
		return
	}
	taken := 0
	for _, form := range forms {
		rcpt := strings.ReplaceAll(form, "HOST", p.Config.Hostname)
		r, err := t.Command("RCPT TO:<"+rcpt+">", "")
		if err != nil {
			f.add(Note, config.SMTP, "", "whether it relays was not asked to the end: %v", err)
			return
		}
		if r.OK {
			taken++
			f.add(Error, config.SMTP, "stop it (systemctl stop posthouse), then look at: posthouse domain backup list, posthouse alias list", "it relays: mail for %s is taken from strangers: %q", rcpt, r.Last())
		}
	}
	t.Quit()
	if taken == 0 {
		f.ok(config.SMTP, "relays for nobody who has not logged in")
	}
}
