package directory

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// talk runs an exchange of fixed responses; nil stands for no initial response.
func talk(t *testing.T, d *Directory, mech string, c Client, responses ...[]byte) (challenges []string, acct Account, err error) {
	t.Helper()
	x, err := d.NewExchange(mech, c)
	if err != nil {
		return nil, Account{}, err
	}
	for i, r := range responses {
		challenge, done, err := x.Next(t.Context(), r)
		if err != nil {
			return challenges, Account{}, err
		}
		if done {
			if i != len(responses)-1 {
				t.Errorf("%s: done after %d responses of %d", mech, i+1, len(responses))
			}
			return challenges, x.Account(), nil
		}
		challenges = append(challenges, string(challenge))
	}
	return challenges, Account{}, errors.New("not done")
}

func TestPlainAndLogin(t *testing.T) {
	d := open(t)
	b := func(s string) []byte { return []byte(s) }
	for i, c := range []struct {
		mech      string
		responses [][]byte
		want      error
		challenge string
	}{
		{"PLAIN", [][]byte{b("\x00alice@example.test\x00alice's secret")}, nil, ""},
		{"plain", [][]byte{nil, b("\x00alice@example.test\x00alice's secret")}, nil, "[]"},
		{"PLAIN", [][]byte{b("alice@example.test\x00alice@example.test\x00alice's secret")}, nil, ""},
		{"PLAIN", [][]byte{b("bob@example.test\x00alice@example.test\x00alice's secret")}, ErrBadCredentials, ""},
		{"PLAIN", [][]byte{b("\x00alice@example.test\x00wrong")}, ErrBadCredentials, ""},
		{"PLAIN", [][]byte{b("")}, ErrMalformed, ""},
		{"PLAIN", [][]byte{b("alice@example.test\x00alice's secret")}, ErrMalformed, ""},
		{"PLAIN", [][]byte{b("\x00\x00alice's secret")}, ErrMalformed, ""},
		{"PLAIN", [][]byte{b("\x00alice\x00a\x00b")}, ErrMalformed, ""},
		{"PLAIN", [][]byte{b("\x00alice\x00\xff")}, ErrMalformed, ""},
		{"PLAIN", [][]byte{bytes.Repeat([]byte{'x'}, MaxResponse+1)}, ErrMalformed, ""},
		{"LOGIN", [][]byte{nil, b("alice"), b("alice's secret")}, nil, "[Username: Password:]"},
		{"LOGIN", [][]byte{b("alice"), b("alice's secret")}, nil, "[Password:]"},
		{"LOGIN", [][]byte{nil, b("alice"), b("no")}, ErrBadCredentials, "[Username: Password:]"},
		{"LOGIN", [][]byte{nil, b("")}, ErrMalformed, "[Username:]"},
		{"SCRAM-SHA-256", [][]byte{nil, b("rubbish")}, ErrMalformed, "[]"},
		{"SCRAM-SHA-256", [][]byte{b("p=tls-unique,,n=alice,r=abc")}, ErrChannelBinding, ""},
		{"SCRAM-SHA-256", [][]byte{b("n,,n=al=ice,r=abc")}, ErrMalformed, ""},
		{"SCRAM-SHA-256", [][]byte{b("n,,m=x,n=alice,r=abc")}, ErrMalformed, ""},
		{"SCRAM-SHA-1", nil, ErrMechanism, ""},
		{"", nil, ErrMechanism, ""},
	} {
		got, acct, err := talk(t, d, c.mech, from(fmt.Sprintf("192.0.2.%d", i+1)), c.responses...)
		if !errors.Is(err, c.want) || (err == nil) != (acct.Address.String() == "alice@example.test") {
			t.Errorf("%s %q: %v %+v, want %v", c.mech, c.responses, err, acct, c.want)
		}
		if s := fmt.Sprint(got); c.challenge != "" && s != c.challenge {
			t.Errorf("%s %q: challenges %q", c.mech, c.responses, got)
		}
	}
	x, err := d.NewExchange("PLAIN", from("127.0.0.1"))
	must(t, err)
	if _, done, err := x.Next(t.Context(), b("\x00alice\x00alice's secret")); !done || err != nil {
		t.Fatal(done, err)
	}
	if _, _, err := x.Next(t.Context(), b("\x00alice\x00alice's secret")); !errors.Is(err, ErrMalformed) {
		t.Errorf("a response after the end: %v", err)
	}
}

