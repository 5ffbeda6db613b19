package main

import (
	"net/netip"
	"reflect"
	"testing"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/smtp/relay"
)

func TestRelayRoute(t *testing.T) {
	source := []netip.Addr{netip.MustParseAddr("127.0.0.5")}
	got := relayRoute(&directory.Route{
		Key: "relay:smart", Hosts: []directory.Host{{Name: "smtp.example.org", Port: 587}}, LMTP: true, TLS: directory.TLSImplicit,
		Auth: &directory.Login{User: "u", Password: "p"}, Way: directory.Way{Source: source, SOCKS5: "127.0.0.1:1080", HELO: "mx.example.org"},
		Fallback: &directory.Route{Key: "example.test", Domain: "example.test"},
	})
	want := &relay.Route{
		Key: "relay:smart", Hosts: []relay.Host{{Name: "smtp.example.org", Port: 587}}, LMTP: true, TLS: relay.TLSImplicit,
		Auth: &relay.Login{User: "u", Password: "p"}, Source: source, SOCKS5: "127.0.0.1:1080", HELO: "mx.example.org",
		Fallback: &relay.Route{Key: "example.test", Domain: "example.test"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for _, m := range []struct {
		d directory.TLSMode
		r relay.TLSMode
	}{{directory.TLSOpportunistic, relay.TLSOpportunistic}, {directory.TLSVerified, relay.TLSVerified},
		{directory.TLSImplicit, relay.TLSImplicit}, {directory.TLSNever, relay.TLSNever}} {
		if relay.TLSMode(m.d) != m.r {
			t.Errorf("%s is %d", m.d, m.r)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		r    relay.Result
		want directory.Answer
	}{
		{relay.Result{Outcome: relay.Delivered, Stage: relay.StageRcpt, Code: 250}, directory.Known},
		{relay.Result{Outcome: relay.Failed, Stage: relay.StageRcpt, Code: 550, Enhanced: mail.Enhanced{5, 1, 1}}, directory.Unknown},
		{relay.Result{Outcome: relay.Failed, Stage: relay.StageRcpt, Code: 550}, directory.Unknown},
		{relay.Result{Outcome: relay.Failed, Stage: relay.StageRcpt, Code: 550, Enhanced: mail.Enhanced{5, 4, 1}}, directory.Unknown},
		{relay.Result{Outcome: relay.Failed, Stage: relay.StageRcpt, Code: 554, Enhanced: mail.Enhanced{5, 7, 1}}, directory.Later},
		{relay.Result{Outcome: relay.Deferred, Stage: relay.StageRcpt, Code: 450}, directory.Later},
		{relay.Result{Outcome: relay.Failed, Stage: relay.StageMail, Code: 550}, directory.Away},
		{relay.Result{Outcome: relay.Failed, Stage: relay.StageDNS}, directory.Away},
		{relay.Result{Outcome: relay.Deferred, Stage: relay.StageConnect}, directory.Away},
	} {
		if got := verdict(c.r).Answer; got != c.want {
			t.Errorf("%+v: %d, want %d", c.r, got, c.want)
		}
	}
}
