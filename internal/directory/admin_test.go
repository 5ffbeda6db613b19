package directory

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func TestDomains(t *testing.T) {
	d := node(t, pgtest.Pool(t), Options{})
	ctx := t.Context()
	dom, err := d.CreateDomain(ctx, "BÜCHER.test")
	if err != nil || dom.Name != "xn--bcher-kva.test" || dom.Created.IsZero() {
		t.Fatalf("%+v, %v", dom, err)
	}
	if _, err := d.CreateDomain(ctx, "bücher.test"); !errors.Is(err, ErrConflict) {
		t.Errorf("twice: %v", err)
	}
	if _, err := d.CreateDomain(ctx, "a b"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a space: %v", err)
	}
	must(t, second(d.CreateDomain(ctx, "localhost")))
	must(t, second(d.CreateAccount(ctx, addr("alice@localhost"), "")))
	must(t, second(d.AddAlias(ctx, addr("a@localhost"), addr("alice@localhost"))))
	must(t, second(d.AddAlias(ctx, addr("b@bücher.test"), addr("alice@localhost"))))
	must(t, d.SetCatchAll(ctx, "localhost", addr("alice+all@localhost")))
	must(t, d.SetPostmaster(ctx, "localhost", addr("root@example.org")))
	list, err := d.Domains(ctx)
	must(t, err)
	for i := range list {
		list[i].Created, list[i].STSSince = dom.Created, dom.STSSince
	}
	want := []Domain{
		{Name: "localhost", CatchAll: addr("alice+all@localhost"), Postmaster: addr("root@example.org"), Accounts: 1, Aliases: 1, STSMode: "testing", STSSince: dom.STSSince, Created: dom.Created},
		{Name: "xn--bcher-kva.test", Aliases: 1, STSMode: "testing", STSSince: dom.STSSince, Created: dom.Created},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("%+v", list)
	}
	must(t, d.SetCatchAll(ctx, "localhost", mail.Address{}))
	if dom, err := d.Domain(ctx, "LOCALHOST"); err != nil || !dom.CatchAll.IsZero() {
		t.Errorf("%+v, %v", dom, err)
	}
	if err := d.RemoveDomain(ctx, "localhost"); !errors.Is(err, ErrConflict) {
		t.Errorf("remove with an account: %v", err)
	}
	must(t, d.RemoveDomain(ctx, "bücher.test"))
	for what, err := range map[string]error{
		"remove":     d.RemoveDomain(ctx, "bücher.test"),
		"catch-all":  d.SetCatchAll(ctx, "bücher.test", addr("alice@localhost")),
		"show":       second(d.Domain(ctx, "bücher.test")),
		"account in": second(d.CreateAccount(ctx, addr("x@bücher.test"), "")),
		"alias in":   second(d.AddAlias(ctx, addr("x@bücher.test"), addr("alice@localhost"))),
		"its alias":  second(d.Alias(ctx, addr("b@bücher.test"))),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, want := range map[string]bool{"localhost": true, "xn--bcher-kva.test": false, "a\x00": false} {
		if ok, err := d.LocalDomain(ctx, name); ok != want || err != nil {
			t.Errorf("%q local: %v, %v", name, ok, err)
		}
	}
}

// TestOnDomain holds that a domain and what the hook makes for it come into
// being together.
func TestOnDomain(t *testing.T) {
	var made []string
	var fault error
	d := node(t, pgtest.Pool(t), Options{OnDomain: func(ctx context.Context, tx pgx.Tx, domain string) error {
		made = append(made, domain)
		if err := tx.QueryRow(ctx, "SELECT FROM domain WHERE name = $1", domain).Scan(); err != nil {
			return err
		}
		return fault
	}})
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "Bücher.test")))
	if err := second(d.CreateDomain(ctx, "bücher.test")); !errors.Is(err, ErrConflict) {
		t.Errorf("twice: %v", err)
	}
	fault = errors.New("no key")
	if err := second(d.CreateDomain(ctx, "example.test")); !errors.Is(err, fault) {
		t.Errorf("the hook's error: %v", err)
	}
	if err := second(d.Domain(ctx, "example.test")); !errors.Is(err, ErrNotFound) {
		t.Errorf("the domain is there without what the hook makes: %v", err)
	}
	if want := []string{"xn--bcher-kva.test", "example.test"}; !reflect.DeepEqual(made, want) {
		t.Errorf("hook ran for %q", made)
	}
}

