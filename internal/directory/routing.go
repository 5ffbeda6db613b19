package directory

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// routes are all relays, rules and backup domains of one version, never changed
// once made.
type routes struct {
	version  int64
	relays   map[string]Route
	broken   map[string]error // relays that cannot be used
	rules    map[Side]map[string]Rule
	fallback string
	backup   map[string]BackupDomain
}

// routing keeps the current ones.
type routing struct {
	loading chan struct{} // held by the one that asks the database
	mu      sync.Mutex
	now     *routes // nil: none were read yet
	checked time.Time
	expired uint64        // rises with every change made here: an answer asked for before it is old
	changed chan struct{} // a version other than the last came up
}

func newRouting() *routing {
	return &routing{loading: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// routesTTL bounds how long another node's change goes unseen if its notice is lost.
const routesTTL = time.Second

// current are the routes, and whether they may be used without asking.
func (r *routing) current() (*routes, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now, r.now != nil && time.Since(r.checked) < routesTTL
}

func (r *routing) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expired++
	r.checked = time.Time{}
}

// question notes when the database is asked.
func (r *routing) question() (asked time.Time, expired uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now(), r.expired
}

func (r *routing) install(n *routes, asked time.Time, expired uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now != nil && r.now.version != n.version {
		select {
		case r.changed <- struct{}{}:
		default: // it is already told
		}
	}
	if r.now = n; expired == r.expired {
		r.checked = asked
	}
}

// RouteFor says how mail of sender (zero: the null reverse-path) for domain, in
// the form of mail.Address.Domain, leaves. It answers from memory and asks the
// database once a second at most, so a change is seen after a second, sooner
// when its notice comes through. An error is temporary: the database could not
// be asked, or the relay's password was sealed under another key.
func (d *Directory) RouteFor(ctx context.Context, sender mail.Address, domain string) (Route, error) {
	r, err := d.routes(ctx)
	if err != nil {
		return Route{}, fmt.Errorf("route for %s: %w", domain, err)
	}
	return r.route(sender, domain)
}

// RelayRoute is the route of mail that takes a relay. ErrNotFound, ErrNoKey.
func (d *Directory) RelayRoute(ctx context.Context, name string) (Route, error) {
	r, err := d.routes(ctx)
	if err != nil {
		return Route{}, fmt.Errorf("relay %s: %w", name, err)
	}
	name = strings.ToLower(name)
	if route, ok := r.relays[name]; ok {
		return route, nil
	}
	if err := r.broken[name]; err != nil {
		return Route{}, fmt.Errorf("relay %s: %w", name, err)
	}
	return Route{}, fmt.Errorf("relay %s: %w", name, ErrNotFound)
}

// RouteKey is the Key of RouteFor. It neither fails nor waits long: inside a
// transaction that holds a connection it must not need another one. What was
// keyed by routes that had just changed is put right after OnRoutes.
func (d *Directory) RouteKey(sender mail.Address, domain string) string {
	r, _ := d.routing.current()
	if r == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		var err error
		if r, err = d.routes(ctx); err != nil {
			d.log.Warn("queued by domain, the routes could not be read", "event", "routes.read", "err", err)
			return domain
		}
	}
	rule, way := r.rule(sender, domain)
	return routeKey(rule, way, domain)
}

// routes gives them fresh.
func (d *Directory) routes(ctx context.Context) (*routes, error) {
	if r, fresh := d.routing.current(); fresh {
		return r, nil
	}
	ctx, cancel := d.asking(ctx)
	defer cancel()
	return d.refreshRoutes(ctx, d.pool, false)
}

