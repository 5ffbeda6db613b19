package doctor

import (
	"testing"
	"time"

	"posthouse/tls/certs"
)

// TestOrders: what each node says of its certificates becomes findings, the
// worse the more depends on the name.
func TestOrders(t *testing.T) {
	p, _ := patient(t)
	until := time.Now().Add(time.Hour)
	p.Orders = []certs.Report{{Node: "a", Names: []certs.NameStatus{
		{Name: host, Source: certs.FromLocal, Until: until, Problem: "the authority does not answer"},
		{Name: "mail.example.test", Source: certs.FromACME, Until: until},
		{Name: "mta-sts.example.test", Source: certs.FromLocal, Until: until, Problem: "DNS has no address for it"},
	}}, {Node: "b", Names: []certs.NameStatus{
		{Name: host, Source: certs.FromACME, Until: until, Problem: "rate limited"},
		{Name: "mail.example.test", Source: certs.FromFile, Until: until, Problem: "no PEM data"},
	}}}
	want(t, run(t, "order", p.orders),
		"error: mx.example.test no certificate could be had: on a the local authority's serves",
		"note: mta-sts.example.test no certificate is ordered on a: DNS has no address",
		"ok: 1 of 3",
		"warning: renewal failed: rate limited",
		"warning: on b the last good certificate serves, until")
}
