package mailauth

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	moxdns "github.com/mjl-/mox/dns"

	posthousedns "posthouse/internal/dns"
	"posthouse/internal/test/dnstest"
)

// TestZone holds that every record is a line that a name server reads, with the
// text that was meant.
func TestZone(t *testing.T) {
	k := open(t)
	keys, err := k.List(t.Context(), "example.test")
	must(t, err)
	records := Records("example.test", []string{"mx.example.test", "mx2.example.test"}, keys, "testing")
	records = append(records, ServiceRecord("_imaps._tcp.example.test", 0, 993, "mx.example.test"), SetupRecord("autoconfig.example.test", "mx.example.test"))
	records = append(records, Record{Name: "x.example.test", Type: "TXT", Value: `a "quoted" \ text ` + strings.Repeat(`"`, 300)})
	for _, r := range records {
		rr, err := dns.NewRR(r.Zone())
		if err != nil {
			t.Errorf("%s: %v", r.Zone(), err)
			continue
		}
		if txt, ok := rr.(*dns.TXT); ok {
			if got := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.Join(txt.Txt, "")); got != r.Value {
				t.Errorf("%s reads as %q", r.Zone(), got)
			}
			if _, err := dns.PackRR(rr, make([]byte, 4096), 0, nil, false); err != nil {
				t.Errorf("%s: %v", r.Zone(), err)
			}
		}
	}
}

// live is a DNS in which everything stands as it should.
func live(records []Record) moxdns.MockResolver {
	r := moxdns.MockResolver{TXT: map[string][]string{}, MX: map[string][]*net.MX{}, A: map[string][]string{"mx.example.test.": {"192.0.2.1"}}, AAAA: map[string][]string{"mx.example.test.": {"2001:db8::1"}}}
	for _, rec := range records {
		name := rec.Name + "."
		switch rec.Type {
		case "TXT":
			r.TXT[name] = append(r.TXT[name], rec.Value)
		case "MX":
			r.MX[name] = append(r.MX[name], &net.MX{Host: rec.Value + ".", Pref: uint16(rec.Priority)})
		default:
			r.A[name] = []string{"192.0.2.1"}
		}
	}
	return r
}

// TestCheckLive compares over the wire, with the resolver that the command uses.
func TestCheckLive(t *testing.T) {
	k := open(t)
	keys, err := k.List(t.Context(), "example.test")
	must(t, err)
	server := dnstest.Start(t)
	resolver := posthousedns.New(posthousedns.Config{Servers: []netip.AddrPort{server.Addr()}, Log: quiet})
	records := append(Records("example.test", []string{"mx.example.test"}, keys, "testing"), ServiceRecord("_imaps._tcp.example.test", 0, 993, "mx.example.test"))
	for _, f := range Check(t.Context(), resolver, records) {
		if f.Verdict != VerdictMissing {
			t.Errorf("in an empty DNS: %s %s %s", f.Name, f.Verdict, f.Detail)
		}
	}
	server.Add("mx.example.test. A 192.0.2.1", "mx.example.test. AAAA 2001:db8::1")
	for _, r := range records {
		server.Add(r.Zone())
	}
	resolver = posthousedns.New(posthousedns.Config{Servers: []netip.AddrPort{server.Addr()}, Log: quiet}) // the other one remembers
	for _, f := range Check(t.Context(), resolver, records) {
		if f.Verdict != VerdictOK {
			t.Errorf("%s %s %s", f.Name, f.Verdict, f.Detail)
		}
	}
}

