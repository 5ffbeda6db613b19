package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/internal/doctor"
)

type doctorConnectCmd struct {
	URL           string `arg:"" help:"Where to: smtp://, submission://, submissions://, imap://, imaps://, pop3:// or pop3s://, then [USER@]HOST[:PORT]." placeholder:"URL"`
	PasswordStdin bool   `help:"Read the user's password from standard input instead of asking."`
	To            string `help:"SMTP: ask whether mail for this address is taken; nothing is sent." placeholder:"ADDRESS"`
	DNS           string `name:"dns" help:"Ask this DNS server instead of the system's." placeholder:"ADDR:PORT"`
	Trust         string `help:"Believe the certificates in this PEM file, too: that of a local authority." placeholder:"FILE"`
	listFlags
}

func (c *doctorConnectCmd) Help() string {
	return `Connects as a mail program would, switches to TLS, and logs in when a user is
named (USER may hold an @). What the server says is printed with its meaning. When
nobody answers, the other ports of the protocol are tried. A password is sent only
under TLS and to a server whose certificate can be trusted. It ends with 1 when
something does not work. No server of ours is needed.`
}

// scheme is how a URL's scheme is spoken. port is where such a server listens
// when the URL names none.
type scheme struct {
	name     string
	protocol doctor.Protocol
	implicit bool
	port     int
}

var schemes = []scheme{
	{"smtp", doctor.SMTP, false, 25}, {"submission", doctor.SMTP, false, 587}, {"submissions", doctor.SMTP, true, 465}, {"smtps", doctor.SMTP, true, 465},
	{"imap", doctor.IMAP, false, 143}, {"imaps", doctor.IMAP, true, 993},
	{"pop3", doctor.POP3, false, 110}, {"pop3s", doctor.POP3, true, 995},
	// Where a provider blocks 25 and 587.
	{"alternate submission", doctor.SMTP, false, 2525},
}

// target is a URL of the command line.
type target struct {
	scheme
	user, host string
	port       int
}

func parseTarget(s string) (target, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return target{}, fail(exitUsage, "%q is no URL: write smtp://HOST, imaps://USER@HOST or the like", s)
	}
	// A user with an @ of its own: everything before the last one.
	i := slices.IndexFunc(schemes, func(x scheme) bool { return x.name == u.Scheme })
	if i < 0 {
		return target{}, fail(exitUsage, "%s:// is not known here: take smtp, submission, submissions, imap, imaps, pop3 or pop3s", u.Scheme)
	}
	if _, has := u.User.Password(); has {
		return target{}, fail(exitUsage, "leave the password out of the URL, where the list of processes shows it; it is asked for, or give --password-stdin")
	}
	t := target{scheme: schemes[i], user: u.User.Username(), host: u.Hostname(), port: schemes[i].port}
	if u.Port() != "" {
		if t.port, err = strconv.Atoi(u.Port()); err != nil {
			return target{}, fail(exitUsage, "%q has no port between 1 and 65535", s)
		}
		for _, x := range schemes { // smtp://host:465 means TLS at once
			if x.port == t.port && x.protocol == t.protocol {
				t.implicit = x.implicit
			}
		}
	}
	return t, nil
}

func (c *doctorConnectCmd) Run(ctx context.Context, con *console) error {
	t, err := parseTarget(c.URL)
	if err != nil {
		return err
	}
	password, err := c.password(con, t)
	if err != nil {
		return err
	}
	cfg, err := con.place.resolve()
	if err != nil { // this need not be a machine of ours
		cfg = config.Local()
	}
	cfg.Testing.DNS = or(c.DNS, cfg.Testing.DNS)
	roots, err := rootsOf(cfg.Testing, c.Trust)
	if err != nil {
		return err
	}
	resolver, err := resolverFor(&cfg, nil)
	if err != nil {
		return err
	}
	d := dialogue{target: t, password: password, to: c.To, us: cfg.Hostname, resolver: resolver, con: con, quiet: c.JSON,
		talk: &doctor.Talk{Protocol: t.protocol, Host: t.host, Roots: roots}}
	d.talk.Hear = d.hear
	err = d.run(ctx)
	if err != nil {
		d.hear(doctor.Line{From: "*", Text: err.Error()})
	}
	if c.JSON {
		if err := con.json(d.lines); err != nil {
			return err
		}
	}
	if err != nil {
		return fail(exitFailed, "%s does not do what it should", c.URL)
	}
	return nil
}

func (c *doctorConnectCmd) password(con *console, t target) (string, error) {
	if t.user == "" {
		return "", nil
	}
	if c.PasswordStdin {
		return passwordFlag{PasswordStdin: true}.read(con, t.user)
	}
	in, ok := con.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fail(exitUsage, "there is no terminal to ask for the password of %s: give it with --password-stdin, or leave the user out", t.user)
	}
	return ask(con, in, "Password for "+t.user+": ")
}

// dialogue is one conversation of the command.
type dialogue struct {
	target
	password, to, us string
	resolver         *dns.Resolver
	con              *console
	quiet            bool
	talk             *doctor.Talk
	lines            []doctor.Line
}

func (d *dialogue) hear(l doctor.Line) {
	d.lines = append(d.lines, l)
	if d.quiet {
		return
	}
	mark := map[string]string{"C": ">", "S": "<", "*": "*"}[l.From]
	var w io.Writer = d.con.out
	if l.Why != "" {
		fmt.Fprintf(w, "%s %s\n      (%s)\n", mark, l.Text, l.Why)
		return
	}
	fmt.Fprintf(w, "%s %s\n", mark, l.Text)
}

