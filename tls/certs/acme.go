package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"posthouse/internal/events"
)

// ACMEConfig says where certificates come from (RFC 8555).
type ACMEConfig struct {
	Pool     *pgxpool.Pool
	Key      []byte // the site's, under which private keys are sealed
	Hostname string
	Email    string         // for the authority to write to; may be empty
	CA       string         // directory URL
	Roots    *x509.CertPool // for the directory itself; nil: the system's
	Resolver string         // ADDR:PORT to find the directory with; empty: the system's

	HTTPPort, TLSPort int                   // where our listeners answer HTTP-01 and TLS-ALPN-01; 0: they don't
	DNS               certmagic.DNSProvider // answers DNS-01; nil: it is not used
	DNSResolvers      []string              // ADDR:PORT, to see whether a record is published; empty: the system's

	Domains func(context.Context) ([]string, error)
	// Lookup finds a name's addresses; no address and no error: there is none.
	Lookup    func(ctx context.Context, name string) ([]netip.Addr, error)
	Addresses []netip.Addr // this site's, beside those of its interfaces: behind NAT
	Log       *slog.Logger

	check  time.Duration // how often it is looked for what is to be renewed; 0: certmagic's 10 minutes
	window float64       // the share of a certificate's life in which it is renewed; 0: certmagic's last third
}

const (
	namesEvery = 10 * time.Minute // when DNS is asked again
	namesPoll  = 15 * time.Second // when the list of domains is
	maxNames   = 500              // certificates that one site orders
)

// ACME orders certificates and renews them, one for each name, as soon as a
// name's DNS leads here. The nodes of a site share what they have; one of them
// orders, any of them answers the challenge.
type ACME struct {
	cfg     ACMEConfig
	storage *storage
	cache   *certmagic.Cache
	magic   *certmagic.Config
	issuer  *certmagic.ACMEIssuer
	stop    context.CancelFunc
	done    sync.WaitGroup
	look    chan struct{} // asks run to look now

	mu      sync.Mutex
	managed map[string]bool
	waiting map[string]string // names that are not ordered yet, and why
	failed  map[string]string // names whose last order failed, and why
}

// OpenACME loads the certificates that the site has, so that they serve at
// once, and goes on in the background. It asks nobody on the network before it
// returns.
func OpenACME(ctx context.Context, c ACMEConfig) (*ACME, error) {
	store, err := openStorage(c.Pool, c.Key, c.Log)
	if err != nil {
		return nil, err
	}
	a := &ACME{cfg: c, storage: store, managed: make(map[string]bool), waiting: make(map[string]string), failed: make(map[string]string), look: make(chan struct{}, 1)}
	logger := zap.New(zapLog{log: c.Log})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		RenewCheckInterval: c.check, Logger: logger,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage: store, Logger: logger, OnEvent: a.event, RenewalWindowRatio: c.window,
		DefaultServerName: c.Hostname, FallbackServerName: c.Hostname,
	})
	template := certmagic.ACMEIssuer{
		CA: c.CA, TestCA: c.CA, Email: c.Email, Agreed: true, TrustedRoots: c.Roots, Resolver: c.Resolver, Logger: logger,
		DisableHTTPChallenge: c.HTTPPort == 0, DisableTLSALPNChallenge: c.TLSPort == 0,
		// It would listen there itself if we did not already.
		AltHTTPPort: c.HTTPPort, AltTLSALPNPort: c.TLSPort,
	}
	if c.DNS != nil {
		template.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{DNSProvider: c.DNS, Resolvers: c.DNSResolvers, Logger: logger}}
	}
	a.issuer = certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	if err := a.load(ctx); err != nil {
		a.cache.Stop()
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop = stop
	a.done.Go(func() { a.run(run) })
	return a, nil
}

// Close ends ordering. What is under way is taken up again at the next start,
// or by another node.
func (a *ACME) Close() {
	a.stop()
	a.done.Wait()
	a.cache.Stop()
}

// Look has the background look at once for names to order and for certificates
// that are due, as it does by itself now and then.
func (a *ACME) Look() {
	select {
	case a.look <- struct{}{}:
	default: // somebody has asked already
	}
}

// Challenges answers the HTTP-01 challenges of all nodes, and passes every
// other request on.
func (a *ACME) Challenges(next http.Handler) http.Handler {
	return a.issuer.HTTPChallengeHandler(next)
}

// load takes the certificates of the names wanted from the database.
func (a *ACME) load(ctx context.Context) error {
	names, err := a.names(ctx)
	if err != nil {
		return fmt.Errorf("certificates: list the domains: %w", err)
	}
	for _, name := range names {
		if cert, err := a.magic.CacheManagedCertificate(ctx, name); err == nil {
			a.cfg.Log.Debug("certificate loaded", "event", "certificate", "name", name, "until", cert.Leaf.NotAfter)
		}
	}
	return nil
}