// TestCheck holds what the comparison finds, and what it lets be because it does
// the same.
func TestCheck(t *testing.T) {
	k := open(t)
	keys, err := k.List(t.Context(), "example.test")
	must(t, err)
	records := append(Records("example.test", []string{"mx.example.test"}, keys, "testing"), SetupRecord("autoconfig.example.test", "mx.example.test"))
	rsa, other := keys[1].Name()+".", keys[0].Record()
	if keys[1].Algorithm != "rsa" {
		rsa, other = keys[0].Name()+".", keys[1].Record()
	}
	for _, tt := range []struct {
		name   string
		change func(*moxdns.MockResolver)
		want   []string // kind verdict: all that is not ok
	}{
		{"all well", func(*moxdns.MockResolver) {}, nil},
		{"nothing", func(r *moxdns.MockResolver) { *r = moxdns.MockResolver{} }, []string{
			"mx missing", "spf missing", "spf-helo missing", "dkim missing", "dkim missing", "dmarc missing", "tlsrpt missing", "mta-sts missing", "mta-sts-host missing", "setup missing"}},
		{"other texts beside", func(r *moxdns.MockResolver) {
			r.TXT["example.test."] = append(r.TXT["example.test."], "site-verification=x", "v=spf10 no")
		}, nil},
		{"another MX", func(r *moxdns.MockResolver) { r.MX["example.test."][0].Host = "mx.example.org." }, []string{"mx differs", "spf differs"}},
		{"MX without address", func(r *moxdns.MockResolver) { r.A, r.AAAA = nil, nil }, []string{"mx differs", "spf differs", "spf-helo differs", "mta-sts-host missing", "setup missing"}},
		{"SPF in other words", func(r *moxdns.MockResolver) {
			r.TXT["example.test."] = []string{"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:example.org ~all"}
		}, nil},
		{"SPF forgets IPv6", func(r *moxdns.MockResolver) { r.TXT["example.test."] = []string{"v=spf1 ip4:192.0.2.1 -all"} }, []string{"spf differs"}},
		{"SPF broken", func(r *moxdns.MockResolver) { r.TXT["example.test."] = []string{"v=spf1 nonsense"} }, []string{"spf differs"}},
		{"two SPF", func(r *moxdns.MockResolver) {
			r.TXT["example.test."] = append(r.TXT["example.test."], "v=spf1 -all")
		}, []string{"spf differs"}},
		{"key of another", func(r *moxdns.MockResolver) { r.TXT[rsa] = []string{other} }, []string{"dkim differs"}},
		{"key cut off", func(r *moxdns.MockResolver) { r.TXT[rsa][0] = r.TXT[rsa][0][:255] }, []string{"dkim differs"}},
		{"key with other tags", func(r *moxdns.MockResolver) { r.TXT[rsa][0] += "; n=ours; t=s" }, nil},
		{"key in test", func(r *moxdns.MockResolver) { r.TXT[rsa][0] += "; t=y" }, []string{"dkim differs"}},
		{"key revoked", func(r *moxdns.MockResolver) { r.TXT[rsa] = []string{"v=DKIM1; p="} }, []string{"dkim differs"}},
		{"DMARC weaker", func(r *moxdns.MockResolver) { r.TXT["_dmarc.example.test."] = []string{"v=DMARC1;p=none"} }, nil},
		{"DMARC without policy", func(r *moxdns.MockResolver) { r.TXT["_dmarc.example.test."] = []string{"v=DMARC1"} }, []string{"dmarc differs"}},
		{"TLSRPT broken", func(r *moxdns.MockResolver) { r.TXT["_smtp._tls.example.test."] = []string{"v=TLSRPTv1"} }, []string{"tlsrpt differs"}},
		{"SERVFAIL", func(r *moxdns.MockResolver) { r.Fail = []string{"mx example.test.", "txt " + rsa} }, []string{"mx unknown", "spf differs", "dkim unknown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := live(records)
			tt.change(&r)
			var got []string
			for _, f := range Check(t.Context(), r, records) {
				if f.Verdict != VerdictOK {
					got = append(got, string(f.Kind)+" "+string(f.Verdict))
					if f.Verdict != VerdictMissing && f.Detail == "" {
						t.Errorf("%s %s without a reason", f.Kind, f.Verdict)
					}
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestSTSPolicy(t *testing.T) {
	a, b, c := STSPolicyID("testing", []string{"a.test"}), STSPolicyID("testing", []string{"b.test"}), STSPolicyID("enforce", []string{"a.test"})
	if a == b || a == c || len(a) > 32 || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("ids %s, %s", a, b)
	}
	if got := fmt.Sprintf("%q", STSPolicy("testing", []string{"a.test"})); got != `"version: STSv1\r\nmode: testing\r\nmx: a.test\r\nmax_age: 604800\r\n"` {
		t.Error(got)
	}
}
