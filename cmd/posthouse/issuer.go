package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/oidc"
)

type issuerCmd struct {
	Add  issuerAddCmd  `cmd:"" help:"Let accounts log in with the tokens of an OpenID Connect issuer."`
	List issuerListCmd `cmd:"" help:"List the issuers."`
	Show issuerShowCmd `cmd:"" help:"Show an issuer."`
	Test issuerTestCmd `cmd:"" help:"Ask an issuer for its keys; with a token, say whose it is."`
	Rm   issuerRmCmd   `cmd:"" help:"Remove an issuer: its tokens open nothing any more."`
}

// issuerView is an issuer as the commands show it. Its secret is shown nowhere.
type issuerView struct {
	Name       string    `json:"name"`
	URL        string    `json:"url"`
	Audiences  []string  `json:"audiences"`
	Claim      string    `json:"claim"`
	Unverified bool      `json:"unverified"`
	Domains    []string  `json:"domains"`
	Algorithms []string  `json:"algorithms"`
	Scope      string    `json:"scope"`
	Skew       string    `json:"skew"`
	Introspect bool      `json:"introspect"`
	Endpoint   string    `json:"introspection_endpoint,omitempty"`
	ClientID   string    `json:"client_id,omitempty"`
	Created    time.Time `json:"created"`
}

func viewIssuer(i directory.Issuer) issuerView {
	algorithms := i.Algorithms
	if len(algorithms) == 0 {
		algorithms = oidc.Algorithms
	}
	return issuerView{i.Name, i.URL, i.Audiences, i.Claim, i.Unverified, append([]string{}, i.Domains...), algorithms, i.Scope, i.Skew.String(),
		i.Introspect, i.IntrospectURL, i.ClientID, i.Created}
}

func (v issuerView) how() string {
	if v.Introspect {
		return "asked for each token"
	}
	return "by signature"
}

func (v issuerView) domains() string { return or(strings.Join(v.Domains, ", "), "all") }

type issuerAddCmd struct {
	Name       string        `arg:"" help:"What to call it: letters, digits, dots and hyphens."`
	URL        string        `arg:"" name:"url" help:"The issuer as its tokens name it: https://id.example.org/realms/mail."`
	Audience   []string      `required:"" help:"A token must be meant for one of these; repeatable." placeholder:"NAME"`
	Claim      string        `help:"What in a token names the account's address." default:"email"`
	Unverified bool          `help:"Take an email that the issuer does not call verified."`
	Domain     []string      `help:"Only accounts of this domain may come by it; repeatable. Default: all." placeholder:"DOMAIN"`
	Algorithm  []string      `help:"Signature to take (RS256, PS256, ES256, ES384, EdDSA unless said); repeatable." placeholder:"NAME"`
	Scope      string        `help:"What mail programs should ask the issuer for." default:"openid email" placeholder:"WORDS"`
	Skew       time.Duration `help:"How far clocks may differ." default:"1m"`
	Introspect bool          `help:"Ask the issuer for each token (RFC 7662): for opaque ones, and so that one taken back is of no use at once."`
	Endpoint   string        `help:"Where to ask, if the issuer does not say." placeholder:"URL"`
	ClientID   string        `name:"client-id" help:"Ask as this client; its secret is read from standard input." placeholder:"ID"`
	Insecure   bool          `help:"The issuer's URL may begin with http: for tests on one machine."`
	Replace    bool          `help:"Change the issuer of this name."`
	changeFlags
}

