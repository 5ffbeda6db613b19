package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"posthouse/internal/oidc"
	"posthouse/internal/test/issuer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const alice = "alice@example.test"

func configured(i *issuer.Issuer) oidc.Issuer {
	return oidc.Issuer{Name: "test", URL: i.URL, Audiences: []string{"another", issuer.Audience}, Claim: "email", Skew: time.Minute}
}

func verifier(i *issuer.Issuer) *oidc.Verifier {
	return oidc.New(i.Transport(), slog.New(slog.DiscardHandler))
}

func TestClaims(t *testing.T) {
	i := issuer.New(t)
	v := verifier(i)
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, c := range map[string]struct {
		change map[string]any
		config func(*oidc.Issuer)
		want   error
		is     string
	}{
		"good":                         {is: alice},
		"several audiences":            {change: map[string]any{"aud": []string{"x", "another"}}, is: alice},
		"expired":                      {change: map[string]any{"exp": at(-2 * time.Minute)}, want: oidc.ErrExpired},
		"expired within the skew":      {change: map[string]any{"exp": at(-30 * time.Second)}, is: alice},
		"never expires":                {change: map[string]any{"exp": nil}, want: oidc.ErrToken},
		"not yet":                      {change: map[string]any{"nbf": at(2 * time.Minute)}, want: oidc.ErrToken},
		"not yet, within the skew":     {change: map[string]any{"nbf": at(30 * time.Second)}, is: alice},
		"for another service":          {change: map[string]any{"aud": "webshop"}, want: oidc.ErrToken},
		"for nobody":                   {change: map[string]any{"aud": nil}, want: oidc.ErrToken},
		"address not verified":         {change: map[string]any{"email_verified": false}, want: oidc.ErrToken},
		"address said nothing of":      {change: map[string]any{"email_verified": nil}, want: oidc.ErrToken},
		"verified in a word":           {change: map[string]any{"email_verified": "true"}, is: alice},
		"not verified, which will do":  {change: map[string]any{"email_verified": nil}, config: func(i *oidc.Issuer) { i.Unverified = true }, is: alice},
		"no address":                   {change: map[string]any{"email": nil}, want: oidc.ErrToken},
		"an address that is a list":    {change: map[string]any{"email": []string{alice}}, want: oidc.ErrToken},
		"another claim":                {change: map[string]any{"upn": "bob@example.test", "email": nil}, config: func(i *oidc.Issuer) { i.Claim = "upn" }, is: "bob@example.test"},
		"of another issuer's name":     {change: map[string]any{"iss": "https://other.example.org"}, want: oidc.ErrToken},
		"an algorithm that is not his": {config: func(i *oidc.Issuer) { i.Algorithms = []string{"ES256"} }, want: oidc.ErrToken},
	} {
		config := configured(i)
		if c.config != nil {
			c.config(&config)
		}
		id, err := v.Verify(t.Context(), []oidc.Issuer{config}, i.Token(alice, c.change))
		if !errors.Is(err, c.want) || id.Name != c.is || errors.Is(err, oidc.ErrUnavailable) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if n := i.Asked("/keys"); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// Tokens that were never signed by the issuer.
func TestForged(t *testing.T) {
	i := issuer.New(t)
	v := verifier(i)
	good := i.Token(alice, nil)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signing := i.Key()
	secret, err := signing.Public().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]string{
		"no signature":           b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"signature taken off":    parts[0] + "." + parts[1] + ".",
		"claims changed":         parts[0] + "." + b64([]byte(strings.Replace(string(raw(t, parts[1])), "alice", "bobby", 1))) + "." + parts[2],
		"somebody else's key":    issuer.Sign(t, jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: other, KeyID: "first"}}, i.Claims(alice, nil)),
		"key without a name":     issuer.Sign(t, jose.SigningKey{Algorithm: jose.RS256, Key: other}, i.Claims(alice, nil)),
		"HMAC with a public key": issuer.Sign(t, jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: "first"}}, i.Claims(alice, nil)),
		"nothing":                "",
		"two lines":              good + "\r\nx",
		"opaque":                 "2YotnFZFEjr1zCsicMWpAA",
		"dots":                   "..",
		"not JSON":               b64([]byte("x")) + "." + b64([]byte("y")) + "." + b64([]byte("z")),
	}
	for name, token := range forged {
		if id, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, token); !errors.Is(err, oidc.ErrToken) || errors.Is(err, oidc.ErrExpired) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if id, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, good); err != nil || id.Name != alice || id.Subject != "subject of "+alice {
		t.Errorf("the good one: %+v, %v", id, err)
	}
	if n := i.Asked("/keys"); n != 1 {
		t.Errorf("forged tokens had the keys fetched %d times", n)
	}
}

func raw(t *testing.T, part string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// direct answers in the goroutine that asks, so that time can be injected.
type direct struct {
	i    *issuer.Issuer
	hang bool
}

func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return d.i.Answer(r), nil
}

