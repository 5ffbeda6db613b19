package directory

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"posthouse/internal/oidc"
	"posthouse/internal/test/issuer"
	"posthouse/internal/test/pgtest"
)

// openWithIssuer is open, and an issuer that runs and is known.
func openWithIssuer(t *testing.T) (*Directory, *issuer.Issuer) {
	t.Helper()
	i := issuer.New(t)
	d := node(t, pgtest.Pool(t), Options{Hostname: "mx.example.test", Tokens: oidc.New(i.Transport(), slog.New(slog.DiscardHandler))})
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "example.test")))
	must(t, second(d.CreateDomain(ctx, "example.org")))
	must(t, second(d.CreateAccount(ctx, addr("alice@example.test"), "alice's secret")))
	must(t, second(d.CreateAccount(ctx, addr("bob@example.test"), "")))
	must(t, second(d.CreateAccount(ctx, addr("alice@example.org"), "")))
	must(t, second(d.AddIssuer(ctx, Issuer{Name: "Test", URL: i.URL, Audiences: []string{issuer.Audience}, Scope: "openid email", Domains: []string{"example.test"}}, "", false)))
	return d, i
}

func bearer(user, token string) []byte {
	if user != "" {
		user = "a=" + user
	}
	return fmt.Appendf(nil, "n,%s,\x01host=mail.example.test\x01port=993\x01auth=Bearer %s\x01\x01", user, token)
}

func xoauth2(user, token string) []byte {
	return fmt.Appendf(nil, "user=%s\x01auth=Bearer %s\x01\x01", user, token)
}

func TestOAuth(t *testing.T) {
	d, i := openWithIssuer(t)
	ctx := t.Context()
	must(t, second(d.AddAlias(ctx, addr("sales@example.test"), addr("alice@example.test"))))
	must(t, second(d.CreateAccount(ctx, addr("off@example.test"), "")))
	must(t, d.SetDisabled(ctx, addr("off@example.test"), true))
	alice := i.Token("alice@example.test", nil)
	const refused = `{"status":"invalid_token","scope":"openid email","openid-configuration":"`
	for n, c := range []struct {
		mech      string
		responses [][]byte
		who       string
		want      error
		challenge string
	}{
		{"OAUTHBEARER", [][]byte{bearer("", alice)}, "alice@example.test", nil, "[]"},
		{"oauthbearer", [][]byte{nil, bearer("Alice@Example.test", alice)}, "alice@example.test", nil, "[]"},
		{"OAUTHBEARER", [][]byte{bearer("sales@example.test", alice)}, "alice@example.test", nil, ""},
		{"OAUTHBEARER", [][]byte{[]byte("y,,\x01auth=bearer " + alice + "\x01\x01")}, "alice@example.test", nil, ""},
		{"OAUTHBEARER", [][]byte{bearer("bob@example.test", alice), {1}}, "", ErrBadCredentials, refused},
		{"OAUTHBEARER", [][]byte{bearer("", i.Token("nobody@example.test", nil)), {1}}, "", ErrBadCredentials, refused},
		{"OAUTHBEARER", [][]byte{bearer("", i.Token("alice@example.org", nil)), {1}}, "", ErrBadCredentials, refused}, // not its domain
		{"OAUTHBEARER", [][]byte{bearer("", i.Token("alice@example.test", map[string]any{"exp": 1})), {1}}, "", ErrBadCredentials, refused},
		{"OAUTHBEARER", [][]byte{bearer("", "rubbish"), {}}, "", ErrBadCredentials, refused},
		{"OAUTHBEARER", [][]byte{[]byte("n,,\x01\x01"), {1}}, "", ErrBadCredentials, refused}, // it asks what it needs
		{"OAUTHBEARER", [][]byte{bearer("", i.Token("bob@example.test", nil))}, "bob@example.test", nil, ""},
		{"OAUTHBEARER", [][]byte{bearer("", i.Token("off@example.test", nil))}, "", ErrDisabled, ""},
		{"OAUTHBEARER", [][]byte{[]byte("p=tls-exporter,,\x01auth=Bearer " + alice + "\x01\x01")}, "", ErrMalformed, ""},
		{"OAUTHBEARER", [][]byte{[]byte("n,,\x01auth=Basic " + alice + "\x01\x01")}, "", ErrMalformed, ""},
		{"OAUTHBEARER", [][]byte{[]byte("n,,\x01auth=Bearer " + alice)}, "", ErrMalformed, ""},
		{"OAUTHBEARER", [][]byte{[]byte("n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01")}, "", ErrMalformed, ""},
		{"OAUTHBEARER", [][]byte{[]byte("")}, "", ErrMalformed, ""},
		{"XOAUTH2", [][]byte{xoauth2("alice@example.test", alice)}, "alice@example.test", nil, ""},
		{"XOAUTH2", [][]byte{nil, xoauth2("alice@example.test", alice)}, "alice@example.test", nil, "[]"},
		{"XOAUTH2", [][]byte{xoauth2("bob@example.test", alice), {}}, "", ErrBadCredentials, `{"status":"401","schemes":"bearer","scope":"openid email"}`},
		{"XOAUTH2", [][]byte{xoauth2("", alice)}, "", ErrMalformed, ""},
	} {
		got, acct, err := talk(t, d, c.mech, from(fmt.Sprintf("192.0.2.%d", n+1)), c.responses...)
		who := ""
		if err == nil {
			who = acct.Address.String()
		}
		if !errors.Is(err, c.want) || who != c.who || !strings.Contains(fmt.Sprint(got), c.challenge) {
			t.Errorf("%s %.60q: %v, %q %q; want %v, %q", c.mech, c.responses, err, who, got, c.want, c.who)
		}
	}
}

