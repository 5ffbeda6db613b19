package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Relay is a named next hop: a smarthost, a static list of hosts, or an LMTP
// server.
type Relay struct {
	Name  string // letters, digits, dots and hyphens, in lower case
	Hosts []Host // tried in order
	LMTP  bool
	TLS   TLSMode
	User  string // empty: no AUTH
	Way
	Fallback string // the relay that is tried when this one takes nothing; empty: none
	Created  time.Time
}

// maxHosts bounds a relay's list.
const maxHosts = 20

// DefaultTLS is what fits next hops of which nothing is said: TLS from the first
// octet on port 465, a verified certificate where a password is sent over a
// network, else what is offered.
func DefaultTLS(hosts []Host, auth bool) TLSMode {
	away := false
	for _, h := range hosts {
		if h.Port == 465 {
			return TLSImplicit
		}
		away = away || !h.loopback()
	}
	if auth && away {
		return TLSVerified
	}
	return TLSOpportunistic
}

// AddRelay adds a relay, or with replace puts it in the place of one of the
// same name, which keeps its routes. password goes with User. A host without a
// port gets 465 with TLSImplicit, 587 with a User. ErrConflict (it exists),
// ErrNotFound (to replace, or the fallback), ErrInvalid, ErrNoKey.
func (d *Directory) AddRelay(ctx context.Context, r Relay, password string, replace bool) (Relay, error) {
	r, err := checkRelay(r, password)
	if err != nil {
		return r, err
	}
	var sealed []byte
	if r.User != "" {
		if d.opts.MadeUp {
			return r, fmt.Errorf("relay %s: %w", r.Name, ErrNoKey)
		}
		sealed = d.passwords.Seal([]byte(password), r.Name)
	}
	err = d.changeRoutes(ctx, "relay "+r.Name, func(tx pgx.Tx) error {
		sql := `INSERT INTO relay (name, hosts, lmtp, tls, username, password, source, socks5, helo, fallback)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, nullif($10, '')) ON CONFLICT DO NOTHING RETURNING created_at`
		missing := ErrConflict
		if replace {
			missing = ErrNotFound
			sql = `UPDATE relay SET (hosts, lmtp, tls, username, password, source, socks5, helo, fallback)
				= ($2, $3, $4, $5, $6, $7, $8, $9, nullif($10, '')) WHERE name = $1 RETURNING created_at`
		}
		if r.Fallback != "" {
			if err := relayExists(ctx, tx, r.Fallback); err != nil {
				return err
			}
		}
		err := tx.QueryRow(ctx, sql, r.Name, hostsText(r.Hosts), r.LMTP, r.TLS.String(), r.User, sealed,
			sourceText(r.Source), r.SOCKS5, r.HELO, r.Fallback).Scan(&r.Created)
		return noRows(err, missing)
	})
	return r, err
}

// maxLogin bounds user and password at a next hop, in octets.
const maxLogin = 1024

func checkRelay(r Relay, password string) (Relay, error) {
	name, err := relayName(r.Name)
	if err != nil {
		return r, err
	}
	r.Name = name
	if len(r.Hosts) == 0 || len(r.Hosts) > maxHosts {
		return r, fmt.Errorf("relay %s: %d next hops, give 1 to %d: %w", name, len(r.Hosts), maxHosts, ErrInvalid)
	}
	r.Hosts = slices.Clone(r.Hosts)
	secret := true // every host is one that a password may go to in clear
	for i, h := range r.Hosts {
		switch {
		case h.Port != 0 || r.LMTP || h.socket():
		case r.TLS == TLSImplicit:
			r.Hosts[i].Port = 465
		case r.User != "":
			r.Hosts[i].Port = 587
		}
		secret = secret && h.loopback()
		if r.LMTP && !h.socket() && (h.Port == 0 || h.Port == 25) {
			return r, fmt.Errorf("relay %s: LMTP needs a port, and it is never 25 (RFC 2033 §5): write %s:24 or the path of a socket: %w", name, h.Name, ErrInvalid)
		}
	}
	switch {
	case r.User == "" && password != "":
		return r, fmt.Errorf("relay %s: a password without a user: %w", name, ErrInvalid)
	case r.User != "" && password == "":
		return r, fmt.Errorf("relay %s: a user without a password: %w", name, ErrInvalid)
	case len(r.User) > maxLogin || len(password) > maxLogin || strings.ContainsAny(r.User+password, "\x00\r\n"):
		return r, fmt.Errorf("relay %s: user or password has a line break or is longer than %d octets: %w", name, maxLogin, ErrInvalid)
	case r.User != "" && r.TLS == TLSNever && !secret:
		return r, fmt.Errorf("relay %s: tls never would send the password in clear over the network: %w", name, ErrInvalid)
	case r.Fallback == name:
		return r, fmt.Errorf("relay %s: it cannot be its own fallback: %w", name, ErrInvalid)
	}
	if r.Way, err = checkWay(r.Way); err != nil {
		return r, fmt.Errorf("relay %s: %w", name, err)
	}
	return r, nil
}

