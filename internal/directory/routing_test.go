package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func hop(s string) Host {
	h, err := ParseHost(s)
	if err != nil {
		panic(err)
	}
	return h
}

func ip(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }

func TestParseHost(t *testing.T) {
	for in, want := range map[string]Host{
		"smtp.example.org": {"smtp.example.org", 0}, "SMTP.Example.org:587": {"smtp.example.org", 587}, "127.0.0.1": {"127.0.0.1", 0},
		"127.0.0.1:25": {"127.0.0.1", 25}, "[127.0.0.1]": {"127.0.0.1", 0}, "2001:db8::1": {"2001:db8::1", 0}, "[2001:DB8::1]:2525": {"2001:db8::1", 2525},
		"[2001:db8::1]": {"2001:db8::1", 0}, "localhost:24": {"localhost", 24}, "/run/dovecot/lmtp": {"/run/dovecot/lmtp", 0}, "bücher.test:25": {"xn--bcher-kva.test", 25},
	} {
		got, err := ParseHost(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
		if again, err := ParseHost(got.String()); err != nil || again != got {
			t.Errorf("%q comes back from %q as %+v, %v", in, got.String(), again, err)
		}
	}
	for _, in := range []string{"", ":25", "a b", "host:", "host:0", "host:65536", "host:x", "-a:25", "fe80::1%eth0", "[::1", "a@b", "smtp://x", "host:25:26", "x\x00", "/run/../x", "/a\nb", "/" + strings.Repeat("x", 107)} {
		if got, err := ParseHost(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

// TestRouteFor holds who goes where: the order of DESIGN's routes.
func TestRouteFor(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	for _, r := range []Relay{
		{Name: "Smart", Hosts: []Host{hop("smtp.example.org:587")}, TLS: TLSVerified, User: "site"},
		{Name: "inner", Hosts: []Host{hop("127.0.0.1:2525"), hop("127.0.0.2:2525")}, Fallback: "smart"},
		{Name: "store", Hosts: []Host{hop("localhost:24")}, LMTP: true, TLS: TLSNever, Way: Way{HELO: "mx.example.test"}},
	} {
		password := ""
		if r.User != "" {
			password = "s3cret"
		}
		must(t, second(d.AddRelay(ctx, r, password, false)))
	}
	for _, r := range []Rule{
		{Side: ToDomain, Pattern: "Inner.test", Relay: "inner"},
		{Side: ToDomain, Pattern: "*.inner.test", Relay: "store"},
		{Side: ToDomain, Pattern: "*.a.inner.test", Relay: "inner"},
		{Side: ToDomain, Pattern: "open.test"},
		{Side: ToDomain, Pattern: "proxied.test", Way: Way{SOCKS5: "127.0.0.1:1080"}},
		{Side: ToDomain, Pattern: "[127.0.0.9]", Relay: "inner"},
		{Side: FromWhom, Pattern: "Alice@example.test", Way: Way{Source: append(ip("2001:db8::7"), ip("192.0.2.7")...), HELO: "Alice.Example.test"}},
		{Side: FromWhom, Pattern: "example.org", Relay: "inner"},
		{Side: FromWhom, Pattern: "*.example.org", Relay: "store"},
		{Side: AllMail, Relay: "SMART"},
	} {
		must(t, second(d.SetRule(ctx, r)))
	}
	must(t, d.SetFallback(ctx, "", "inner"))
	const own = "#192.0.2.7,2001:db8::7,helo=alice.example.test"
	for _, c := range []struct{ from, to, want string }{
		{"bob@example.test", "gmail.test", "relay:smart"},
		{"", "gmail.test", "relay:smart"},
		{"", "inner.test", "relay:inner"},
		{"", "b.inner.test", "relay:store"},
		{"", "b.a.inner.test", "relay:inner"},
		{"alice@example.test", "inner.test", "relay:inner"},
		{"alice@example.test", "gmail.test", "gmail.test" + own},
		{"ALICE@example.test", "gmail.test", "gmail.test" + own},
		{"alice@example.test", "open.test", "open.test" + own},
		{"alice@example.test", "proxied.test", "proxied.test#socks5=127.0.0.1:1080"},
		{"bob@example.test", "open.test", "open.test"},
		{"bob@example.org", "gmail.test", "relay:inner"},
		{"bob@a.example.org", "gmail.test", "relay:store"},
		{"bob@a.example.org", "open.test", "open.test"},
		{"", "[127.0.0.9]", "relay:inner"},
		{"", "[127.0.0.8]", "relay:smart"},
	} {
		var from mail.Address
		if c.from != "" {
			from = addr(c.from)
		}
		r, err := d.RouteFor(ctx, from, c.to)
		if err != nil || r.Key != c.want {
			t.Errorf("from %q to %s: %s, %v, want %s", c.from, c.to, r.Key, err, c.want)
		}
		if k := d.RouteKey(from, c.to); k != c.want {
			t.Errorf("from %q to %s: key %s, want %s", c.from, c.to, k, c.want)
		}
	}

	// What a route holds.
	smart := &Route{Key: "relay:smart", Hosts: []Host{hop("smtp.example.org:587")}, TLS: TLSVerified, Auth: &Login{"site", "s3cret"}}
	inner := &Route{Key: "relay:inner", Hosts: []Host{hop("127.0.0.1:2525"), hop("127.0.0.2:2525")}}
	for to, want := range map[string]Route{
		"a.test":       *smart,
		"open.test":    {Key: "open.test", Domain: "open.test", Fallback: inner},
		"inner.test":   {Key: "relay:inner", Hosts: inner.Hosts, Fallback: smart},
		"x.inner.test": {Key: "relay:store", Hosts: []Host{hop("localhost:24")}, LMTP: true, TLS: TLSNever, Way: Way{HELO: "mx.example.test"}},
	} {
		if got, err := d.RouteFor(ctx, mail.Address{}, to); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("to %s: %+v, %v", to, got, err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(verb, *smart.Auth); strings.Contains(s, "s3cret") || !strings.Contains(s, "site") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
	var sealed []byte
	must(t, d.pool.QueryRow(ctx, "SELECT password FROM relay WHERE name = 'smart'").Scan(&sealed))
	if len(sealed) == 0 || strings.Contains(string(sealed), "s3cret") {
		t.Error("the password lies in the database in clear")
	}

	// What is in use stays; what is not goes.
	for what, c := range map[string]struct{ err, want error }{
		"rm inner":         {d.RemoveRelay(ctx, "inner"), ErrConflict},
		"rm store":         {d.RemoveRelay(ctx, "store"), ErrConflict},
		"rm none":          {d.RemoveRelay(ctx, "nosuch"), ErrNotFound},
		"fallback to none": {d.SetFallback(ctx, "inner", "nosuch"), ErrNotFound},
		"fallback of none": {d.SetFallback(ctx, "nosuch", "inner"), ErrNotFound},
		"unroute":          {d.RemoveRule(ctx, ToDomain, "gmail.test"), ErrNotFound},
		"route to none":    {second(d.SetRule(ctx, Rule{Side: AllMail, Relay: "nosuch"})), ErrNotFound},
		"twice":            {second(d.AddRelay(ctx, Relay{Name: "inner", Hosts: inner.Hosts}, "", false)), ErrConflict},
		"replace none":     {second(d.AddRelay(ctx, Relay{Name: "nosuch", Hosts: inner.Hosts}, "", true)), ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	must(t, d.SetFallback(ctx, "", ""))
	must(t, d.SetFallback(ctx, "inner", ""))
	rules, err := d.Rules(ctx)
	must(t, err)
	if len(rules) != 10 || rules[len(rules)-1].Side != AllMail {
		t.Errorf("%v", rules)
	}
	for _, r := range rules {
		must(t, d.RemoveRule(ctx, r.Side, r.Pattern))
	}
	for _, name := range []string{"inner", "store", "Smart"} {
		must(t, d.RemoveRelay(ctx, name))
	}
	if r, err := d.RouteFor(ctx, mail.Address{}, "a.test"); err != nil || !reflect.DeepEqual(r, Route{Key: "a.test", Domain: "a.test"}) {
		t.Errorf("without routes: %+v, %v", r, err)
	}
}

func TestRelayIsRefused(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	h := []Host{hop("smtp.example.org")}
	for what, c := range map[string]struct {
		r        Relay
		password string
	}{
		"no name":            {Relay{Hosts: h}, ""},
		"a space":            {Relay{Name: "a b", Hosts: h}, ""},
		"a word of ours":     {Relay{Name: "direct", Hosts: h}, ""},
		"no host":            {Relay{Name: "x"}, ""},
		"too many hosts":     {Relay{Name: "x", Hosts: make([]Host, 21)}, ""},
		"no password":        {Relay{Name: "x", Hosts: h, User: "u"}, ""},
		"no user":            {Relay{Name: "x", Hosts: h}, "p"},
		"a line break":       {Relay{Name: "x", Hosts: h, User: "u"}, "p\r\nRCPT"},
		"password in clear":  {Relay{Name: "x", Hosts: h, User: "u", TLS: TLSNever}, "p"},
		"LMTP on 25":         {Relay{Name: "x", Hosts: []Host{hop("a.test:25")}, LMTP: true}, ""},
		"LMTP without port":  {Relay{Name: "x", Hosts: h, LMTP: true}, ""},
		"a proxy's socket":   {Relay{Name: "x", Hosts: h, Way: Way{SOCKS5: "/run/x"}}, ""},
		"two sources":        {Relay{Name: "x", Hosts: h, Way: Way{Source: append(ip("192.0.2.1"), ip("192.0.2.2")...)}}, ""},
		"no source":          {Relay{Name: "x", Hosts: h, Way: Way{Source: ip("0.0.0.0")}}, ""},
		"its own fallback":   {Relay{Name: "x", Hosts: h, Fallback: "x"}, ""},
		"a name that is not": {Relay{Name: "x", Hosts: h, Way: Way{HELO: "a b"}}, ""},
		"a proxy's port":     {Relay{Name: "x", Hosts: h, Way: Way{SOCKS5: "127.0.0.1"}}, ""},
	} {
		if _, err := d.AddRelay(ctx, c.r, c.password, false); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "RCPT") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, r := range []Rule{{Side: "x"}, {Side: AllMail, Pattern: "a"}, {Side: ToDomain}, {Side: ToDomain, Pattern: "alice@example.org"},
		{Side: FromWhom, Pattern: "a b"}, {Side: FromWhom, Pattern: "[127.0.0.1]"}, {Side: ToDomain, Pattern: "*"}, {Side: ToDomain, Pattern: "a.*.b"},
		{Side: AllMail, Relay: "x", Way: Way{HELO: "a.test"}}} {
		if _, err := d.SetRule(ctx, r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	must(t, second(d.AddRelay(ctx, Relay{Name: "socket", Hosts: []Host{hop("/run/lmtp")}, LMTP: true}, "", false)))
	must(t, d.RemoveRelay(ctx, "socket"))
	madeUp := node(t, d.pool, Options{MadeUp: true})
	if err := second(madeUp.AddRelay(ctx, Relay{Name: "x", Hosts: h, User: "u"}, "p", false)); !errors.Is(err, ErrNoKey) {
		t.Errorf("without the site's key: %v", err)
	}
	dry := DryRun(ctx)
	must(t, second(d.AddRelay(dry, Relay{Name: "x", Hosts: h}, "", false)))
	if list, err := d.Relays(ctx); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestRoutesOnTwoNodes holds that a change is told on the other node, and in
// force there before it is told.
func TestRoutesOnTwoNodes(t *testing.T) {
	pool := pgtest.Pool(t)
	told := make(chan string, 10)
	other := node(t, pool, Options{})
	other.Attach(Hooks{OnRoutes: func(context.Context) { told <- other.RouteKey(mail.Address{}, "a.test") }})
	d := node(t, pool, Options{})
	ctx := t.Context()
	if k := other.RouteKey(mail.Address{}, "a.test"); k != "a.test" {
		t.Fatal(k)
	}
	next := func(want string) {
		t.Helper()
		for deadline := time.After(5 * time.Second); ; {
			select {
			case got := <-told:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("never told of %s", want)
			}
		}
	}
	must(t, second(d.AddRelay(ctx, Relay{Name: "smart", Hosts: []Host{hop("127.0.0.1:2525")}, User: "u"}, "p", false)))
	must(t, second(d.SetRule(ctx, Rule{Side: AllMail, Relay: "smart"})))
	next("relay:smart")
	if r, err := other.RouteFor(ctx, mail.Address{}, "a.test"); err != nil || r.Auth.Password != "p" {
		t.Errorf("%+v, %v", r, err)
	}
	must(t, second(d.AddRelay(ctx, Relay{Name: "smart", Hosts: []Host{hop("127.0.0.1:2525")}, User: "u"}, "q", true)))
	for deadline := time.Now().Add(5 * time.Second); ; {
		if r, err := other.RouteFor(ctx, mail.Address{}, "a.test"); err != nil {
			t.Fatal(err)
		} else if r.Auth.Password == "q" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other node has the old password")
		}
	}
	must(t, d.RemoveRule(ctx, AllMail, ""))
	next("a.test")
}

// TestPasswordOfAnotherSite holds that a relay whose password does not open
// defers its own mail and nobody else's.
func TestPasswordOfAnotherSite(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	h := []Host{hop("127.0.0.1:2525")}
	must(t, second(d.AddRelay(ctx, Relay{Name: "smart", Hosts: h, User: "u"}, "p", false)))
	must(t, second(d.AddRelay(ctx, Relay{Name: "other", Hosts: h, User: "u"}, "p", false)))
	must(t, second(d.SetRule(ctx, Rule{Side: ToDomain, Pattern: "a.test", Relay: "smart"})))
	// A sealed password moved to another row does not open there.
	_, err := d.pool.Exec(ctx, "UPDATE relay SET password = (SELECT password FROM relay WHERE name = 'other') WHERE name = 'smart'")
	must(t, err)
	_, err = d.pool.Exec(ctx, "UPDATE routing SET version = version + 1")
	must(t, err)
	d.routing.expire()
	if r, err := d.RouteFor(ctx, mail.Address{}, "a.test"); mail.ClassOf(err) != mail.Temporary || err == nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := d.RouteFor(ctx, mail.Address{}, "b.test"); err != nil || r.Key != "b.test" {
		t.Errorf("%+v, %v", r, err)
	}
	if k := d.RouteKey(mail.Address{}, "a.test"); k != "relay:smart" {
		t.Error(k)
	}
}

func BenchmarkRouteFor(b *testing.B) {
	d := open(b)
	ctx := b.Context()
	for i := range 50 {
		must(b, second(d.SetRule(ctx, Rule{Side: ToDomain, Pattern: fmt.Sprintf("d%d.test", i)})))
	}
	from := addr("alice@example.test")
	for b.Loop() {
		if _, err := d.RouteFor(ctx, from, "a.b.example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
