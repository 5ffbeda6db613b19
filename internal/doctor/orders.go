package doctor

import (
	"context"

	"posthouse/tls/certs"
)

const mendOrders = "let the name lead here, keep port 80 or 443 open (or set [acme.dns]); the log says more: journalctl -u posthouse | grep certificate"

// orders says how the nodes fare with the certificates that they order: which
// names have none yet and why, and where an older one serves because the next
// was not to be had.
func (p *Patient) orders(_ context.Context, f *findings) {
	for _, r := range p.Orders {
		good := 0
		for _, s := range r.Names {
			switch {
			case !s.Fallback():
				good++
			case s.Source == certs.FromLocal && s.Name == p.Config.Hostname:
				f.add(Error, s.Name, mendOrders, "no certificate could be had: on %s the local authority's serves, which nobody else knows: %s", r.Node, s.Problem)
			case s.Source == certs.FromLocal:
				// Names of a domain that its owner leads elsewhere, or nowhere.
				f.add(Note, s.Name, mendOrders, "no certificate is ordered on %s: %s", r.Node, s.Problem)
			case s.Source == certs.FromFile:
				f.add(Warning, s.Name, "mend the files named in [[certificate]]; they are read again by themselves", "on %s the last good certificate serves, until %s: %s", r.Node, s.Until.Format("2006-01-02 15:04"), s.Problem)
			default:
				f.add(Warning, s.Name, mendOrders, "on %s the last good certificate serves, until %s; its renewal failed: %s", r.Node, s.Until.Format("2006-01-02 15:04"), s.Problem)
			}
		}
		if good > 0 {
			f.ok(r.Node, "%d of %d certificates are as they should be", good, len(r.Names))
		}
	}
}