// relayName folds a relay's name and vets it.
func relayName(s string) (string, error) {
	name := strings.ToLower(s)
	ok := name != "" && len(name) <= 63 && strings.Trim(name, ".-") == name
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	if !ok {
		return "", fmt.Errorf("relay name %q: use letters, digits, dots and hyphens, at most 63: %w", s, ErrInvalid)
	}
	if name == "direct" || name == "none" || name == "all" {
		return "", fmt.Errorf("relay name %q has a meaning of its own: %w", s, ErrInvalid)
	}
	return name, nil
}

func relayExists(ctx context.Context, tx pgx.Tx, name string) error {
	var one int
	err := tx.QueryRow(ctx, "SELECT 1 FROM relay WHERE name = $1 FOR KEY SHARE", name).Scan(&one)
	if err = noRows(err, ErrNotFound); err != nil {
		return fmt.Errorf("relay %s: %w", name, err)
	}
	return nil
}

const selectRelay = `SELECT name, hosts, lmtp, tls, username, source, socks5, helo, coalesce(fallback, ''), created_at, password FROM relay `

// storedRelay is a row, its password still sealed.
type storedRelay struct {
	Relay
	sealed []byte
}

func scanRelay(row pgx.CollectableRow) (storedRelay, error) {
	var r storedRelay
	var hosts, source []string
	var mode, socks5, helo string
	err := row.Scan(&r.Name, &hosts, &r.LMTP, &mode, &r.User, &source, &socks5, &helo, &r.Fallback, &r.Created, &r.sealed)
	if err != nil {
		return r, err
	}
	if r.Hosts, err = parseHosts(hosts); err != nil {
		return r, err
	}
	if r.TLS, err = ParseTLSMode(mode); err != nil {
		return r, err
	}
	r.Way, err = wayOf(source, socks5, helo)
	return r, err
}

// Relays lists them by name.
func (d *Directory) Relays(ctx context.Context) ([]Relay, error) {
	rows, err := d.pool.Query(ctx, selectRelay+"ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("relays: %w", err)
	}
	stored, err := pgx.CollectRows(rows, scanRelay)
	if err != nil {
		return nil, fmt.Errorf("relays: %w", err)
	}
	relays := make([]Relay, len(stored))
	for i, r := range stored {
		relays[i] = r.Relay
	}
	return relays, nil
}

// Relay finds one. ErrNotFound.
func (d *Directory) Relay(ctx context.Context, name string) (Relay, error) {
	rows, err := d.pool.Query(ctx, selectRelay+"WHERE name = $1", clean(strings.ToLower(name)))
	if err != nil {
		return Relay{}, fmt.Errorf("relay %s: %w", name, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRelay)
	if err != nil {
		return Relay{}, fmt.Errorf("relay %s: %w", name, noRows(err, ErrNotFound))
	}
	return r.Relay, nil
}

// RemoveRelay removes one that nothing leads to. ErrNotFound, ErrConflict.
func (d *Directory) RemoveRelay(ctx context.Context, name string) error {
	name = clean(strings.ToLower(name))
	return d.changeRoutes(ctx, "remove relay "+name, func(tx pgx.Tx) error {
		var user string
		err := tx.QueryRow(ctx, `SELECT CASE WHEN side = 'all' THEN 'the route of all mail' ELSE 'the route ' || side || ' ' || pattern END
				FROM route WHERE relay = $1
			UNION ALL SELECT 'the site, as its fallback' FROM routing WHERE fallback = $1
			UNION ALL SELECT 'relay ' || name || ', as its fallback' FROM relay WHERE fallback = $1 LIMIT 1`, name).Scan(&user)
		if err == nil {
			return fmt.Errorf("it is used by %s: %w", user, ErrConflict)
		}
		if err = noRows(err, nil); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, "DELETE FROM relay WHERE name = $1", name)
		return atLeastOne(tag.RowsAffected(), err)
	})
}

// SetFallback names the relay that is tried when relay takes nothing, or when
// direct delivery is refused or impossible with relay "". to "" is none.
// ErrNotFound (either), ErrInvalid.
func (d *Directory) SetFallback(ctx context.Context, relay, to string) error {
	relay, to = clean(strings.ToLower(relay)), clean(strings.ToLower(to))
	if to != "" && relay == to {
		return fmt.Errorf("relay %s cannot be its own fallback: %w", relay, ErrInvalid)
	}
	return d.changeRoutes(ctx, "fallback", func(tx pgx.Tx) error {
		if to != "" {
			if err := relayExists(ctx, tx, to); err != nil {
				return err
			}
		}
		if relay == "" {
			_, err := tx.Exec(ctx, "UPDATE routing SET fallback = nullif($1, '')", to)
			return err
		}
		tag, err := tx.Exec(ctx, "UPDATE relay SET fallback = nullif($2, '') WHERE name = $1", relay, to)
		if err = atLeastOne(tag.RowsAffected(), err); err != nil {
			return fmt.Errorf("relay %s: %w", relay, err)
		}
		return nil
	})
}

// Fallback is the relay for what cannot go out directly; "" is none.
func (d *Directory) Fallback(ctx context.Context) (string, error) {
	var name string
	if err := d.pool.QueryRow(ctx, "SELECT coalesce(fallback, '') FROM routing").Scan(&name); err != nil {
		return "", fmt.Errorf("fallback: %w", err)
	}
	return name, nil
}
