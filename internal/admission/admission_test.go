package admission

import (
	"net/netip"
	"testing"
)

func TestGate(t *testing.T) {
	g := New(Limits{Total: 3, PerAddress: 2, PerAccount: 1})
	a, b := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	r1, ok1 := g.Admit(a)
	_, ok2 := g.Admit(netip.MustParseAddr("::ffff:127.0.0.1"))
	if _, ok := g.Admit(a); !ok1 || !ok2 || ok {
		t.Fatal("per address: want two admitted and the third not")
	}
	_, ok3 := g.Admit(b)
	if _, ok := g.Admit(b); !ok3 || ok {
		t.Fatal("total: want three admitted and the fourth not")
	}
	r1()
	r1() // a second release counts for nothing
	if _, ok := g.Admit(a); !ok || g.Open() != 3 {
		t.Fatalf("after a release: admitted %v, open %d", ok, g.Open())
	}
	r, ok := g.AdmitAccount(7)
	if _, again := g.AdmitAccount(7); !ok || again {
		t.Fatal("per account")
	}
	r()
	if len(g.account) != 0 {
		t.Error("a released account is still held")
	}
}

func TestIPv6Block(t *testing.T) {
	g := New(Limits{PerAddress: 1})
	_, ok1 := g.Admit(netip.MustParseAddr("2001:db8::1"))
	_, ok2 := g.Admit(netip.MustParseAddr("2001:db8::2"))
	_, ok3 := g.Admit(netip.MustParseAddr("2001:db8:0:1::1"))
	if !ok1 || ok2 || !ok3 {
		t.Error("a /64 counts as one address")
	}
}
