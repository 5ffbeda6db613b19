package main

import (
	"os"
	"strings"

	"posthouse/internal/config"
)

type serveCmd struct {
	Local      bool     `help:"Serve this machine only: loopback, a local CA, accounts to try with, and no mail ever leaves."`
	JSONReady  bool     `name:"json-ready" help:"When every listener accepts, print one line of JSON instead of a page."`
	Ephemeral  bool     `help:"With --local: keep the data in a temporary folder that is removed at the end."`
	Account    []string `help:"With --local: make this account, and its domain; repeatable." placeholder:"ADDR:PASSWORD" sep:"none"`
	Listen     []string `help:"Set a listener's address, or off: smtp, submission, submissions, imap, imaps, pop3, pop3s, lmtp, http, https; repeatable." placeholder:"NAME=ADDR" sep:"none"`
	Hostname   string   `help:"The server's name."`
	RequireTLS bool     `name:"require-tls" help:"With --local: refuse to log in without TLS, as a site does."`
	NoCapture  bool     `help:"With --local: answer on the SMTP port as a site does, 550 to strangers who write to other domains. Mail of authenticated users is captured all the same."`
	Limits     bool     `help:"With --local: limit failed logins and connections per address for loopback clients too."`
	Deliver    bool     `help:"With --local: really send mail for other domains, as a site does, instead of capturing it."`

	// A fake Internet, for tests from outside: config.Testing.
	DNS       string            `help:"With --local: the DNS server to ask for everything." placeholder:"ADDR:PORT"`
	RelayPort uint16            `help:"With --local: the port of next hops, instead of 25." placeholder:"N"`
	HTTPSPort uint16            `name:"https-port" help:"With --local: the port where MTA-STS policies are fetched, instead of 443." placeholder:"N"`
	Trust     string            `help:"With --local: certificates in PEM form that next hops and policy hosts may use, beside the system's." placeholder:"FILE"`
	Retry     []config.Duration `help:"With --local: the waits between attempts to send, instead of 5 minutes doubling to 4 hours; the last repeats." placeholder:"2s,4s,8s"`
	Expire    config.Duration   `help:"With --local: the time after which mail that cannot be sent bounces, instead of 5 days." placeholder:"30s"`
}

// configure makes the configuration from the file, the variable and the flags,
// in rising order.
func (c *serveCmd) configure(p *place) (config.Config, []login, error) {
	cfg := config.Site()
	testing := config.Testing{DNS: c.DNS, RelayPort: c.RelayPort, HTTPSPort: c.HTTPSPort, Trust: c.Trust, Retry: c.Retry, Expire: c.Expire}
	if !c.Local && (c.Ephemeral || len(c.Account) > 0 || c.RequireTLS || c.NoCapture || c.Limits || c.Deliver || testing.Set()) {
		return cfg, nil, fail(exitUsage, "--ephemeral, --account, --require-tls, --no-capture, --limits, --deliver, --dns, --relay-port, "+
			"--https-port, --trust, --retry and --expire go with --local only; a site's file has [testing]")
	}
	file := p.Config
	if c.Local {
		cfg = config.Local()
	} else if file == "" {
		file = config.File
	}
	if file != "" {
		if err := cfg.Read(file); err != nil {
			if _, missing := os.Stat(file); p.Config == "" && missing != nil {
				err = fail(exitConfig, "%w; `posthouse serve --local` needs none", err)
			}
			return cfg, nil, err
		}
	}
	p.overrule(&cfg)
	if c.Hostname != "" {
		cfg.Hostname = c.Hostname
	}
	for _, arg := range c.Listen {
		if err := cfg.Listen.Set(arg); err != nil {
			return cfg, nil, fail(exitUsage, "--listen: %w", err)
		}
	}
	if c.Local {
		cfg.RequireTLS, cfg.Throttle = c.RequireTLS, c.Limits
		cfg.Deliver, cfg.Capture = c.Deliver, !c.Deliver && !c.NoCapture
		if testing.Set() {
			cfg.Testing = testing
		}
	}
	var logins []login
	for _, arg := range c.Account {
		l, err := parseLogin(arg)
		if err != nil {
			return cfg, nil, err
		}
		logins = append(logins, l)
	}
	if c.Ephemeral && p.Data == "" {
		cfg.Data = os.TempDir() // where lay makes the folder
	}
	return cfg, logins, cfg.Check()
}

// asked says whether a listener's address was given: then it does not move.
func (c *serveCmd) asked(name, addr string) bool {
	for _, arg := range c.Listen {
		if strings.HasPrefix(arg, name+"=") {
			return true
		}
	}
	return config.Local().Listen[name] != addr
}
