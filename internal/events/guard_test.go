package events

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestPrivate(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.0.1": true, "169.254.169.254": true, "100.64.0.1": true,
		"0.0.0.0": true, "0.1.2.3": true, "224.0.0.1": true, "255.255.255.255": true, "198.18.0.1": true, "::1": true, "::": true,
		"fe80::1%eth0": true, "fd00::1": true, "ff02::1": true, "::ffff:127.0.0.1": true, "::ffff:10.0.0.1": true, "::7f00:1": true,
		"64:ff9b::7f00:1": true, "64:ff9b::a00:1": true, "2002:7f00:1::": true, "2002:a00:1::1": true, "fec0::1": true,
		"8.8.8.8": false, "1.1.1.1": false, "172.32.0.1": false, "2606:4700::1": false, "64:ff9b::808:808": false, "2002:808:808::1": false, "::ffff:8.8.8.8": false,
	} {
		if got := private(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// A hook in a private network is not connected to unless it may be there,
// whether its URL says so, or its name resolves to it, or does so the second
// time.
func TestPrivateHooksAreRefused(t *testing.T) {
	e := listen(t, nil)
	port := e.URL[strings.LastIndexByte(e.URL, ':'):]
	opts := quick()
	opts.AllowPrivate = false
	opts.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	h := hooksOn(t, open(t).pool, opts)
	for _, url := range []string{e.URL, "http://localhost" + port, "http://hook.example.org" + port, "http://2130706433" + port, "http://[::ffff:7f00:1]" + port} {
		p := h.post.post(t.Context(), &Hook{URL: url}, "s", newPayload(&Event{}), 1)
		if p.ok || e.requests() != 0 || !strings.Contains(p.err, "--allow-private") {
			t.Fatalf("%s: %+v", url, p)
		}
	}
	if p := h.post.post(t.Context(), &Hook{URL: "http://hook.example.org" + port, AllowPrivate: true}, "s", newPayload(&Event{}), 1); !p.ok || p.code != http.StatusNoContent {
		t.Errorf("%+v", p)
	}
	h.post.close()
}
