package mailauth

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// life is the keys of a domain as "a rsa signing, …", the newest first.
func life(keys []Key) string {
	var list []string
	for _, k := range keys {
		name := regexp.MustCompile(`^ph\d+`).ReplaceAllString(strings.TrimSuffix(k.Selector, "-"+k.Algorithm), "")
		list = append(list, fmt.Sprintf("%s %s %s", name, k.Algorithm, k.State))
	}
	return strings.Join(list, ", ")
}

// pass lets time go by for the keys.
func pass(t *testing.T, k *Keys, d time.Duration) {
	t.Helper()
	_, err := k.pool.Exec(t.Context(), `UPDATE dkim_key SET signs_at = signs_at - $1 * interval '1 second',
		created_at = created_at - $1 * interval '1 second', retired_at = retired_at - $1 * interval '1 second'`, d.Seconds())
	must(t, err)
	k.forget("example.test")
}

func expect(t *testing.T, k *Keys, when, want string) {
	t.Helper()
	keys, err := k.List(t.Context(), "example.test")
	must(t, err)
	if got := life(keys); got != want {
		t.Errorf("%s: %s, want %s", when, got, want)
	}
	if got := verdicts(t, published(t, k), signed(t, k, letter)); got != "rsa pass, ed25519 pass" {
		t.Errorf("%s: signatures: %s", when, got)
	}
}

// TestRotate follows a rotation from its first command to the day when the old
// keys are gone. At every moment mail is signed by a key that is published.
func TestRotate(t *testing.T) {
	k := open(t)
	ctx := t.Context()
	old := "a rsa signing, a ed25519 signing"
	expect(t, k, "at first", old)
	keys, made, err := k.Rotate(ctx, "example.test", Rotation{Overlap: Overlap, DryRun: true})
	if err != nil || !made || len(keys) != 4 {
		t.Fatalf("dry run: %s, made %t, %v", life(keys), made, err)
	}
	expect(t, k, "after a dry run", old)

	keys, made, err = k.Rotate(ctx, "example.test", Rotation{Overlap: Overlap})
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	waiting := "b rsa next, b ed25519 next, " + old
	if life(keys) != waiting {
		t.Errorf("Rotate gives %s", life(keys))
	}
	expect(t, k, "rotated", waiting)
	if _, made, err = k.Rotate(ctx, "example.test", Rotation{Overlap: Overlap}); made || err != nil {
		t.Errorf("again: made %t, %v", made, err)
	}
	expect(t, k, "rotated again", waiting)

	pass(t, k, Overlap-time.Minute)
	expect(t, k, "just before their turn", waiting)
	pass(t, k, 2*time.Minute)
	expect(t, k, "at their turn", "b rsa signing, b ed25519 signing, a rsa published, a ed25519 published")
	pass(t, k, Linger-time.Hour)
	expect(t, k, "lingering", "b rsa signing, b ed25519 signing, a rsa published, a ed25519 published")
	pass(t, k, 2*time.Hour)
	expect(t, k, "gone", "b rsa signing, b ed25519 signing, a rsa retired, a ed25519 retired")
	must(t, k.EraseRetired(ctx))
	var left int
	must(t, k.pool.QueryRow(ctx, "SELECT count(sealed) FROM dkim_key").Scan(&left))
	if left != 2 {
		t.Errorf("%d private keys are left, want 2", left)
	}

	// An emergency: new keys sign at once, and the old ones go.
	_, made, err = k.Rotate(ctx, "example.test", Rotation{Now: true})
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	expect(t, k, "now", "c rsa signing, c ed25519 signing, b rsa published, b ed25519 published, a rsa retired, a ed25519 retired")
}

// TestRotateNow holds that keys that wait can be told to begin.
func TestRotateNow(t *testing.T) {
	k := open(t)
	_, _, err := k.Rotate(t.Context(), "example.test", Rotation{Overlap: Overlap})
	must(t, err)
	if _, made, err := k.Rotate(t.Context(), "example.test", Rotation{Now: true}); err != nil || made {
		t.Fatalf("made %t, %v", made, err)
	}
	expect(t, k, "brought forward", "b rsa signing, b ed25519 signing, a rsa published, a ed25519 published")
}

