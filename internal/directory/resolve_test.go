package directory

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

// shown is a resolution as one line.
func shown(t *testing.T, d *Directory, rcpt mail.Address) string {
	t.Helper()
	r, err := d.Resolve(t.Context(), rcpt)
	if err != nil {
		if e, ok := errors.AsType[*mail.Error](err); ok {
			return fmt.Sprintf("%d %s", e.Code, e.Enhanced)
		}
		t.Fatal(err)
	}
	s := r.Status.String()
	for _, a := range r.Accounts {
		s += " " + a.Address.String()
		if a.Detail != "" {
			s += "[" + a.Detail + "]"
		}
	}
	for _, a := range r.Remote {
		s += " >" + a.String()
	}
	return s
}

func TestResolve(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "example.org")))
	must(t, second(d.CreateDomain(ctx, "bücher.test")))
	must(t, second(d.CreateAccount(ctx, addr("jürgen@bücher.test"), "")))
	must(t, second(d.CreateAccount(ctx, addr("off@example.test"), "")))
	must(t, second(d.CreateAccount(ctx, addr("exact+tag@example.test"), "")))
	must(t, d.SetDisabled(ctx, addr("off@example.test"), true))
	alias := func(a string, targets ...string) {
		t.Helper()
		var to []mail.Address
		for _, s := range targets {
			to = append(to, addr(s))
		}
		must(t, second(d.AddAlias(ctx, addr(a), to...)))
	}
	alias("team@example.test", "alice@example.test", "Bob@EXAMPLE.test", "else@remote.test")
	alias("all@example.test", "team@example.test", "alice@example.test", "off@example.test")
	alias("offs@example.test", "off@example.test")
	alias("gone@example.test", "nobody@example.test")
	alias("filed@example.test", "alice+lists@example.test")
	alias("any@example.org", "bob@example.test")
	must(t, d.SetCatchAll(ctx, "example.org", addr("any@example.org")))
	must(t, d.SetPostmaster(ctx, "bücher.test", addr("bob+pm@example.test")))

	for _, c := range []struct{ rcpt, want string }{
		{"alice@example.test", "ok alice@example.test"},
		{"ALICE@Example.TEST", "ok alice@example.test"},
		{"alice+Shop@example.test", "ok alice@example.test[Shop]"},
		{"alice+a+b@example.test", "ok alice@example.test[a+b]"},
		{"alice+@example.test", "ok alice@example.test"},
		{"+alice@example.test", "no such user"},
		{"exact+tag@example.test", "ok exact+tag@example.test"},
		{"nobody@example.test", "no such user"},
		{"nobody+alice@example.test", "no such user"},
		{"alice@example.net", "not local"},
		{"alice@sub.example.test", "not local"},
		{"off@example.test", "disabled"},
		{"offs@example.test", "disabled"},
		{"gone@example.test", "no such user"},
		{"team@example.test", "ok alice@example.test bob@example.test >else@remote.test"},
		{"team+x@example.test", "ok alice@example.test[x] bob@example.test[x] >else@remote.test"},
		{"all@example.test", "ok alice@example.test bob@example.test >else@remote.test"},
		{"filed@example.test", "ok alice@example.test[lists]"},
		{"whoever@example.org", "ok bob@example.test"},
		{"JÜRGEN@bücher.test", "ok jürgen@xn--bcher-kva.test"},
		{"ju\u0308rgen@xn--bcher-kva.test", "ok jürgen@xn--bcher-kva.test"},
		{"postmaster@example.test", "ok alice@example.test"},
		{"Abuse@example.test", "ok alice@example.test"},
		{"postmaster@example.org", "ok bob@example.test"},
		{"abuse@bücher.test", "ok bob@example.test[pm]"},
		{"postmaster@example.net", "not local"},
	} {
		for range 2 { // the second comes from memory
			if got := shown(t, d, addr(c.rcpt)); got != c.want {
				t.Errorf("%s: %s, want %s", c.rcpt, got, c.want)
			}
		}
	}
	bare := mail.Address{Local: "Postmaster"}
	if got := shown(t, d, bare); got != "ok alice@example.test" {
		t.Errorf("bare postmaster: %s", got)
	}
	if got := shown(t, d, mail.Address{Local: "alice"}); got != "no such user" {
		t.Errorf("bare alice: %s", got)
	}
	if got := shown(t, d, mail.Address{Local: "a\x00b\xff", Domain: "example.test"}); got != "no such user" {
		t.Errorf("NUL: %s", got)
	}
	must(t, second(d.AddAlias(ctx, addr("postmaster@example.test"), addr("bob@example.test"))))
	if got := shown(t, d, bare); got != "ok bob@example.test" {
		t.Errorf("bare postmaster with an alias: %s", got)
	}
}