func TestAccounts(t *testing.T) {
	var created, removed []int64
	d := node(t, pgtest.Pool(t), Options{
		OnCreate: func(_ context.Context, _ pgx.Tx, id int64) error { created = append(created, id); return nil },
		OnRemove: func(_ context.Context, _ pgx.Tx, id int64) error { removed = append(removed, id); return nil },
	})
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "example.test")))
	alice, err := d.CreateAccount(ctx, addr("Alice@example.test"), "secret")
	must(t, err)
	must(t, second(d.AddAlias(ctx, addr("info@example.test"), addr("alice@example.test"))))
	for a, want := range map[string]error{
		"ALICE@example.test": ErrConflict, "info@example.test": ErrConflict,
		`"a b"@example.test`: ErrInvalid, "a@[127.0.0.1]": ErrInvalid, "a@example.org": ErrNotFound,
	} {
		if _, err := d.CreateAccount(ctx, addr(a), ""); !errors.Is(err, want) {
			t.Errorf("create %s: %v", a, err)
		}
	}
	if _, err := d.AddAlias(ctx, addr("alice@example.test"), addr("x@example.org")); !errors.Is(err, ErrConflict) {
		t.Errorf("alias over an account: %v", err)
	}
	for _, bad := range []string{"a\r\nb", "nul\x00", "\xff\xfe", strings.Repeat("x", maxPassword+1)} {
		if err := d.SetPassword(ctx, addr("alice@example.test"), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("password %.10q: %v", bad, err)
		}
	}
	octets, messages, negative := int64(1000), int64(10), int64(-1)
	a := addr("alice@example.test")
	must(t, d.SetQuota(ctx, a, &octets, &messages))
	if err := d.SetQuota(ctx, a, &negative, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("negative quota: %v", err)
	}
	must(t, d.SetRetention(ctx, a, mail.Retention{Mode: mail.RetainExpire, Days: 30}))
	if err := d.SetRetention(ctx, a, mail.Retention{Mode: mail.RetainExpire}); !errors.Is(err, ErrInvalid) {
		t.Errorf("expire without days: %v", err)
	}
	must(t, d.SetPop3MarksSeen(ctx, a, true))
	must(t, d.SetDisabled(ctx, a, true))
	want := Account{ID: alice.ID, Address: a, Disabled: true, Retention: mail.Retention{Mode: mail.RetainExpire, Days: 30},
		Pop3MarksSeen: true, QuotaBytes: &octets, QuotaMessages: &messages}
	for i, get := range []func() (Account, error){
		func() (Account, error) { return d.Account(ctx, a) },
		func() (Account, error) { return d.AccountByID(ctx, alice.ID) },
		func() (Account, error) {
			l, err := d.Accounts(ctx, "Example.TEST")
			return append(l, Account{})[0], err
		},
		func() (Account, error) { l, err := d.Accounts(ctx, ""); return append(l, Account{})[0], err },
	} {
		if got, err := get(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %+v, %v", i, got, err)
		}
	}
	must(t, d.SetRetention(ctx, a, mail.Retention{Mode: mail.RetainArchive}))
	if got, err := d.Account(ctx, a); err != nil || got.Retention.String() != "archive" {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, d.RemoveAccount(ctx, a))
	if err := d.RemoveAccount(ctx, a); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove twice: %v", err)
	}
	again, err := d.CreateAccount(ctx, a, "")
	if err != nil || again.ID == alice.ID {
		t.Errorf("made again: %+v, %v", again, err)
	}
	if !reflect.DeepEqual(created, []int64{alice.ID, again.ID}) || !reflect.DeepEqual(removed, []int64{alice.ID}) {
		t.Errorf("created %v, removed %v", created, removed)
	}
}

func TestAliases(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	_, err := d.AddAlias(ctx, addr("Team@example.test"), addr("alice@example.test"), addr("Bob@example.test"))
	must(t, err)
	al, err := d.AddAlias(ctx, addr("team@example.test"), addr("alice@example.test"), addr("x@example.org"))
	must(t, err)
	want := Alias{Address: addr("team@example.test"), Targets: []mail.Address{addr("alice@example.test"), addr("Bob@example.test"), addr("x@example.org")}}
	list, err := d.Aliases(ctx, "example.test")
	if !reflect.DeepEqual(al, want) || err != nil || !reflect.DeepEqual(list, []Alias{want}) {
		t.Errorf("%+v, %+v, %v", al, list, err)
	}
	if _, err := d.AddAlias(ctx, addr("none@example.test")); !errors.Is(err, ErrInvalid) {
		t.Errorf("no targets: %v", err)
	}
	if err := d.RemoveAlias(ctx, addr("team@example.test"), addr("x@example.org"), addr("y@example.org")); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove what is not there: %v", err)
	}
	must(t, d.RemoveAlias(ctx, addr("team@example.test"), addr("x@example.org"), addr("bob@example.test")))
	if got, err := d.Alias(ctx, addr("team@example.test")); err != nil || len(got.Targets) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, d.RemoveAlias(ctx, addr("team@example.test"), addr("alice@example.test")))
	if err := d.RemoveAlias(ctx, addr("team@example.test")); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove what is gone: %v", err)
	}
}

// A dry run finds the same errors and changes nothing.
func TestDryRun(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	dry := DryRun(ctx)
	a := addr("alice@example.test")
	for what, c := range map[string]struct{ err, want error }{
		"domain":         {second(d.CreateDomain(dry, "example.org")), nil},
		"domain again":   {second(d.CreateDomain(dry, "example.test")), ErrConflict},
		"account":        {second(d.CreateAccount(dry, addr("carol@example.test"), "x")), nil},
		"account again":  {second(d.CreateAccount(dry, a, "x")), ErrConflict},
		"account in":     {second(d.CreateAccount(dry, addr("a@example.org"), "x")), ErrNotFound},
		"alias":          {second(d.AddAlias(dry, addr("info@example.test"), a)), nil},
		"password":       {d.SetPassword(dry, a, "other"), nil},
		"disable":        {d.SetDisabled(dry, a, true), nil},
		"remove":         {d.RemoveAccount(dry, a), nil},
		"remove unknown": {d.RemoveAccount(dry, addr("carol@example.test")), ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	if _, err := d.Authenticate(ctx, "alice@example.test", "alice's secret", from("127.0.0.1")); err != nil {
		t.Errorf("alice after a dry run: %v", err)
	}
	if doms, err := d.Domains(ctx); err != nil || len(doms) != 1 || doms[0].Accounts != 2 || doms[0].Aliases != 0 {
		t.Errorf("%+v, %v", doms, err)
	}
}