// TestRetire holds that keys that wait can be taken back, that those that sign
// cannot, and that no selector comes twice.
func TestRetire(t *testing.T) {
	k := open(t)
	ctx := t.Context()
	keys, _, err := k.Rotate(ctx, "example.test", Rotation{Overlap: Overlap})
	must(t, err)
	must(t, k.Retire(ctx, "example.test", keys[0].Selector, true))
	expect(t, k, "dry run", "b rsa next, b ed25519 next, a rsa signing, a ed25519 signing")
	must(t, k.Retire(ctx, "example.test", keys[0].Selector, false))
	must(t, k.Retire(ctx, "example.test", keys[1].Selector, false))
	must(t, k.Retire(ctx, "example.test", keys[1].Selector, false))
	expect(t, k, "taken back", "b rsa retired, b ed25519 retired, a rsa signing, a ed25519 signing")
	if err := k.Retire(ctx, "example.test", keys[2].Selector, false); !errors.Is(err, ErrConflict) {
		t.Errorf("retire a key that signs: %v", err)
	}
	if err := k.Retire(ctx, "example.test", "ph1999a-rsa", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("retire what is not there: %v", err)
	}
	if _, _, err := k.Rotate(ctx, "nowhere.test", Rotation{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("rotate what is not there: %v", err)
	}
	_, _, err = k.Rotate(ctx, "example.test", Rotation{Overlap: Overlap})
	must(t, err)
	expect(t, k, "once more", "c rsa next, c ed25519 next, b rsa retired, b ed25519 retired, a rsa signing, a ed25519 signing")
}

// TestNodes holds that nodes agree: they make keys for a domain once between
// them, and what one of them changes the others see.
func TestNodes(t *testing.T) {
	k := open(t)
	addDomain(t, k.pool, "second.test")
	var wg sync.WaitGroup
	for range 4 {
		other := node(t, k.pool)
		wg.Go(func() {
			if err := other.EnsureAll(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := k.List(t.Context(), "second.test")
	must(t, err)
	if got := life(keys); got != "a rsa signing, a ed25519 signing" {
		t.Error(got)
	}
	for _, made := range []bool{true, false} { // two administrators at once
		if _, got, err := node(t, k.pool).Rotate(t.Context(), "second.test", Rotation{Overlap: Overlap}); err != nil || got != made {
			t.Errorf("made %t, %v", got, err)
		}
	}
}

// TestCreateFor holds that keys come with the domain, and not without it.
func TestCreateFor(t *testing.T) {
	k := open(t)
	ctx := t.Context()
	add := func(fail error) error {
		return pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO domain (name) VALUES ('new.test')"); err != nil {
				return err
			}
			if err := k.CreateFor(ctx, tx, "new.test"); err != nil {
				return err
			}
			return fail
		})
	}
	if err := add(errDryRun); !errors.Is(err, errDryRun) {
		t.Fatal(err)
	}
	if keys, err := k.List(ctx, "new.test"); err != nil || len(keys) != 0 {
		t.Fatalf("%s, %v", life(keys), err)
	}
	must(t, add(nil))
	if keys, err := k.List(ctx, "new.test"); err != nil || life(keys) != "a rsa signing, a ed25519 signing" {
		t.Errorf("%s, %v", life(keys), err)
	}
	_, err := k.pool.Exec(ctx, "DELETE FROM domain WHERE name = 'new.test'")
	must(t, err)
	if keys, err := k.List(ctx, "new.test"); err != nil || len(keys) != 0 {
		t.Errorf("keys outlive their domain: %s, %v", life(keys), err)
	}
}

// TestSecretKey holds that keys are of no use to who has the database alone,
// and that errors and logs show nothing of them.
func TestSecretKey(t *testing.T) {
	k := open(t)
	ctx := t.Context()
	without, err := NewKeys(k.pool, nil, quiet)
	must(t, err)
	sign := func(k *Keys) error {
		_, err := k.Sign(ctx, addr("alice@example.test"), strings.NewReader(letter), int64(len(letter)))
		return err
	}
	if err := sign(without); !errors.Is(err, ErrNoSecret) {
		t.Errorf("signed without the secret key: %v", err)
	}
	if _, _, err := without.Rotate(ctx, "example.test", Rotation{}); !errors.Is(err, ErrNoSecret) {
		t.Errorf("rotated without the secret key: %v", err)
	}
	wrong, err := NewKeys(k.pool, bytes.Repeat([]byte{8}, 32), quiet)
	must(t, err)
	err = sign(wrong)
	if err == nil || !strings.Contains(err.Error(), "another secret key") {
		t.Errorf("signed with a wrong secret key: %v", err)
	}
	// A sealed key that was put in another's place does not open.
	_, err = k.pool.Exec(ctx, `UPDATE dkim_key SET sealed = (SELECT sealed FROM dkim_key WHERE algorithm = 'rsa') WHERE algorithm = 'ed25519'`)
	must(t, err)
	k.forget("example.test")
	if err := sign(k); err == nil {
		t.Error("signed with a key that was moved")
	}
	rows, err := k.pool.Query(ctx, "SELECT sealed FROM dkim_key")
	must(t, err)
	sealed, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	must(t, err)
	for _, s := range sealed {
		if _, err := parsePrivate(s[1:]); err == nil || bytes.Contains(s, []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")) {
			t.Error("a private key lies open in the database")
		}
	}
}

// TestSelectors holds that names count on, and are labels of the DNS.
func TestSelectors(t *testing.T) {
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 51: "az", 52: "ba", 701: "zz", 702: "aaa"} {
		if got := letters(n); got != want {
			t.Errorf("letters(%d) = %s, want %s", n, got, want)
		}
	}
	keys, err := open(t).List(t.Context(), "")
	must(t, err)
	for _, key := range keys {
		if !regexp.MustCompile(`^ph\d{4}a-(rsa|ed25519)$`).MatchString(key.Selector) {
			t.Errorf("selector %s", key.Selector)
		}
	}
}
