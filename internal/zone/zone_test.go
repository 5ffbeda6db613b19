package zone

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/libdns/libdns"

	"posthouse/internal/test/zonetest"
	"posthouse/smtp/mailauth"
	"posthouse/tls/certs"
)

func records() []mailauth.Record {
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 300)
	list := mailauth.Records("example.test", []string{"mx.example.test", "mx2.example.org"}, nil, "testing")
	return append(list, mailauth.Record{Kind: mailauth.KindDKIM, Name: "s1._domainkey.example.test", Type: "TXT", Value: long},
		mailauth.ServiceRecord("_imaps._tcp.example.test", 0, 993, "mx.example.test"), mailauth.SetupRecord("autoconfig.example.test", "mx.example.test"))
}

// open reads the zone as a provider by RFC 2136 does.
func open(t *testing.T, s *zonetest.Server) Provider {
	t.Helper()
	p, err := certs.DNSProvider("rfc2136", map[string]string{"server": s.Addr, "key_name": zonetest.KeyName, "key_alg": zonetest.Algorithm, "key": zonetest.Secret})
	if err != nil {
		t.Fatal(err)
	}
	return p.(Provider)
}

func plan(t *testing.T, p Provider, gone []mailauth.Record, fits, replace bool) []Step {
	t.Helper()
	have, err := p.GetRecords(t.Context(), "example.test.")
	if err != nil {
		t.Fatal(err)
	}
	return Plan("example.test", have, records(), gone, func(mailauth.Record) bool { return fits }, replace)
}

// actions lists what is not kept: "add MX example.test".
func actions(steps []Step) (list []string) {
	for _, s := range steps {
		if s.Action != Keep {
			list = append(list, string(s.Action)+" "+s.Type+" "+s.Name)
		}
	}
	return list
}

// TestApply fills an empty zone; a second time there is nothing to do, and what
// was there is there.
func TestApply(t *testing.T) {
	theirs := []string{`example.test. TXT "site-verification=1"`, `example.test. A 192.0.2.1`, `www.example.test. CNAME example.test.`}
	s := zonetest.Start(t, "example.test", theirs...)
	p := open(t, s)
	steps := plan(t, p, nil, false, false)
	if err := Apply(t.Context(), p, "example.test", steps); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(theirs)
	elsewhere := 0
	for _, r := range records() {
		if !strings.HasSuffix(r.Name, "example.test") {
			elsewhere++
			continue
		}
		want = append(want, strings.Replace(r.Zone(), ". IN ", ". ", 1))
	}
	slices.Sort(want)
	if got := s.Records(); !reflect.DeepEqual(got, want) {
		t.Errorf("the zone has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if again := actions(plan(t, p, nil, false, false)); len(again) != elsewhere || elsewhere != 1 {
		t.Errorf("a second time: %q", again)
	}
	if err := Apply(t.Context(), p, "example.test", plan(t, p, nil, false, false)); err != nil || s.Updates() != 1 {
		t.Errorf("%d updates, %v", s.Updates(), err)
	}
	gone := []mailauth.Record{{Type: "TXT", Name: "_dmarc.example.test", Value: records()[5].Value}, {Type: "TXT", Name: "example.test", Value: "v=spf1 -all"}}
	if got := actions(plan(t, p, gone, false, false)); !slices.Contains(got, "remove TXT _dmarc.example.test") && !slices.Contains(got, "elsewhere TXT mx2.example.org") {
		t.Errorf("what goes: %q", got)
	}
}

// TestConflict: what others wrote stays, unless it is asked for, or is of those
// that nobody but us can have written.
func TestConflict(t *testing.T) {
	s := zonetest.Start(t, "example.test", `example.test. MX 5 mail.provider.example.org.`, `example.test. TXT "v=spf1 include:provider.example.org -all"`,
		`example.test. TXT "site-verification=1"`, `autoconfig.example.test. A 192.0.2.9`, `s1._domainkey.example.test. TXT "v=DKIM1; p=old"`,
		`_mta-sts.example.test. TXT "v=STSv1; id=1"`, `_imaps._tcp.example.test. SRV 0 1 993 imap.provider.example.org.`)
	p := open(t, s)
	before := s.Records()
	steps := plan(t, p, nil, false, false)
	got := actions(steps)
	for _, want := range []string{"conflict MX example.test", "conflict TXT example.test", "conflict CNAME autoconfig.example.test", "conflict SRV _imaps._tcp.example.test",
		"replace TXT s1._domainkey.example.test", "replace TXT _mta-sts.example.test", "add TXT _dmarc.example.test"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in %q", want, got)
		}
	}
	if fit := actions(plan(t, p, nil, true, false)); slices.Contains(fit, "conflict TXT example.test") {
		t.Errorf("what does the same is a conflict: %q", fit)
	}
	if err := Apply(t.Context(), p, "example.test", steps); err != nil {
		t.Fatal(err)
	}
	after := s.Records()
	for _, r := range before {
		if ours := strings.Contains(r, "s1._domainkey") || strings.Contains(r, "_mta-sts"); slices.Contains(after, r) == ours {
			t.Errorf("%s: ours %t, afterwards %q", r, ours, after)
		}
	}
	if err := Apply(t.Context(), p, "example.test", plan(t, p, nil, false, true)); err != nil {
		t.Fatal(err)
	}
	after = s.Records()
	for _, r := range before {
		if kept := strings.Contains(r, "site-verification"); slices.Contains(after, r) != kept {
			t.Errorf("%s with --replace: kept %t, in %q", r, !kept, after)
		}
	}
	if left := actions(plan(t, p, nil, false, false)); len(left) != 1 {
		t.Errorf("after --replace: %q", left)
	}
}

// TestRefused: a key that the server does not know changes nothing and says so.
func TestRefused(t *testing.T) {
	s := zonetest.Start(t, "example.test")
	p, err := certs.DNSProvider("rfc2136", map[string]string{"server": s.Addr, "key_name": zonetest.KeyName, "key_alg": zonetest.Algorithm, "key": "b3RoZXI="})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.(Provider).GetRecords(t.Context(), "example.test."); err == nil {
		t.Error("the zone was shown to a stranger")
	}
	steps := Plan("example.test", nil, records(), nil, func(mailauth.Record) bool { return false }, false)
	if err := Apply(t.Context(), p.(Provider), "example.test", steps); err == nil || len(s.Records()) != 0 {
		t.Errorf("%v, and the zone has %q", err, s.Records())
	}
}

// refuser is a provider that takes few records at a time.
type refuser struct{ Provider }

func (r refuser) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	if len(list) > 1 {
		return nil, errors.New("too many records")
	}
	return r.Provider.AppendRecords(ctx, zone, list)
}

// What went is put back when what should come is refused.
func TestPutBack(t *testing.T) {
	s := zonetest.Start(t, "example.test", "example.test. MX 5 other.example.org.")
	p := open(t, s)
	before := s.Records()
	if err := Apply(t.Context(), refuser{p}, "example.test", plan(t, p, nil, false, true)); err == nil || !strings.Contains(err.Error(), "too many records") || strings.Contains(err.Error(), "put back") {
		t.Errorf("the refusal: %v", err)
	}
	if after := s.Records(); !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
}