// An alias that leads back to itself is refused, and one that came into the
// table all the same ends (TRUST row 18).
func TestAliasCircle(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	a, b, c := addr("a@example.test"), addr("b@example.test"), addr("c@example.test")
	must(t, second(d.AddAlias(ctx, a, b)))
	must(t, second(d.AddAlias(ctx, b, c)))
	for _, back := range []string{"a@example.test", "A+x@example.test", "c@example.test", "b@example.test"} {
		if _, err := d.AddAlias(ctx, c, addr(back)); !errors.Is(err, ErrConflict) {
			t.Errorf("c to %s: %v", back, err)
		}
	}
	_, err := d.pool.Exec(ctx, "INSERT INTO alias VALUES ('c@example.test', 'example.test', '{a@example.test}')")
	must(t, err)
	if got := shown(t, d, a); got != "550 5.4.6" {
		t.Errorf("circle: %s", got)
	}
	_, err = d.pool.Exec(ctx, "UPDATE alias SET targets = array_append(targets, 'bob@example.test') WHERE address = 'c@example.test'")
	must(t, err)
	if got := shown(t, d, a); got != "ok bob@example.test" {
		t.Errorf("circle with a way out: %s", got)
	}
	for i := range 12 {
		_, err := d.pool.Exec(ctx, "INSERT INTO alias VALUES ($1, 'example.test', ARRAY[$2])",
			fmt.Sprintf("n%d@example.test", i), fmt.Sprintf("n%d@example.test", i+1))
		must(t, err)
	}
	if got := shown(t, d, addr("n0@example.test")); got != "550 5.4.6" {
		t.Errorf("12 levels: %s", got)
	}
	if _, err := d.AddAlias(ctx, addr("deep@example.test"), addr("n0@example.test")); !errors.Is(err, ErrConflict) {
		t.Errorf("alias 13 levels deep: %v", err)
	}
}

func TestAliasWidth(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	var many []mail.Address
	for i := range 600 {
		many = append(many, addr(fmt.Sprintf("u%d@remote.test", i)))
	}
	wide := addr("wide@example.test")
	must(t, second(d.AddAlias(ctx, wide, many...)))
	r, err := d.Resolve(ctx, wide)
	if err != nil || len(r.Remote) != 600 {
		t.Fatalf("%d targets, %v", len(r.Remote), err)
	}
	for i := range many {
		many[i].Local = "w" + many[i].Local
	}
	if _, err := d.AddAlias(ctx, wide, many...); !errors.Is(err, ErrConflict) {
		t.Errorf("1,200 targets: %v", err)
	}
	must(t, second(d.AddAlias(ctx, addr("wide2@example.test"), many...)))
	if _, err := d.AddAlias(ctx, addr("both@example.test"), wide, addr("wide2@example.test")); !errors.Is(err, ErrConflict) {
		t.Errorf("two of 600: %v", err)
	}
}

func TestMaySendAs(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	alice, err := d.Account(ctx, addr("Alice@example.test"))
	must(t, err)
	must(t, second(d.AddAlias(ctx, addr("info@example.test"), addr("alice@example.test"))))
	must(t, second(d.AddAlias(ctx, addr("bobs@example.test"), addr("bob@example.test"))))
	for from, want := range map[string]bool{
		"alice@example.test": true, "ALICE+x@example.test": true, "info@example.test": true, "postmaster@example.test": true,
		"bob@example.test": false, "bobs@example.test": false, "nobody@example.test": false, "alice@example.net": false,
	} {
		if ok, err := d.MaySendAs(ctx, alice.ID, addr(from)); ok != want || err != nil {
			t.Errorf("%s: %v, %v", from, ok, err)
		}
	}
	if ok, err := d.MaySendAs(ctx, alice.ID, mail.Address{}); !ok || err != nil {
		t.Errorf("null reverse-path: %v, %v", ok, err)
	}
}

// A change made on one node holds on the other at once, also for what the
// other remembers.
func TestResolveAcrossNodes(t *testing.T) {
	url := pgtest.URL(t)
	d := node(t, pgtest.PoolOn(t, url), Options{})
	other := node(t, pgtest.PoolOn(t, url), Options{})
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "example.test")))
	must(t, second(d.CreateAccount(ctx, addr("alice@example.test"), "")))
	must(t, second(d.CreateAccount(ctx, addr("bob@example.test"), "")))
	info := addr("info@example.test")
	if got := shown(t, other, info); got != "no such user" {
		t.Fatal(got)
	}
	must(t, second(d.AddAlias(ctx, info, addr("alice@example.test"))))
	if got := shown(t, other, info); got != "ok alice@example.test" {
		t.Fatalf("new alias: %s", got)
	}
	must(t, second(d.AddAlias(ctx, info, addr("bob@example.test"))))
	must(t, d.RemoveAlias(ctx, info, addr("alice@example.test")))
	deadline := time.Now().Add(resolveTTL)
	for shown(t, other, info) != "ok bob@example.test" {
		if time.Now().After(deadline) {
			t.Fatal("the other node still believes the old alias")
		}
	}
	if got := shown(t, d, info); !strings.HasPrefix(got, "ok bob") {
		t.Errorf("own change: %s", got)
	}
}

// Whether anybody needs to ask for an account's room follows its quota at once.
func TestUnlimited(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	alice, limit := addr("alice@example.test"), int64(1000)
	for _, x := range []struct{ octets, messages *int64 }{{}, {&limit, nil}, {nil, &limit}, {}} {
		must(t, d.SetQuota(ctx, alice, x.octets, x.messages))
		for _, to := range []string{"alice@example.test", "alice+x@example.test"} {
			r, err := d.Resolve(ctx, addr(to))
			must(t, err)
			if want := x.octets == nil && x.messages == nil; r.Accounts[0].Unlimited != want {
				t.Errorf("%s with a quota of %v octets, %v messages: Unlimited is %v", to, x.octets, x.messages, !want)
			}
		}
	}
}