// names are those that the site would like certificates for.
func (a *ACME) names(ctx context.Context) ([]string, error) {
	domains, err := a.cfg.Domains(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{a.cfg.Hostname}
	for _, d := range domains {
		for _, p := range servicePrefixes {
			names = append(names, p+d)
		}
	}
	slices.Sort(names[1:])
	names = slices.Compact(names)
	return names[:min(len(names), maxNames)], nil
}

// run keeps what is managed in step with the domains and their DNS.
func (a *ACME) run(ctx context.Context) {
	var last []string
	var asked time.Time
	tick := time.NewTicker(namesPoll)
	defer tick.Stop()
	// What ran out, or nearly did, while the server was down is not to wait for
	// the first of the regular looks.
	a.renew(ctx)
	for {
		names, err := a.names(ctx)
		switch {
		case err != nil:
			a.cfg.Log.Warn("list the domains for certificates", "event", "certificate", "err", err)
		case !slices.Equal(names, last) || time.Since(asked) > namesEvery:
			a.manage(ctx, names)
			last, asked = names, time.Now()
		}
		select {
		case <-tick.C:
		case <-a.look:
			a.renew(ctx)
			asked = time.Time{}
		case <-ctx.Done():
			return
		}
	}
}

// renew renews what is due.
func (a *ACME) renew(ctx context.Context) {
	if err := a.cache.RenewManagedCertificates(ctx); err != nil {
		a.cfg.Log.Warn("certificates that are due cannot be renewed", "event", "certificate", "err", err)
	}
}

// manage orders for the names whose DNS leads here and that have no
// certificate, and keeps those renewed that have.
func (a *ACME) manage(ctx context.Context, names []string) {
	here := newPlace(ctx, a.cfg)
	waiting := make(map[string]string)
	var fresh []string
	for _, name := range names {
		a.mu.Lock()
		known := a.managed[name]
		a.mu.Unlock()
		if known {
			continue
		}
		// One that exists is renewed wherever its DNS leads now.
		if why := here.leads(ctx, name); why != "" && len(a.cache.AllMatchingCertificates(name)) == 0 {
			waiting[name] = why
			continue
		}
		fresh = append(fresh, name)
	}
	a.drop(names, waiting)
	if len(fresh) == 0 {
		return
	}
	if err := a.magic.ManageAsync(ctx, fresh); err != nil {
		a.cfg.Log.Warn("certificates cannot be ordered", "event", "certificate", "names", fresh, "err", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range fresh {
		a.managed[name] = true
	}
}

// drop forgets the names of domains that went.
func (a *ACME) drop(names []string, waiting map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = waiting
	var gone []certmagic.SubjectIssuer
	for name := range a.managed {
		if !slices.Contains(names, name) {
			gone = append(gone, certmagic.SubjectIssuer{Subject: name, IssuerKey: a.issuer.IssuerKey()})
			delete(a.managed, name)
			delete(a.failed, name)
		}
	}
	a.cache.RemoveManaged(gone)
}

// event hears from certmagic how orders end.
func (a *ACME) event(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_obtained":
		events.CertificateOrders.WithLabelValues("ok").Inc()
		a.cfg.Log.Info("certificate obtained", "event", "certificate", "name", name, "renewal", data["renewal"])
		a.mu.Lock()
		delete(a.failed, name)
		a.mu.Unlock()
	case "cert_failed":
		events.CertificateOrders.WithLabelValues("failed").Inc()
		err, _ := data["error"].(error)
		a.cfg.Log.Warn("certificate not obtained; it is tried again", "event", "certificate", "name", name, "err", err)
		a.mu.Lock()
		a.failed[name] = fmt.Sprint(err)
		a.mu.Unlock()
	}
	return nil
}

// get is the certificate for a handshake, nil where there is none that is valid
// now.
func (a *ACME) get(hello *tls.ClientHelloInfo) *tls.Certificate {
	cert, err := a.magic.GetCertificate(hello)
	if err != nil || cert == nil || cert.Leaf == nil || time.Now().After(cert.Leaf.NotAfter) {
		return nil
	}
	return cert
}

// problems are the names that the site wants certificates for, each with why it
// has none, or none newer; empty: all is well with it.
func (a *ACME) problems() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make(map[string]string)
	maps.Copy(names, a.waiting)
	for name := range a.managed {
		names[name] = a.failed[name]
	}
	return names
}

// isChallenge reports whether a handshake is the authority's (RFC 8737 §3).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && strings.EqualFold(hello.SupportedProtos[0], acmeProto)
}

const acmeProto = "acme-tls/1"
