package certs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// place is what is known of where this site stands on the Internet.
type place struct {
	cfg  ACMEConfig
	ours map[netip.Addr]bool
	nat  bool // none of our interfaces has a public address
}

// newPlace collects the addresses that are ours: of the interfaces, those the
// configuration names, and those of the host's own name where we stand behind
// NAT and cannot know better.
func newPlace(ctx context.Context, c ACMEConfig) *place {
	p := &place{cfg: c, ours: make(map[netip.Addr]bool), nat: true}
	for _, a := range c.Addresses {
		p.ours[a.Unmap()] = true
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		c.Log.Warn("list the addresses of this machine", "event", "certificate", "err", err)
	}
	for _, a := range list {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		addr := prefix.Addr().Unmap().WithZone("")
		p.ours[addr] = true
		p.nat = p.nat && !isPublic(addr)
	}
	if p.nat && len(c.Addresses) == 0 {
		own, err := c.Lookup(ctx, c.Hostname)
		if err != nil {
			c.Log.Info("the host's own name is not found", "event", "certificate", "name", c.Hostname, "err", err)
		}
		for _, a := range own {
			if isPublic(a) {
				p.ours[a.Unmap()] = true
			}
		}
	}
	return p
}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate()
}

// leads is empty when every address of name is ours, else why it is not ordered
// for. All of them: an authority may try any.
func (p *place) leads(ctx context.Context, name string) string {
	if p.cfg.DNS != nil {
		return "" // who may write the zone needs no address
	}
	addrs, err := p.cfg.Lookup(ctx, name)
	if err != nil {
		return "DNS cannot be asked: " + err.Error()
	}
	if len(addrs) == 0 {
		return "DNS has no address for it"
	}
	for _, a := range addrs {
		if !p.ours[a.Unmap()] {
			return fmt.Sprintf("DNS leads to %s, which is not this server", a)
		}
	}
	return ""
}
