package directory

import (
	"errors"
	"testing"
)

// Members of a shared account with the right p write in its name; those of a
// person's mailbox do not.
func TestMembersSendAsShared(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	info, err := d.CreateSharedAccount(ctx, addr("info@example.test"))
	must(t, err)
	if _, _, err := d.MakeLink(ctx, info.Address, LinkFor); !errors.Is(err, ErrInvalid) {
		t.Errorf("a link for a password that nobody logs in with: %v", err)
	}
	must(t, second(d.AddAlias(ctx, addr("sales@example.test"), addr("info@example.test"))))
	alice, err := d.Account(ctx, addr("alice@example.test"))
	must(t, err)
	bob, err := d.Account(ctx, addr("bob@example.test"))
	must(t, err)
	for _, owner := range []int64{info.ID, alice.ID} { // the directory makes no mailboxes
		must(t, second(d.pool.Exec(ctx, `INSERT INTO mailbox (account_id, name, uidvalidity) VALUES ($1, 'INBOX', 1)`, owner)))
	}
	grant := func(owner int64, grantee *int64, domain *string, negative bool, rights int) {
		t.Helper()
		must(t, second(d.pool.Exec(ctx, `INSERT INTO acl (mailbox_id, grantee_id, domain, negative, rights) SELECT id, $2, $3, $4, $5 FROM mailbox WHERE account_id = $1`,
			owner, grantee, domain, negative, rights)))
	}
	check := func(what string, want bool, froms ...string) {
		t.Helper()
		for _, from := range froms {
			if ok, err := d.MaySendAs(ctx, bob.ID, addr(from)); ok != want || err != nil {
				t.Errorf("%s, %s: %v, %v", what, from, ok, err)
			}
		}
	}
	check("no rights", false, "info@example.test")
	grant(info.ID, &bob.ID, nil, false, 31) // lrswi
	check("no p", false, "info@example.test")
	domain := "example.test"
	grant(info.ID, nil, &domain, false, 32)
	check("p", true, "info@example.test", "info+x@example.test", "sales@example.test")
	grant(alice.ID, &bob.ID, nil, false, 2047)
	check("a person's", false, "alice@example.test")
	grant(info.ID, &bob.ID, nil, true, 32)
	check("taken away", false, "info@example.test", "sales@example.test")
}
