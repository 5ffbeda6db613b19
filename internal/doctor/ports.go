package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/dns"
)

// Before looks at a machine on which nothing runs yet: what would keep a server
// from starting, and what would keep its mail from arriving.
func (p *Patient) Before(ctx context.Context) []Finding {
	return examine(ctx, check{"port", p.ports}, check{"outbound", p.outbound}, check{"address", p.addresses}, check{"block list", p.blockLists},
		check{"clock", p.clock}, check{"memory", p.memory}, check{"disk", p.disk}, check{"testing", p.testing})
}

// ports looks whether the listeners' ports can be bound. A port that this very
// server has is its own.
func (p *Patient) ports(_ context.Context, f *findings) {
	for _, name := range config.ListenerNames {
		addr, ok := p.Config.Listen[name]
		if !ok || name == config.LMTP {
			continue
		}
		if p.Listen[name] != "" {
			f.ok(addr, "%s: this server listens there", name)
			continue
		}
		ln, err := net.Listen("tcp", addr)
		switch {
		case err == nil:
			ln.Close()
			f.ok(addr, "free for %s", name)
		case errors.Is(err, syscall.EADDRINUSE):
			_, port, _ := net.SplitHostPort(addr)
			f.add(Warning, addr, "ss -ltnp 'sport = :"+port+"' says who; stop that program, or set "+name+" under [listen]", "another program has the port of %s", name)
		case errors.Is(err, syscall.EACCES):
			f.add(Warning, addr, "run as root, or by the systemd unit, which has CAP_NET_BIND_SERVICE", "%s: ports below 1024 are not ours to bind as this user", name)
		default:
			f.add(Warning, addr, "set "+name+" under [listen]", "%s: %v", name, err)
		}
	}
}

// outside are domains whose mail servers have been there for decades: where none
// of them can be reached, port 25 is blocked.
var outside = []string{"gmail.com", "outlook.com", "debian.org"}

const dialPatience = 5 * time.Second

// outbound tries to reach somebody's port 25. Nothing is sent.
func (p *Patient) outbound(ctx context.Context, f *findings) {
	port := uint16(25)
	if p.Config.Testing.RelayPort != 0 {
		port = p.Config.Testing.RelayPort
	}
	found := false
	var last error
	for _, domain := range outside {
		list, _, err := p.Resolver.LookupMX(ctx, domain)
		if err != nil || len(list) == 0 {
			last = err
			continue
		}
		found = true
		dialer := dns.Dialer{Resolver: p.Resolver, Timeout: dialPatience}
		short, cancel := context.WithTimeout(ctx, 2*dialPatience)
		c, err := dialer.DialContext(short, "tcp", net.JoinHostPort(list[0].Host, strconv.Itoa(int(port))))
		cancel()
		if err == nil {
			c.Close()
			f.ok("port 25", "mail can leave: %s answers", list[0].Host)
			return
		}
		last = err
	}
	if !found {
		f.add(Warning, "DNS", "look at /etc/resolv.conf", "names out there cannot be resolved, so that nothing can be told of the outside: %v", last)
		return
	}
	f.add(Warning, "port 25", "ask your provider to open it, or send by somebody who may: posthouse relay add NAME HOST:587 --user USER && posthouse relay route NAME --all",
		"mail cannot leave directly: no mail server out there can be reached on port %d, most likely blocked by your provider (%v)", port, last)
}

// OwnAddresses are the public ones of this machine's interfaces; where there
// are none it stands behind NAT, or alone.
func OwnAddresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if addr := prefix.Addr().Unmap().WithZone(""); addr.IsGlobalUnicast() && !addr.IsPrivate() {
			list = append(list, addr)
		}
	}
	return list
}
