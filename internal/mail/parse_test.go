package mail

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, local, domain, out string }{
		{"alice@example.test", "alice", "example.test", "alice@example.test"},
		{"Alice+Tag@EXAMPLE.Test", "Alice+Tag", "example.test", "Alice+Tag@example.test"},
		{"a.b.c@localhost", "a.b.c", "localhost", "a.b.c@localhost"},
		{"!#$%&'*+-/=?^_`{|}~@example.test", "!#$%&'*+-/=?^_`{|}~", "example.test", "!#$%&'*+-/=?^_`{|}~@example.test"},
		{`"alice"@example.test`, "alice", "example.test", "alice@example.test"},
		{`"a b"@example.test`, "a b", "example.test", `"a b"@example.test`},
		{`"a@b"@example.test`, "a@b", "example.test", `"a@b"@example.test`},
		{`"a\"\\\x"@example.test`, `a"\x`, "example.test", `"a\"\\x"@example.test`},
		{`"a..b"@example.test`, "a..b", "example.test", `"a..b"@example.test`},
		{"alice@[127.0.0.1]", "alice", "[127.0.0.1]", "alice@[127.0.0.1]"},
		{"alice@[ipv6:0:0::1]", "alice", "[IPv6:::1]", "alice@[IPv6:::1]"},
		{"alice@[IPv6:2001:DB8::A]", "alice", "[IPv6:2001:db8::a]", "alice@[IPv6:2001:db8::a]"},
		{"alice@xn--BCHER-kva.test", "alice", "xn--bcher-kva.test", "alice@xn--bcher-kva.test"},
		{"alice@bücher.test", "alice", "xn--bcher-kva.test", "alice@xn--bcher-kva.test"},
		{"jürgen@example.test", "jürgen", "example.test", "jürgen@example.test"},
		{`"jür gen"@example.test`, "jür gen", "example.test", `"jür gen"@example.test`},
		{"用户@例え.test", "用户", "xn--r8jz45g.test", "用户@xn--r8jz45g.test"},
		{"alice@my_host.example.test", "alice", "my_host.example.test", "alice@my_host.example.test"},
		{strings.Repeat("l", 64) + "@example.test", strings.Repeat("l", 64), "example.test", strings.Repeat("l", 64) + "@example.test"},
	} {
		a, err := ParseAddress(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if a.Local != c.local || a.Domain != c.domain || a.String() != c.out {
			t.Errorf("%q: %q at %q, as %q", c.in, a.Local, a.Domain, a)
		}
		if a.IsASCII() == strings.ContainsFunc(c.local, func(r rune) bool { return r > 127 }) {
			t.Errorf("%q: IsASCII is %v", c.in, a.IsASCII())
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	long := strings.Repeat("d", 63)
	for _, in := range []string{
		"", "@", "alice", "alice@", "@example.test", "a@b@example.test", "a b@example.test", ".a@example.test",
		"a.@example.test", "a..b@example.test", "alice@.example.test", "alice@example..test", "alice@example.test.",
		"alice@-example.test", "alice@example-.test", "alice@exa mple.test", "alice@example.test ", " alice@example.test",
		"al\x00ice@example.test", "al\rice@example.test", "al\nice@example.test", "alice@example.test\r\n", "alice@exam\x00ple.test",
		"\"a\x00b\"@example.test", "\"a\rb\"@example.test", "\"a\tb\"@example.test", `"a"b@example.test`, `"a@example.test`, `"a\`,
		`""@example.test`, "al\x7fice@example.test", "al\u0085ice@example.test", "al\u2028ice@example.test",
		"al\xffice@example.test", "alice@\xff.test", "alice@[]", "alice@[127.0.0.1", "alice@[127.0.0.256]", "alice@[::1]", "alice@[IPv6:127.0.0.1]",
		"alice@[IPv6:fe80::1%eth0]", "alice@[x:y]", "alice@127.0.0.1]", "alice@exa<mple.test", "a<b@example.test", "alice@a/b.test",
		"alice@a℀b.test", strings.Repeat("l", 65) + "@example.test", "alice@" + long + "d.test",
		"alice@" + strings.Join([]string{long, long, long, long, "test"}, "."), strings.Repeat("l", 64) + "@" + strings.Join([]string{long, long, long}, "."),
		"\"" + strings.Repeat("l", 400) + "\"@example.test", strings.Repeat("a", 1<<20),
	} {
		if a, err := ParseAddress(in); err == nil {
			t.Errorf("%.80q was accepted as %q", in, a)
		} else if !errors.Is(err, ErrAddress) {
			t.Errorf("%.80q: %v is not an ErrAddress", in, err)
		}
	}
}

func TestNullAndPostmaster(t *testing.T) {
	if (Address{}).String() != "" || !(Address{}).IsZero() || (Address{Local: "postmaster"}).String() != "postmaster" {
		t.Error("the null path and a postmaster without domain")
	}
	if u := (Address{Local: "a", Domain: "xn--bcher-kva.test"}).UnicodeDomain(); u != "bücher.test" {
		t.Errorf("UnicodeDomain is %q", u)
	}
	if u := (Address{Local: "a", Domain: "[127.0.0.1]"}).UnicodeDomain(); u != "[127.0.0.1]" {
		t.Errorf("UnicodeDomain is %q", u)
	}
}

func TestErrorCarriesItsDecision(t *testing.T) {
	cause := errors.New("the disk is full")
	err := Defer(452, Enhanced{4, 3, 1}, "no space", cause)
	if ClassOf(err) != Temporary || !errors.Is(err, cause) || err.Error() != "452 4.3.1 no space: the disk is full" {
		t.Error(err)
	}
	if ClassOf(Refuse(550, Enhanced{5, 1, 1}, "no such user")) != Permanent || ClassOf(cause) != Temporary {
		t.Error("classes")
	}
}

// FuzzParseAddress holds that what is accepted is bounded, free of controls,
// and comes back the same from its own String.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"alice@example.test", `"a@b\\\""@example.test`, "a@[IPv6:::1]", "jürgen@bücher.test", "a@b@c", "a..b@c", "\"\x00\"@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if !a.IsZero() {
				t.Fatalf("%q: an error and an address", s)
			}
			return
		}
		out := a.String()
		if len(a.Local) > MaxLocal || len(a.Domain) > MaxDomain || len(out) > MaxPath {
			t.Fatalf("%q: over a limit", s)
		}
		if strings.ContainsAny(out, "\x00\r\n\t\x7f") || !isASCII(a.Domain) {
			t.Fatalf("%q: %q holds a control, or an 8-bit domain", s, out)
		}
		if b, err := ParseAddress(out); err != nil || a != b {
			t.Fatalf("%q: %q comes back as %q, %v", s, out, b, err)
		}
	})
}
