package config

import (
	"crypto/x509"
	"net/netip"
	"os"
	"time"
)

// Testing replaces parts of the Internet by others, so that a server can be
// tried whole on one machine: [testing] in the file, or flags of `serve
// --local`. A site leaves all of it empty.
type Testing struct {
	// DNS is the resolver for everything. Its AD bit is believed on loopback.
	DNS string `toml:"dns"` // ADDR:PORT; empty: those of /etc/resolv.conf
	// RelayPort replaces port 25 at next hops.
	RelayPort uint16 `toml:"relay_port"`
	// HTTPSPort replaces 443 where MTA-STS policies are fetched.
	HTTPSPort uint16 `toml:"https_port"`
	// Trust is a PEM file of certificates that next hops and policy hosts may
	// use, beside the system's.
	Trust string `toml:"trust"`
	// Retry replaces the waits between attempts; the last one repeats.
	Retry []Duration `toml:"retry"`
	// Expire replaces the time until what could not be delivered bounces.
	Expire Duration `toml:"expire"`
}

// Set reports whether anything of it is.
func (t *Testing) Set() bool {
	return t.DNS != "" || t.RelayPort != 0 || t.HTTPSPort != 0 || t.Trust != "" || len(t.Retry) > 0 || t.Expire != 0
}

// Duration is a time as configuration writes it: "90s", "4h", "5d".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads, and whole days.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// ParseDuration is time.ParseDuration with days: "5d" is 120 hours.
func ParseDuration(s string) (time.Duration, error) {
	if n := len(s); n > 1 && s[n-1] == 'd' {
		days, err := time.ParseDuration(s[:n-1] + "h")
		return 24 * days, err
	}
	return time.ParseDuration(s)
}

// Resolver is DNS as an address; the zero value stands for the system's.
func (t *Testing) Resolver() (netip.AddrPort, error) {
	if t.DNS == "" {
		return netip.AddrPort{}, nil
	}
	a, err := netip.ParseAddrPort(t.DNS)
	if err != nil {
		return a, errorf("dns = %q: write an address and a port, 127.0.0.1:5353", t.DNS)
	}
	return a, nil
}

// Roots are the system's certificates and those of Trust; nil without Trust:
// the system's.
func (t *Testing) Roots() (*x509.CertPool, error) {
	if t.Trust == "" {
		return nil, nil
	}
	text, err := os.ReadFile(t.Trust)
	if err != nil {
		return nil, errorf("trust: %v", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil { // a machine without any
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, errorf("trust: %s holds no certificate in PEM form", t.Trust)
	}
	return roots, nil
}

// Schedule is Retry as plain durations.
func (t *Testing) Schedule() []time.Duration {
	list := make([]time.Duration, len(t.Retry))
	for i, d := range t.Retry {
		list[i] = time.Duration(d)
	}
	return list
}

func (t *Testing) check() error {
	if _, err := t.Resolver(); err != nil {
		return err
	}
	if _, err := t.Roots(); err != nil {
		return err
	}
	for _, d := range t.Retry {
		if d <= 0 {
			return errorf("retry: each wait must be more than nothing")
		}
	}
	if t.Expire < 0 {
		return errorf("expire: must be more than nothing")
	}
	return nil
}
