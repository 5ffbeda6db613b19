package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"posthouse/internal/config"
)

// soon is when a certificate that ends should long have been renewed: in the
// last third of 90 days.
const soon = 14 * 24 * time.Hour

// certificates looks at what each listener shows to a client that comes by the
// host's name, and at the names of the domains over HTTPS.
func (p *Patient) certificates(ctx context.Context, f *findings) {
	p.shownCertificates(ctx, f)
	f.join()
}

func (p *Patient) shownCertificates(ctx context.Context, f *findings) {
	for _, s := range services {
		if p.Listen[s.name] == "" {
			continue
		}
		chain, err := p.chain(ctx, s.name)
		if err != nil {
			continue // the listener's check says so
		}
		p.judge(f, s.name, p.Config.Hostname, chain)
	}
	if p.Listen[config.HTTPS] == "" || p.Config.Local {
		return
	}
	names := []string{p.Config.Hostname}
	for _, d := range p.Domains {
		names = append(names, "mta-sts."+d.Name, "autoconfig."+d.Name, "autodiscover."+d.Name)
	}
	for _, name := range names {
		if _, _, err := p.Resolver.Addresses(ctx, name); err != nil {
			continue // nobody comes by this name
		}
		chain, err := p.httpsChain(ctx, name)
		if err != nil {
			f.add(Error, config.HTTPS, "journalctl -u posthouse", "TLS for %s does not begin: %v", name, err)
			continue
		}
		p.judge(f, config.HTTPS, name, chain)
	}
}

// judge says what a client thinks of a certificate.
func (p *Patient) judge(f *findings, listener, name string, chain []*x509.Certificate) {
	left := time.Until(chain[0].NotAfter).Round(time.Hour)
	err := verify(chain, name, p.Roots)
	var stranger x509.UnknownAuthorityError
	var other x509.HostnameError
	renew := p.renewal(chain[0])
	switch {
	case left <= 0:
		f.add(Error, listener, renew, "the certificate for %s ended at %s", name, chain[0].NotAfter.Format(time.DateTime))
	case errors.As(err, &other):
		f.add(Error, listener, "let the DNS of "+name+" lead here, so that a certificate is ordered", "the certificate is not for %s but for %v", name, chain[0].DNSNames)
	case errors.As(err, &stranger):
		f.add(Warning, listener, "let the DNS of "+name+" lead here and keep port 80 or 443 open, so that one is ordered; the log says what is missing: journalctl -u posthouse | grep certificate",
			"the certificate for %s is by %s, whom others do not know: mail programs warn", name, chain[0].Issuer.CommonName)
	case err != nil:
		f.add(Error, listener, "journalctl -u posthouse | grep certificate", "the certificate for %s: %v", name, err)
	case left < soon && left < chain[0].NotAfter.Sub(chain[0].NotBefore)/4:
		f.add(Warning, listener, renew, "the certificate for %s ends in %s and should have been renewed", name, left)
	default:
		f.ok(listener, "certificate for %s, by %s, for %s", name, chain[0].Issuer.CommonName, days(left))
	}
}

// renewal is what to do about a certificate that ends. One of a file of the
// operator's nobody renews by itself.
func (p *Patient) renewal(c *x509.Certificate) string {
	for _, own := range p.Config.Certificates {
		text, err := os.ReadFile(own.File)
		if err != nil {
			continue
		}
		if block, _ := pem.Decode(text); block != nil && bytes.Equal(block.Bytes, c.Raw) {
			return "put a renewed one into " + own.File + "; it is read again within ten seconds"
		}
	}
	return "journalctl -u posthouse | grep certificate"
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.String()
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// chain is what a listener shows to a client that comes by the host's name.
func (p *Patient) chain(ctx context.Context, listener string) ([]*x509.Certificate, error) {
	for _, s := range services {
		if s.name != listener || p.Listen[listener] == "" {
			continue
		}
		t, err := p.open(ctx, s, nil)
		if err != nil {
			return nil, err
		}
		defer t.Close()
		if !s.implicit {
			if _, err := t.Greeting(); err != nil {
				return nil, err
			}
			if s.protocol == SMTP {
				if _, err := t.Capabilities("doctor." + p.Config.Hostname); err != nil {
					return nil, err
				}
			}
			if err := t.StartTLS(ctx); err != nil {
				return nil, err
			}
		}
		return t.TLS.PeerCertificates, nil
	}
	return nil, nil
}

// httpsChain is what the HTTPS listener shows for a name.
func (p *Patient) httpsChain(ctx context.Context, name string) ([]*x509.Certificate, error) {
	list, _ := p.reach(ctx, config.HTTPS)
	var first error
	for _, addr := range list {
		d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: dialPatience}, Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}} // judged by the caller
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		defer c.Close()
		return c.(*tls.Conn).ConnectionState().PeerCertificates, nil
	}
	return nil, first
}