// An issuer that hangs delays only those whose key is not known.
func TestHangs(t *testing.T) {
	i := issuer.New(t)
	synctest.Test(t, func(t *testing.T) {
		d := &direct{i: i}
		v := oidc.New(d, slog.New(slog.DiscardHandler))
		good, late := i.Token(alice, nil), i.Token(alice, map[string]any{"exp": time.Now().Add(10 * time.Hour).Unix()})
		if _, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, good); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		d.hang = true
		i.Rotate("unknown", true)
		unknown := i.Token(alice, nil)
		done := make(chan error, 1)
		go func() {
			_, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, unknown)
			done <- err
		}()
		synctest.Wait()
		begin := time.Now()
		if _, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, good); err != nil || time.Since(begin) != 0 {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		if err := <-done; err == nil || time.Since(begin) > 11*time.Second {
			t.Errorf("an unknown key, after %s: %v", time.Since(begin), err)
		}
		// Keys that are not fresh are asked for by one; the others go by what is known.
		time.Sleep(2 * time.Hour)
		begin = time.Now()
		go func() {
			_, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, late)
			done <- err
		}()
		synctest.Wait()
		if _, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, late); err != nil || time.Since(begin) != 0 {
			t.Errorf("beside one who asks, after %s: %v", time.Since(begin), err)
		}
		if err := <-done; err != nil {
			t.Errorf("who asked: %v", err)
		}
	})
}

func TestRotationAndOutage(t *testing.T) {
	i := issuer.New(t)
	synctest.Test(t, func(t *testing.T) {
		v := oidc.New(&direct{i: i}, slog.New(slog.DiscardHandler))
		check := func(what, token string, want error) {
			t.Helper()
			if _, err := v.Verify(t.Context(), []oidc.Issuer{configured(i)}, token); !errors.Is(err, want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		long := map[string]any{"exp": time.Now().Add(1000 * time.Hour).Unix(), "iat": nil, "nbf": nil}
		check("first key", i.Token(alice, long), nil)
		i.Rotate("second", true)
		second := i.Token(alice, long)
		check("a new key, at once after the first were fetched", second, oidc.ErrToken)
		time.Sleep(11 * time.Second)
		check("a new key", second, nil)
		asked := i.Asked("/keys")
		i.Rotate("third", false)
		for range 100 {
			check("unknown keys", i.Token(alice, long), oidc.ErrToken)
		}
		if n := i.Asked("/keys") - asked; n != 0 {
			t.Errorf("asked %d times within ten seconds", n)
		}
		time.Sleep(11 * time.Second)
		check("the third", i.Token(alice, long), nil)
		check("the second, withdrawn", second, oidc.ErrToken)

		third := i.Token(alice, long)
		i.Down(true)
		time.Sleep(2 * time.Hour)
		check("an outage of hours", third, nil)
		time.Sleep(24 * time.Hour)
		check("an outage of a day", third, oidc.ErrUnavailable)
		asked = i.Asked("/.well-known/openid-configuration")
		for range 100 {
			check("the outage goes on", third, oidc.ErrUnavailable)
		}
		if n := i.Asked("/.well-known/openid-configuration") - asked; n != 0 {
			t.Errorf("asked %d times within ten seconds", n)
		}
		i.Down(false)
		time.Sleep(11 * time.Second)
		check("it is back", third, nil)
	})
}

func TestIntrospection(t *testing.T) {
	i := issuer.New(t)
	v := verifier(i)
	config := configured(i)
	config.Introspect, config.ClientID, config.ClientSecret = true, issuer.ClientID, issuer.ClientSecret
	check := func(what, token string, want error) {
		t.Helper()
		id, err := v.Verify(t.Context(), []oidc.Issuer{config}, token)
		if !errors.Is(err, want) || err == nil && id.Name != alice {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
	}
	i.Opaque("opaque", i.Claims(alice, nil))
	check("good", "opaque", nil)
	i.Opaque("opaque", i.Claims(alice, map[string]any{"iss": nil, "aud": nil, "client_id": issuer.Audience, "exp": nil}))
	check("an answer that says little", "opaque", nil)
	i.Opaque("opaque", i.Claims(alice, map[string]any{"aud": nil, "client_id": "webshop"}))
	check("of another program", "opaque", oidc.ErrToken)
	i.Opaque("opaque", i.Claims(alice, map[string]any{"aud": nil}))
	check("for nobody", "opaque", oidc.ErrToken)
	i.Opaque("opaque", i.Claims(alice, map[string]any{"iss": "https://other.example.org"}))
	check("of another issuer", "opaque", oidc.ErrToken)
	i.Opaque("opaque", nil)
	check("taken back", "opaque", oidc.ErrToken)
	signed := i.Token(alice, nil)
	check("signed, and not known any more", signed, oidc.ErrToken)
	i.Opaque(signed, i.Claims(alice, nil))
	check("signed", signed, nil)
	i.Down(true)
	check("the issuer is down", signed, oidc.ErrUnavailable)
	i.Down(false)
	config.ClientSecret = "wrong"
	check("our own secret is wrong", signed, oidc.ErrUnavailable)
}

func TestDiscoveryLies(t *testing.T) {
	i := issuer.New(t)
	v := verifier(i)
	config := configured(i)
	config.URL += "/elsewhere"
	token := i.Token(alice, map[string]any{"iss": config.URL})
	if _, err := v.Verify(t.Context(), []oidc.Issuer{config}, token); !errors.Is(err, oidc.ErrUnavailable) {
		t.Error(err)
	}
	if _, _, err := v.Check(t.Context(), &config); !errors.Is(err, oidc.ErrUnavailable) {
		t.Error(err)
	}
	config = configured(i)
	if keys, introspect, err := v.Check(t.Context(), &config); keys != 1 || introspect != i.URL+"/introspect" || err != nil {
		t.Error(keys, introspect, err)
	}
	for url, good := range map[string]bool{
		"https://id.example.org": true, "https://id.example.org/realms/x": true, "http://id.example.org": false, "https://": false,
		"ftp://id.example.org": false, "https://u:p@id.example.org": false, "https://id.example.org?x": false, "://": false,
	} {
		if err := oidc.CheckURL(url, false); (err == nil) != good {
			t.Errorf("%s: %v", url, err)
		}
	}
}