// An issuer that is down says nothing about the token: that is no wrong password.
func TestOAuthIssuerDown(t *testing.T) {
	d, i := openWithIssuer(t)
	i.Down(true)
	for range 50 {
		_, _, err := talk(t, d, "OAUTHBEARER", from("192.0.2.1"), bearer("", i.Token("alice@example.test", nil)))
		if err == nil || errors.Is(err, ErrBadCredentials) || !errors.Is(err, oidc.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if _, err := d.Authenticate(t.Context(), "alice@example.test", "alice's secret", from("192.0.2.1")); err != nil {
		t.Errorf("a password, meanwhile: %v", err)
	}
}

// Bad tokens count as guesses do, each once; expired ones do not: a program whose
// token has run out locks nobody out.
func TestOAuthThrottle(t *testing.T) {
	d, i := openWithIssuer(t)
	expired := func(n int) string {
		return i.Token("alice@example.test", map[string]any{"exp": time.Now().Add(-time.Hour).Unix(), "jti": fmt.Sprint(n)})
	}
	for n := range 10 {
		if _, _, err := talk(t, d, "OAUTHBEARER", from("192.0.2.1"), bearer("alice@example.test", expired(n)), []byte{1}); !errors.Is(err, ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	counted := func() (n float64) {
		t.Helper()
		must(t, d.pool.QueryRow(t.Context(), "SELECT coalesce(max(n), 0) FROM login_failure").Scan(&n))
		return n
	}
	if n := counted(); n != 0 {
		t.Errorf("expired tokens counted %.1f", n)
	}
	for n := range 2 {
		for range 3 {
			if _, _, err := talk(t, d, "OAUTHBEARER", from("192.0.2.1"), bearer("alice@example.test", fmt.Sprintf("guess%d", n)), []byte{1}); !errors.Is(err, ErrBadCredentials) {
				t.Fatal(err)
			}
		}
	}
	if n := counted(); n < 1.5 || n > 2 {
		t.Errorf("two bad tokens, three times each, counted %.1f", n)
	}
}

func TestIssuers(t *testing.T) {
	d, i := openWithIssuer(t)
	ctx := t.Context()
	other := node(t, d.pool, Options{Tokens: d.opts.Tokens})
	offers := func(d *Directory) bool { return slices.Contains(d.Mechanisms(from("192.0.2.1")), "OAUTHBEARER") }
	if !offers(d) || !offers(other) {
		t.Error("not offered")
	}
	if none := node(t, d.pool, Options{}); offers(none) {
		t.Error("offered by who cannot check tokens")
	}
	for _, c := range []struct {
		change  func(*Issuer)
		secret  string
		replace bool
		want    error
	}{
		{func(i *Issuer) {}, "", false, ErrConflict},
		{func(i *Issuer) { i.Name = "b" }, "", false, ErrConflict}, // the URL
		{func(i *Issuer) { i.Name = "b" }, "", true, ErrConflict},
		{func(i *Issuer) { i.Name, i.URL = "b", "https://b.example.org" }, "", true, ErrNotFound},
		{func(i *Issuer) { i.URL = "http://b.example.org" }, "", true, ErrInvalid},
		{func(i *Issuer) { i.Audiences = nil }, "", true, ErrInvalid},
		{func(i *Issuer) { i.Algorithms = []string{"HS256"} }, "", true, ErrInvalid},
		{func(i *Issuer) { i.Algorithms = []string{"none"} }, "", true, ErrInvalid},
		{func(i *Issuer) { i.Introspect = true }, "", true, ErrInvalid},
		{func(i *Issuer) { i.Introspect, i.ClientID = true, "x" }, "secret", true, nil},
		{func(i *Issuer) { i.Skew = time.Hour }, "", true, ErrInvalid},
		{func(i *Issuer) { i.Domains = []string{"Example.TEST"} }, "", true, nil},
	} {
		conf := Issuer{Name: "test", URL: i.URL, Audiences: []string{issuer.Audience}}
		c.change(&conf)
		if _, err := d.AddIssuer(ctx, conf, c.secret, c.replace); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", conf, err, c.want)
		}
	}
	list, err := d.Issuers(ctx)
	if err != nil || len(list) != 1 || list[0].Domains[0] != "example.test" || list[0].Claim != "email" || list[0].Skew != time.Minute {
		t.Errorf("%+v, %v", list, err)
	}
	keys, _, whose, err := d.TestIssuer(ctx, d.opts.Tokens, "TEST", i.Token("alice@example.test", nil))
	if keys != 1 || whose.String() != "alice@example.test" || err != nil {
		t.Error(keys, whose, err)
	}
	must(t, d.RemoveIssuer(DryRun(ctx), "test"))
	if !offers(d) {
		t.Error("removed by a dry run")
	}
	must(t, d.RemoveIssuer(ctx, "test"))
	if offers(d) {
		t.Error("offered when the issuer was gone")
	}
	if _, _, err := talk(t, d, "OAUTHBEARER", from("192.0.2.1"), bearer("", "x")); !errors.Is(err, ErrMechanism) {
		t.Error(err)
	}
	if err := d.RemoveIssuer(ctx, "test"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for deadline := time.Now().Add(time.Minute); offers(other); {
		if time.Now().After(deadline) {
			t.Fatal("the other node goes on offering it")
		}
	}
}

// The client's secret lies sealed, and opens only for its issuer.
func TestIssuerSecret(t *testing.T) {
	d, i := openWithIssuer(t)
	ctx := t.Context()
	must(t, second(d.AddIssuer(ctx, Issuer{Name: "test", URL: i.URL, Audiences: []string{issuer.Audience}, Introspect: true, ClientID: issuer.ClientID}, issuer.ClientSecret, true)))
	var stored string
	must(t, d.pool.QueryRow(ctx, "SELECT row_to_json(i)::text || encode(client_secret, 'escape') FROM issuer i").Scan(&stored))
	if strings.Contains(stored, "s3cret") {
		t.Error(stored)
	}
	i.Opaque("opaque", i.Claims("bob@example.test", nil))
	if _, a, err := talk(t, d, "OAUTHBEARER", from("192.0.2.1"), bearer("", "opaque")); err != nil || a.Address.Local != "bob" {
		t.Error(a, err)
	}
	i.Opaque("opaque", nil)
	if _, _, err := talk(t, d, "OAUTHBEARER", from("192.0.2.1"), bearer("", "opaque"), []byte{1}); !errors.Is(err, ErrBadCredentials) {
		t.Error(err)
	}
}

func TestMasks(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	a, err := d.Account(ctx, addr("alice@example.test"))
	must(t, err)
	must(t, d.SetMask(ctx, addr("alice@example.test"), "", []string{"qresync", "CONDSTORE", "QRESYNC"}))
	must(t, d.SetMask(ctx, addr("alice@example.test"), "Mutt*", []string{"IDLE"}))
	zero := a.Address
	zero.Local, zero.Domain = "", ""
	must(t, d.SetMask(ctx, zero, "Outlook*", []string{"MOVE"}))
	for _, c := range []struct {
		account int64
		client  string
		want    string
	}{
		{0, "", ""}, {0, "outlook for iOS", "MOVE"}, {a.ID, "", "CONDSTORE QRESYNC"}, {a.ID, "mutt 2", "CONDSTORE IDLE QRESYNC"},
		{a.ID, "Outlook", "CONDSTORE MOVE QRESYNC"}, {a.ID + 1, "mutt", ""}, {0, "My Outlook", ""},
	} {
		var got []string
		for name := range d.Masked(c.account, c.client) {
			got = append(got, name)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%d %q: %q, want %q", c.account, c.client, s, c.want)
		}
	}
	if list, err := d.Masks(ctx, addr("alice@example.test")); len(list) != 2 || err != nil {
		t.Error(list, err)
	}
	if list, err := d.Masks(ctx, zero); len(list) != 3 || err != nil || list[0].Client != "outlook*" {
		t.Error(list, err)
	}
	for _, c := range []struct {
		client string
		caps   []string
		want   error
	}{
		{"x", []string{"STARTTLS"}, ErrInvalid}, {"x", []string{"imap4rev1"}, ErrInvalid}, {"x", []string{"A B"}, ErrInvalid}, {"", []string{"IDLE"}, ErrInvalid},
		{"x", nil, ErrNotFound}, {"outlook*", nil, nil},
	} {
		if err := d.SetMask(ctx, zero, c.client, c.caps); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := d.SetMask(ctx, addr("nobody@example.test"), "", []string{"IDLE"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for pattern, texts := range map[string][2]string{"*": {"", "\x00"}, "a*b*c": {"abc", "acb"}, "*mail": {"hotmail", "mailer"}, "exact": {"exact", "exactly"}} {
		if !like(pattern, texts[0]) || pattern != "*" && like(pattern, texts[1]) {
			t.Error(pattern)
		}
	}
}