func (d *dialogue) remark(format string, args ...any) {
	d.hear(doctor.Line{From: "*", Text: fmt.Sprintf(format, args...)})
}

func (d *dialogue) run(ctx context.Context) error {
	addrs, err := d.addresses(ctx)
	if err != nil {
		return err
	}
	if err := d.open(ctx, addrs); err != nil {
		d.others(ctx, addrs)
		return err
	}
	defer d.talk.Close()
	if d.implicit {
		d.tls()
	}
	if r, err := d.talk.Greeting(); err != nil {
		return fmt.Errorf("%w; a port that wants TLS at once greets nobody: try the other scheme (submissions, imaps, pop3s)", err)
	} else if !r.OK {
		return errors.New("the server does not want to talk")
	}
	words, err := d.talk.Capabilities(d.us)
	if err != nil {
		return err
	}
	if !d.implicit {
		if !slices.ContainsFunc(words, func(w string) bool { return w == "STARTTLS" || w == "STLS" }) {
			return errors.New("it offers no TLS: passwords and mail would go in clear, or somebody on the way took the offer out")
		}
		if err := d.talk.StartTLS(ctx); err != nil {
			return err
		}
		d.tls()
		if _, err := d.talk.Capabilities(d.us); err != nil {
			return err
		}
	}
	if err := d.login(); err != nil {
		return err
	}
	if err := d.recipient(); err != nil {
		return err
	}
	d.talk.Quit()
	if d.talk.Trust != nil && (d.port != 25 || d.user != "") {
		return errors.New("all works but the certificate, at which mail programs stop")
	}
	d.remark("all is well")
	return nil
}

// addresses finds the host, and says what the DNS knows of it.
func (d *dialogue) addresses(ctx context.Context) ([]netip.Addr, error) {
	list, _, err := d.resolver.Addresses(ctx, d.host)
	if dns.IsNotFound(err) {
		if mx, _, err := d.resolver.LookupMX(ctx, d.host); err == nil && len(mx) > 0 {
			return nil, fmt.Errorf("%s has no address; it is a domain whose mail goes to %s: try that", d.host, strings.TrimSuffix(mx[0].Host, "."))
		}
		return nil, fmt.Errorf("%s does not exist in the DNS, or has no address", d.host)
	}
	if err != nil {
		return nil, fmt.Errorf("the DNS cannot be asked for %s: %w", d.host, err)
	}
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	d.remark("%s is %s", d.host, strings.Join(texts, ", "))
	return list, nil
}

func (d *dialogue) open(ctx context.Context, addrs []netip.Addr) error {
	var last error
	for _, a := range addrs {
		addr := net.JoinHostPort(a.String(), strconv.Itoa(d.port))
		if last = d.talk.Open(ctx, addr, d.implicit); last == nil {
			d.remark("connected to %s", addr)
			return nil
		}
		d.talk.Close()
		d.remark("%s: %s", addr, whyNot(last))
	}
	return fmt.Errorf("no connection to %s on port %d", d.host, d.port)
}

// whyNot says what a failed connection means.
func whyNot(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer at all: a firewall swallows it (on the way out, too: many networks block port 25), or the machine is down"
	case strings.Contains(err.Error(), "refused"):
		return "refused: the machine is there, and nothing listens on this port"
	case strings.Contains(err.Error(), "TLS"):
		return err.Error() + ": on this port the server may not speak TLS at once"
	}
	return err.Error()
}

// others tries the other ports of the protocol, so that it is seen whether the
// machine or only one port is out of reach.
func (d *dialogue) others(ctx context.Context, addrs []netip.Addr) {
	for _, x := range schemes {
		if x.protocol != d.protocol || x.port == d.port || x.name == "smtps" {
			continue
		}
		for _, a := range addrs[:min(len(addrs), 2)] {
			t := &doctor.Talk{Protocol: x.protocol, Host: d.host}
			if err := t.Open(ctx, net.JoinHostPort(a.String(), strconv.Itoa(x.port)), x.implicit); err == nil {
				t.Close()
				d.remark("port %d (%s) answers: use that one", x.port, x.name)
				break
			}
			t.Close()
		}
	}
}

func (d *dialogue) tls() {
	state := d.talk.TLS
	leaf := state.PeerCertificates[0]
	d.remark("%s, certificate for %s by %s, until %s", tlsName(state.Version), strings.Join(leaf.DNSNames, ", "), leaf.Issuer.CommonName, leaf.NotAfter.Format("2006-01-02"))
	if d.talk.Trust != nil {
		d.remark("this certificate is not to be trusted: %v", d.talk.Trust)
	}
}

func (d *dialogue) login() error {
	if d.user == "" {
		return nil
	}
	if d.talk.Trust != nil {
		return errors.New("the password is not sent to a server that cannot be trusted (--trust FILE names a local authority's certificate)")
	}
	r, err := d.talk.Login(d.user, d.password)
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("the login fails: %s", r.Last())
	}
	return nil
}

// recipient asks whether mail is taken, up to the point where it would be sent.
func (d *dialogue) recipient() error {
	if d.to == "" || d.protocol != doctor.SMTP {
		return nil
	}
	from := ""
	if strings.Contains(d.user, "@") {
		from = d.user
	}
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + d.to + ">"} {
		r, err := d.talk.Command(line, line)
		if err != nil {
			return err
		}
		if !r.OK {
			return fmt.Errorf("mail for %s is not taken: %s", d.to, r.Last())
		}
	}
	return nil
}

func tlsName(version uint16) string {
	return strings.Replace(tls.VersionName(version), "TLS ", "TLS", 1)
}
