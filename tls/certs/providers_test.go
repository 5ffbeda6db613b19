package certs

import (
	"net"
	"strings"
	"testing"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

func TestDNSProvider(t *testing.T) {
	for name := range providers {
		if p, err := DNSProvider(name, nil); err != nil || p == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, settings := range map[string]map[string]string{"nobody": nil, "cloudflare": {"token": "x"}} {
		if _, err := DNSProvider(name, settings); err == nil || strings.Contains(err.Error(), "x\"") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDynamicUpdate changes a zone as RFC 2136 says, with a TSIG key.
func TestDynamicUpdate(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	updates := make(chan *dns.Msg, 10)
	srv := &dns.Server{Listener: ln, TsigSecret: map[string]string{"key.": secret},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
			m := new(dns.Msg).SetReply(r)
			if w.TsigStatus() != nil || r.IsTsig() == nil {
				m.Rcode = dns.RcodeNotAuth
			} else {
				updates <- r
			}
			m.SetTsig("key.", dns.HmacSHA256, 300, int64(r.IsTsig().TimeSigned))
			w.WriteMsg(m)
		})}
	done := make(chan struct{})
	go func() { defer close(done); srv.ActivateAndServe() }()
	t.Cleanup(func() { srv.Shutdown(); <-done })
	p, err := DNSProvider("rfc2136", map[string]string{"server": ln.Addr().String(), "key_name": "key", "key_alg": "hmac-sha256", "key": secret})
	if err != nil {
		t.Fatal(err)
	}
	record := []libdns.Record{libdns.TXT{Name: "_acme-challenge.mx", Text: "token"}}
	if _, err := p.AppendRecords(t.Context(), "example.test.", record); err != nil {
		t.Fatal(err)
	}
	if u := <-updates; len(u.Ns) != 1 || !strings.Contains(u.Ns[0].String(), "_acme-challenge.mx.example.test.") || !strings.Contains(u.Ns[0].String(), `"token"`) {
		t.Errorf("update is %v", u)
	}
}