func (c *issuerAddCmd) Run(ctx context.Context, con *console) error {
	secret := ""
	if c.ClientID != "" {
		var err error
		if secret, err = (passwordFlag{PasswordStdin: true}).read(con, "client "+c.ClientID); err != nil {
			return err
		}
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	i := directory.Issuer{Name: c.Name, URL: c.URL, Audiences: c.Audience, Claim: c.Claim, Unverified: c.Unverified, Domains: c.Domain,
		Algorithms: c.Algorithm, Scope: c.Scope, Skew: c.Skew, Insecure: c.Insecure, Introspect: c.Introspect, IntrospectURL: c.Endpoint, ClientID: c.ClientID}
	if i, err = s.directory.AddIssuer(c.context(ctx), i, secret, c.Replace); err != nil {
		return noIssuer(err, c.Name)
	}
	past, conditional := "issuer "+i.Name+" added; `posthouse issuer test "+i.Name+"` asks it", "add issuer "+i.Name
	if c.Replace {
		past, conditional = "issuer "+i.Name+" changed", "change issuer "+i.Name
	}
	return c.done(con, past, conditional)
}

// noIssuer gives an error its exit code.
func noIssuer(err error, name string) error {
	switch {
	case errors.Is(err, directory.ErrNoKey):
		return fail(exitConfig, "%w", err)
	case errors.Is(err, oidc.ErrUnavailable), errors.Is(err, oidc.ErrToken):
		return fmt.Errorf("issuer %s: %w", name, err)
	}
	return explain(err, "issuer", name)
}

type issuerListCmd struct{ listFlags }

func (c *issuerListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	list, err := s.directory.Issuers(ctx)
	if err != nil {
		return err
	}
	views := make([]issuerView, len(list))
	rows := make([][]string, len(list))
	for n, i := range list {
		v := viewIssuer(i)
		views[n] = v
		rows[n] = []string{v.Name, v.URL, strings.Join(v.Audiences, ", "), v.Claim, v.domains(), v.how()}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("ISSUER URL AUDIENCE CLAIM DOMAINS CHECKED", rows)
}

type issuerShowCmd struct {
	Name string `arg:"" help:"The issuer."`
	listFlags
}

func (c *issuerShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	i, err := s.directory.Issuer(ctx, c.Name)
	if err != nil {
		return noIssuer(err, c.Name)
	}
	v := viewIssuer(i)
	if c.JSON {
		return con.json(v)
	}
	verified := ""
	if v.Claim == "email" && !v.Unverified {
		verified = ", verified"
	}
	return con.fields([][2]string{
		{"issuer", v.Name}, {"url", v.URL}, {"audiences", strings.Join(v.Audiences, ", ")}, {"address", "claim " + v.Claim + verified},
		{"domains", v.domains()}, {"checked", v.how()}, {"algorithms", strings.Join(v.Algorithms, ", ")}, {"scope", v.Scope}, {"clocks", "may differ by " + v.Skew},
	})
}

type issuerTestCmd struct {
	Name       string `arg:"" help:"The issuer."`
	TokenStdin bool   `help:"Read a token from standard input and say whose it is."`
	listFlags
}

func (c *issuerTestCmd) Run(ctx context.Context, con *console) error {
	token := ""
	if c.TokenStdin {
		line, err := bufio.NewReader(io.LimitReader(con.in, directory.MaxResponse)).ReadString('\n')
		if token = strings.TrimSpace(line); token == "" || err != nil && !errors.Is(err, io.EOF) {
			return fail(exitUsage, "standard input holds no token")
		}
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	log := slog.New(slog.DiscardHandler) // what is wrong is the command's to say
	resolver, err := resolverFor(&s.config, log)
	if err != nil {
		return err
	}
	v, err := tokenVerifier(&s.config, resolver, log)
	if err != nil {
		return err
	}
	keys, endpoint, whose, err := s.directory.TestIssuer(ctx, v, c.Name, token)
	if err != nil {
		return noIssuer(err, c.Name)
	}
	account := ""
	if token != "" {
		account = whose.String()
		if _, err := s.directory.Account(ctx, whose); err != nil {
			return explain(err, "account", account)
		}
	}
	if c.JSON {
		return con.json(struct {
			Issuer   string `json:"issuer"`
			Keys     int    `json:"keys"`
			Endpoint string `json:"introspection_endpoint,omitempty"`
			Account  string `json:"account,omitempty"`
		}{c.Name, keys, endpoint, account})
	}
	if err := con.say("issuer %s answers, with %d keys", c.Name, keys); err != nil || account == "" {
		return err
	}
	return con.say("the token opens %s", account)
}

type issuerRmCmd struct {
	Name string `arg:"" help:"The issuer."`
	changeFlags
}

func (c *issuerRmCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.directory.RemoveIssuer(c.context(ctx), c.Name); err != nil {
		return noIssuer(err, c.Name)
	}
	return c.done(con, "issuer "+c.Name+" removed; sessions that its tokens opened go on", "remove issuer "+c.Name)
}
