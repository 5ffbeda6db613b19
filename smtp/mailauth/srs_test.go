package mailauth

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func newSRS(t testing.TB, fill byte) *SRS {
	t.Helper()
	key := append([]byte{}, siteKey...)
	key[0] = fill
	s, err := NewSRS(pgtest.Pool(t), key)
	must(t, err)
	return s
}

// TestSRS holds that a rewritten sender fits an envelope, survives what hosts do
// to it, and leads back.
func TestSRS(t *testing.T) {
	s := newSRS(t, 1)
	for _, from := range []string{
		"alice@example.org", "Alice.Smith+tag@example.org", "a=b@example.org", `"a b"@example.org`, "alice@xn--exmple-cua.test",
		"SRS@example.org", "srs0@example.org", "\u00e4lice@example.org", "alice@[192.0.2.1]",
		strings.Repeat("x", 46-len("example.org")) + "@example.org", // as long as fits
		strings.Repeat("x", 47-len("example.org")) + "@example.org", // one more
		strings.Repeat("x", 64) + "@" + strings.Repeat("y", 60) + ".example.org",
		"bounces+1234567-ab12-bob=example.net@em1234.news.example.org",
	} {
		a := addr(from)
		out, err := s.Forward(t.Context(), a, "example.test")
		must(t, err)
		if _, err := mail.ParseAddress(out.String()); err != nil || out.Domain != "example.test" || len(out.Local) > mail.MaxLocal {
			t.Errorf("%s became %s: %v", from, out, err)
		}
		for _, form := range []mail.Address{out, {Local: strings.ToLower(out.Local), Domain: out.Domain}, {Local: strings.ToUpper(out.Local), Domain: out.Domain}} {
			back, err := s.Reverse(t.Context(), form)
			if err != nil || !strings.EqualFold(back.String(), a.String()) || form == out && back != a {
				t.Errorf("%s led to %s: %v", form, back, err)
			}
		}
	}
	if out, err := s.Forward(t.Context(), mail.Address{}, "example.test"); err != nil || !out.IsZero() {
		t.Errorf("the null reverse-path became %s, %v", out, err)
	}
}

// TestSRSChain follows a bounce over three forwarders.
func TestSRSChain(t *testing.T) {
	one, two, three := newSRS(t, 1), newSRS(t, 2), newSRS(t, 3)
	from := addr("alice@a.test")
	step := func(s *SRS, a mail.Address, via, want string) mail.Address {
		t.Helper()
		out, err := s.Forward(t.Context(), a, via)
		must(t, err)
		if !regexp.MustCompile("^" + want + "$").MatchString(out.String()) {
			t.Fatalf("%s, want %s", out, want)
		}
		return out
	}
	first := step(one, from, "b.test", `SRS0=[a-z2-7]{8}=..=a.test=alice@b.test`)
	second := step(two, first, "c.test", `SRS1=[a-z2-7]{8}=b.test==[a-z2-7]{8}=..=a.test=alice@c.test`)
	third := step(three, second, "d.test", `SRS1=[a-z2-7]{8}=b.test==[a-z2-7]{8}=..=a.test=alice@d.test`)
	for s, a := range map[*SRS]mail.Address{two: second, three: third} {
		if back, err := s.Reverse(t.Context(), a); err != nil || back != first {
			t.Errorf("%s led to %s, %v; want %s", a, back, err, first)
		}
	}
	if back, err := one.Reverse(t.Context(), first); err != nil || back != from {
		t.Errorf("%s led to %s, %v", first, back, err)
	}
	// Another forwarder's address that grows too long is kept here.
	long := addr("SRS0+abcd=ef=a.test=" + strings.Repeat("x", 40) + "@forwarder.example.org")
	out := step(two, long, "c.test", `SRS0=[a-z2-7]{8}=..==[a-z2-7]{24}@c.test`)
	if back, err := two.Reverse(t.Context(), out); err != nil || back != long {
		t.Errorf("%s led to %s, %v", out, back, err)
	}
}

// TestSRSRefuses holds that nobody makes us send a bounce where we never
// forwarded from.
func TestSRSRefuses(t *testing.T) {
	s, other := newSRS(t, 1), newSRS(t, 2)
	good, err := s.Forward(t.Context(), addr("alice@example.org"), "example.test")
	must(t, err)
	kept, err := s.Forward(t.Context(), addr(strings.Repeat("x", 60)+"@example.org"), "example.test")
	must(t, err)
	chained, err := s.Forward(t.Context(), addr("SRS0=aa=bb=c.test=d@e.test"), "example.test")
	must(t, err)
	for name, local := range map[string]string{
		"another sender":    strings.Replace(good.Local, "alice", "bobby", 1),
		"another domain":    strings.Replace(good.Local, "example.org", "example.net", 1),
		"no hash":           "SRS0==aa=example.org=alice",
		"short hash":        "SRS0=aaaa=aa=example.org=alice",
		"nothing":           "SRS0=x",
		"only separators":   "SRS0=====",
		"SRS1 from SRS0":    strings.Replace(good.Local, "SRS0", "SRS1", 1),
		"SRS0 from SRS1":    strings.Replace(chained.Local, "SRS1", "SRS0", 1),
		"another first hop": strings.Replace(chained.Local, "e.test", "f.test", 1),
		"another token":     kept.Local[:len(kept.Local)-1] + "!",
	} {
		if back, err := s.Reverse(t.Context(), mail.Address{Local: local, Domain: "example.test"}); !errors.Is(err, ErrSRS) {
			t.Errorf("%s: %s led to %s, %v", name, local, back, err)
		}
	}
	if back, err := other.Reverse(t.Context(), good); !errors.Is(err, ErrSRS) {
		t.Errorf("under another key: %s, %v", back, err)
	}
	for _, local := range []string{"alice", "srs", "SRS0", "SRS01", "SRS2=a=b", "SRS0alice"} {
		if _, err := s.Reverse(t.Context(), mail.Address{Local: local, Domain: "example.test"}); !errors.Is(err, ErrNotSRS) {
			t.Errorf("%s: %v", local, err)
		}
	}
}

// TestSRSAge holds that a rewritten sender serves for three weeks.
func TestSRSAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &SRS{key: siteKey}
		from := addr("alice@example.org")
		out, err := s.Forward(t.Context(), from, "example.test")
		must(t, err)
		for day := range 2 * srsDays {
			back, err := s.Reverse(t.Context(), out)
			// Stamps count modulo 1,024 days: one comes again after that.
			valid := day%srsDays <= int(SRSValid/srsDay) || day%srsDays == srsDays-1
			if valid != (err == nil && back == from) {
				t.Fatalf("on day %d: %s, %v", day, back, err)
			}
			time.Sleep(srsDay)
		}
	})
}

func FuzzSRSReverse(f *testing.F) {
	s := &SRS{key: siteKey}
	out, err := s.Forward(f.Context(), addr("alice@example.org"), "example.test")
	must(f, err)
	for _, seed := range []string{out.Local, "SRS0=", "SRS1=a=b==c", "alice", "SRS0==aa==x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, local string) {
		back, err := s.Reverse(t.Context(), mail.Address{Local: local, Domain: "example.test"})
		if err == nil && !strings.EqualFold(local, out.Local) && !strings.EqualFold(back.String(), "alice@example.org") {
			t.Errorf("%q leads to %s", local, back)
		}
	})
}