// scramLogin plays an independent client's part.
func scramLogin(t *testing.T, d *Directory, c Client, user, password, authzid string) (serverFirst string, acct Account, err error) {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, password, authzid)
	must(t, err)
	conv := client.NewConversation()
	x, err := d.NewExchange("SCRAM-SHA-256", c)
	must(t, err)
	challenge, done := "", false
	for i := 0; !done; i++ {
		response := ""
		if !conv.Done() {
			if response, err = conv.Step(challenge); err != nil {
				t.Fatalf("client refuses %q: %v", challenge, err)
			}
		}
		var next []byte
		if next, done, err = x.Next(t.Context(), []byte(response)); err != nil {
			return serverFirst, Account{}, err
		}
		if challenge = string(next); i == 0 {
			serverFirst = challenge
		}
	}
	if !conv.Valid() {
		t.Error("the client does not believe the server's signature")
	}
	return serverFirst, x.Account(), nil
}

func TestScram(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	must(t, second(d.CreateAccount(ctx, addr("off@example.test"), "off's secret")))
	must(t, d.SetDisabled(ctx, addr("off@example.test"), true))
	must(t, second(d.CreateAccount(ctx, addr("mute@example.test"), "")))
	must(t, second(d.CreateAccount(ctx, addr("a=b@example.test"), "I\u00ADX\u2168"))) // RFC 4013 §3
	for i, c := range []struct {
		user, password, authzid string
		want                    error
	}{
		{"alice@example.test", "alice's secret", "", nil},
		{"Alice@example.test", "alice's secret", "alice@example.test", nil},
		{"alice", "alice's secret", "", nil},
		{"a=b@example.test", "IXIX", "", nil},
		{"alice@example.test", "wrong", "", ErrBadCredentials},
		{"alice@example.test", "alice's secret", "bob@example.test", ErrBadCredentials},
		{"nobody@example.test", "alice's secret", "", ErrBadCredentials},
		{"mute@example.test", "", "", ErrBadCredentials},
		{"off@example.test", "off's secret", "", ErrDisabled},
		{"off@example.test", "wrong", "", ErrBadCredentials},
	} {
		first, acct, err := scramLogin(t, d, from(fmt.Sprintf("192.0.2.%d", i+1)), c.user, c.password, c.authzid)
		if !errors.Is(err, c.want) || (err == nil) != (acct.ID != 0) {
			t.Errorf("%+v: %v %+v", c, err, acct)
		}
		if !strings.HasSuffix(first, ",i=65536") {
			t.Errorf("%s: %s", c.user, first)
		}
	}
}

// TRUST row 11: a user who does not exist has a salt too, the same each time,
// on each node, in whatever case, and not another user's.
func TestScramSaltOfNobody(t *testing.T) {
	d := open(t)
	other := node(t, d.pool, Options{})
	salt := func(d *Directory, user string) string {
		first, _, err := scramLogin(t, d, from("127.0.0.1"), user, "x", "")
		if !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%s: %v", user, err)
		}
		_, s, _ := strings.Cut(first, ",s=")
		return s
	}
	d.throttle.opts.Off, other.throttle.opts.Off = true, true
	want := salt(d, "nobody@example.test")
	if len(want) != len(salt(d, "alice@example.test")) {
		t.Errorf("salt %q", want)
	}
	for _, s := range []string{salt(d, "nobody@example.test"), salt(other, "Nobody@Example.test")} {
		if s != want {
			t.Errorf("salt %q, then %q", want, s)
		}
	}
	if salt(d, "nobody2@example.test") == want {
		t.Error("two users with one salt")
	}
}
