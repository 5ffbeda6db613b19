package fiveminutes

import (
	"strings"

	wire "github.com/miekg/dns"
)

// fault is one thing in the DNS that somebody broke, and what doctor says of it.
type fault struct {
	name   string
	remove string // whose records of this type are removed
	kind   uint16
	add    []string // what stands there instead
	code   int      // with which doctor ends
	want   []string // the findings, each "level check subject: part of the text → part of what mends it"
}

var faults = []fault{
	{"no DMARC", "_dmarc.example.test", wire.TypeTXT, nil, 11,
		[]string{`error dns _dmarc.example.test: is missing → publish: _dmarc.example.test. IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.test"`}},
	{"SPF for others", "example.test", wire.TypeTXT, []string{`example.test. TXT "v=spf1 ip4:192.0.2.1 -all"`}, 11,
		[]string{`error dns example.test: fail for 127.0.0.1 → publish in its place: example.test. IN TXT "v=spf1 mx -all"`}},
	{"a second SPF", "", 0, []string{`example.test. TXT "v=spf1 ip4:192.0.2.1 -all"`}, 11,
		[]string{`error dns example.test: there are several → let this one alone stand: example.test. IN TXT "v=spf1 mx -all"`}},
	{"an MX of somebody else", "example.test", wire.TypeMX, []string{"example.test. MX 10 mx.elsewhere.test."}, 11,
		[]string{`error dns example.test: mail.example.test is not among them → publish: example.test. IN MX 10 mail.example.test.`,
			`error dns example.test: fail for 127.0.0.1 → leave it, and mend the MX`}},
	{"no PTR", "1.0.0.127.in-addr.arpa", wire.TypePTR, nil, 11,
		[]string{`error address 127.0.0.1: no PTR record → have your provider set it (it is theirs, not in your zone): 1.0.0.127.in-addr.arpa. IN PTR mail.example.test.`}},
	{"the provider's PTR", "1.0.0.127.in-addr.arpa", wire.TypePTR, []string{"1.0.0.127.in-addr.arpa. PTR host1.provider.test."}, 11,
		[]string{`error address 127.0.0.1: names host1.provider.test, which does not lead back → 1.0.0.127.in-addr.arpa. IN PTR mail.example.test.`}},
	{"an old MTA-STS id", "_mta-sts.example.test", wire.TypeTXT, []string{`_mta-sts.example.test. TXT "v=STSv1; id=20200101"`}, 10,
		[]string{`warning dns _mta-sts.example.test: its id is not that of the policy → publish in its place: _mta-sts.example.test. IN TXT "v=STSv1; id=`}},
	{"a TLSA record of another key", "", 0, []string{"_25._tcp.mail.example.test. TLSA 3 1 1 " + strings.Repeat("00", 32)}, 11,
		[]string{`error dane _25._tcp.mail.example.test: none of its TLSA records fits → remove the TLSA records of _25._tcp.mail.example.test, or publish one`}},
}

// astray are the controls: each thing that somebody broke is found, and nothing
// else, with the line that mends it.
func (w *world) astray() {
	w.t.Helper()
	for _, f := range faults {
		touched := map[string]bool{f.remove: true}
		w.dns.Remove(f.remove, f.kind)
		w.dns.Add(f.add...)
		for _, r := range f.add {
			touched[owner(r)] = true
		}
		bad := w.doctor()
		for i, want := range f.want {
			head, rest, _ := strings.Cut(want, ": ")
			text, mend, _ := strings.Cut(rest, " → ")
			if i >= len(bad) || bad[i].Level+" "+bad[i].Check+" "+bad[i].Subject != head || !strings.Contains(bad[i].Text, text) || !strings.Contains(bad[i].Mend, mend) {
				w.t.Errorf("%s: no %q", f.name, want)
			}
		}
		if len(bad) != len(f.want) || w.code != f.code {
			w.t.Errorf("%s: exit code %d, not %d; %+v", f.name, w.code, f.code, bad)
		}
		for name := range touched {
			w.dns.Remove(name)
		}
		for _, r := range w.records {
			if touched[owner(r)] {
				w.dns.Add(r)
			}
		}
	}
	if bad := w.doctor(); len(bad) > 0 {
		w.t.Errorf("all is mended, and doctor says: %+v", bad)
	}
}

// owner is the name of a record, without the dot at its end.
func owner(record string) string {
	name, _, _ := strings.Cut(record, ". ")
	return name
}