// refreshRoutes reads them unless that was just done, or with force always. One
// reader at a time: what was read later is never put aside by what was read before.
func (d *Directory) refreshRoutes(ctx context.Context, q beginner, force bool) (*routes, error) {
	select {
	case d.routing.loading <- struct{}{}:
		defer func() { <-d.routing.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r, fresh := d.routing.current()
	if fresh && !force {
		return r, nil
	}
	if err := d.readRoutes(ctx, q); err != nil {
		return nil, err
	}
	r, _ = d.routing.current()
	return r, nil
}

// beginner is a pool or a connection.
type beginner interface {
	querier
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// readRoutes asks for the version, and for the rest where that is another.
func (d *Directory) readRoutes(ctx context.Context, q beginner) error {
	asked, expired := d.routing.question()
	var version int64
	if err := q.QueryRow(ctx, "SELECT version FROM routing").Scan(&version); err != nil {
		return fmt.Errorf("read the routes: %w", err)
	}
	if now, _ := d.routing.current(); now != nil && now.version == version {
		d.routing.install(now, asked, expired)
		return nil
	}
	var r *routes
	// One snapshot: a relay is never seen without its route.
	err := pgx.BeginTxFunc(ctx, q, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var err error
		r, err = d.allRoutes(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the routes: %w", err)
	}
	d.routing.install(r, asked, expired)
	return nil
}

func (d *Directory) allRoutes(ctx context.Context, tx pgx.Tx) (*routes, error) {
	r := &routes{relays: map[string]Route{}, broken: map[string]error{}, rules: map[Side]map[string]Rule{}, backup: map[string]BackupDomain{}}
	if err := tx.QueryRow(ctx, "SELECT version, coalesce(fallback, '') FROM routing").Scan(&r.version, &r.fallback); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, selectRelay)
	if err != nil {
		return nil, err
	}
	stored, err := pgx.CollectRows(rows, scanRelay)
	if err != nil {
		return nil, err
	}
	for _, s := range stored {
		d.addRelay(r, s)
	}
	for _, s := range stored {
		r.giveFallback(s)
	}
	if rows, err = tx.Query(ctx, selectRule); err != nil {
		return nil, err
	}
	rules, err := pgx.CollectRows(rows, scanRule)
	if err != nil {
		return nil, err
	}
	for _, rule := range rules {
		if r.rules[rule.Side] == nil {
			r.rules[rule.Side] = map[string]Rule{}
		}
		r.rules[rule.Side][rule.Pattern] = rule
	}
	if rows, err = tx.Query(ctx, selectBackup); err != nil {
		return nil, err
	}
	backups, err := pgx.CollectRows(rows, scanBackup)
	if err != nil {
		return nil, err
	}
	for _, b := range backups {
		r.backup[b.Name] = b
	}
	return r, nil
}

// addRelay makes the route of a stored relay.
func (d *Directory) addRelay(r *routes, s storedRelay) {
	route := Route{Key: "relay:" + s.Name, Hosts: s.Hosts, LMTP: s.LMTP, TLS: s.TLS, Way: s.Way}
	if s.User != "" && d.opts.MadeUp {
		r.broken[s.Name] = ErrNoKey
		return
	}
	if s.User != "" {
		password, err := d.passwords.Open(s.sealed, s.Name)
		if err != nil {
			d.log.Error("a relay cannot be used", "event", "routes.sealed", "relay", s.Name, "err", err)
			r.broken[s.Name] = fmt.Errorf("its password: %w", err)
			return
		}
		route.Auth = &Login{User: s.User, Password: string(password)}
	}
	r.relays[s.Name] = route
}

// giveFallback follows one step: a fallback has none itself, so that two
// relays may stand in for each other.
func (r *routes) giveFallback(s storedRelay) {
	route, ok := r.relays[s.Name]
	to, found := r.relays[s.Fallback]
	if ok && found {
		to.Fallback = nil
		route.Fallback = &to
		r.relays[s.Name] = route
	}
}

// route is the whole answer.
func (r *routes) route(sender mail.Address, domain string) (Route, error) {
	rule, way := r.rule(sender, domain)
	if rule.Relay != "" {
		route, ok := r.relays[rule.Relay]
		if !ok {
			return Route{}, fmt.Errorf("relay %s: %w", rule.Relay, r.broken[rule.Relay])
		}
		return route, nil
	}
	route := Route{Key: routeKey(rule, way, domain), Domain: domain, Way: way}
	if b, ok := r.backup[domain]; ok {
		// Another site's relay would bring it back to us.
		if route.Hosts = b.Hosts; len(b.Hosts) > 0 {
			route.Domain = ""
		}
		return route, nil
	}
	if to, ok := r.relays[r.fallback]; ok {
		to.Fallback = nil
		route.Fallback = &to
	}
	return route, nil
}

// routeKey is Route.Key.
func routeKey(rule Rule, way Way, domain string) string {
	if rule.Relay != "" {
		return "relay:" + rule.Relay
	}
	if !way.IsZero() {
		return domain + "#" + way.String()
	}
	return domain
}

// rule finds the rule that decides and, where that says directly, the way. A
// domain that we are backup for lives where it lives: only a rule for that very
// domain leads elsewhere.
func (r *routes) rule(sender mail.Address, domain string) (Rule, Way) {
	var fit []Rule
	add := func(side Side, patterns ...string) {
		for _, p := range patterns {
			if rule, ok := r.rules[side][p]; ok {
				fit = append(fit, rule)
				return
			}
		}
	}
	_, backup := r.backup[domain]
	add(ToDomain, domain)
	if backup && len(fit) == 0 {
		fit = append(fit, Rule{Side: ToDomain, Pattern: domain})
	}
	if len(fit) == 0 {
		add(ToDomain, parents(domain)...)
	}
	if !sender.IsZero() {
		s := fold(sender)
		add(FromWhom, append([]string{key(s), s.Domain}, parents(s.Domain)...)...)
	}
	add(AllMail, "")
	if len(fit) == 0 {
		return Rule{}, Way{}
	}
	if fit[0].Relay != "" {
		return fit[0], Way{}
	}
	for _, rule := range fit {
		if rule.Relay == "" && !rule.Way.IsZero() {
			return fit[0], rule.Way
		}
	}
	return fit[0], Way{}
}

// parents are the wildcards that a domain falls under, the longest first.
func parents(domain string) []string {
	var list []string
	for {
		i := strings.IndexByte(domain, '.')
		if i < 0 || domain[0] == '[' {
			return list
		}
		domain = domain[i+1:]
		list = append(list, "*."+domain)
	}
}

// tellRoutes runs onRoutes after each change, one at a time, until ctx ends.
func (d *Directory) tellRoutes(ctx context.Context, onRoutes func(context.Context)) {
	for {
		select {
		case <-d.routing.changed:
			onRoutes(ctx)
		case <-ctx.Done():
			return
		}
	}
}
