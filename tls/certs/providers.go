package certs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/cloudflare"
	"github.com/libdns/desec"
	"github.com/libdns/gandi"
	"github.com/libdns/hetzner"
	"github.com/libdns/ovh"
	"github.com/libdns/porkbun"
	"github.com/libdns/rfc2136"
)

// providers are the DNS services whose zones we can write, by the name that the
// configuration uses. Each takes its settings in JSON.
var providers = map[string]func() certmagic.DNSProvider{
	"cloudflare": func() certmagic.DNSProvider { return new(cloudflare.Provider) },
	"desec":      func() certmagic.DNSProvider { return new(desec.Provider) },
	"gandi":      func() certmagic.DNSProvider { return new(gandi.Provider) },
	"hetzner":    func() certmagic.DNSProvider { return new(hetzner.Provider) },
	"ovh":        func() certmagic.DNSProvider { return new(ovh.Provider) },
	"porkbun":    func() certmagic.DNSProvider { return new(porkbun.Provider) },
	"rfc2136":    func() certmagic.DNSProvider { return new(rfc2136.Provider) },
}

// DNSProvider makes a provider from its name and settings, which go by the
// names of its libdns module: api_token for cloudflare; server, key_name,
// key_alg and key for rfc2136.
func DNSProvider(name string, settings map[string]string) (certmagic.DNSProvider, error) {
	make, ok := providers[name]
	if !ok {
		return nil, fmt.Errorf("[acme.dns] provider = %q is not known; there are %s", name, strings.Join(slices.Sorted(maps.Keys(providers)), ", "))
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("[acme.dns] settings: %w", err)
	}
	p := make()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("[acme.dns] settings of %s: %w", name, err)
	}
	return p, nil
}
