package config

import (
	"net/netip"
	"reflect"
	"testing"
)

// TestChanges: a file that is read again differs by its own keys, and some of
// them wait for a restart.
func TestChanges(t *testing.T) {
	a, b := Site(), Site()
	if now, restart := a.Changes(&b); len(now)+len(restart) > 0 {
		t.Errorf("two of the same differ in %q and %q", now, restart)
	}
	b.Log.Level, b.Limits.DrainSeconds, b.Certificates = "debug", 11, []Certificate{{File: "/a", Key: "/b"}}
	b.Listen[IMAP], b.TrustedProxies, b.Limits.MessageBytes, b.ACME.Email = "off", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, 1<<20, "alice@example.org"
	b.Throttle = false // no key of the file
	now, restart := a.Changes(&b)
	if !reflect.DeepEqual(now, []string{"log.level", "limits.drain_seconds", "certificate"}) ||
		!reflect.DeepEqual(restart, []string{"trusted_proxies", "listen", "limits.message_bytes", "acme.email"}) {
		t.Errorf("now %q, restart %q", now, restart)
	}
	for _, key := range live {
		if !known(reflect.TypeFor[Config](), key) {
			t.Errorf("%s is no key", key)
		}
	}
}

// known reports whether a key is one of the file's.
func known(in reflect.Type, key string) bool {
	for i := range in.NumField() {
		f := in.Field(i)
		tag := f.Tag.Get("toml")
		if tag == key {
			return true
		}
		if f.Type.Kind() == reflect.Struct && len(key) > len(tag) && key[:len(tag)+1] == tag+"." && known(f.Type, key[len(tag)+1:]) {
			return true
		}
	}
	return false
}
