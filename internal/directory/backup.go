package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Recipients says which recipients of a backup domain are taken.
type Recipients string

const (
	Callout Recipients = "callout" // whom its primary knows, asked and remembered, and whom the list names
	Listed  Recipients = "list"    // whom the list names
	Anybody Recipients = "any"     // what the primary then refuses bounces, mostly to forged senders
)

// BackupDomain is a domain that lives elsewhere, whose mail is taken while its
// primary is away and handed on when it returns (RFC 5321 §5). postmaster is
// taken always.
type BackupDomain struct {
	Name       string
	Hosts      []Host // the primary, in order; empty: by the MX records that stand before ours
	Recipients Recipients
	AcceptDown bool          // while the primary is away, recipients that nobody knows of are taken; else deferred
	KnownFor   time.Duration // a callout's yes is believed so long
	UnknownFor time.Duration // and a no
	Created    time.Time
	Listed     int64 // recipients on the list
}

// Times that a callout is believed, unless said otherwise. A yes is still good
// for staleFor while the primary does not answer.
const (
	DefaultKnownFor   = 7 * 24 * time.Hour
	DefaultUnknownFor = time.Hour
	staleFor          = 60 * 24 * time.Hour
	maxKnownFor       = staleFor
)

// AddBackup adds a backup domain, or with replace changes one, which keeps its
// list. Zero times are the defaults. ErrConflict (it exists, here or as a domain
// of ours), ErrNotFound (to replace), ErrInvalid.
func (d *Directory) AddBackup(ctx context.Context, b BackupDomain, replace bool) (BackupDomain, error) {
	b, err := checkBackup(b)
	if err != nil {
		return b, err
	}
	whenDown := "defer"
	if b.AcceptDown {
		whenDown = "accept"
	}
	err = d.changeRoutes(ctx, "backup domain "+b.Name, func(tx pgx.Tx) error {
		if err := lockNames(ctx, tx, b.Name, "domain"); err != nil {
			return err
		}
		sql := `INSERT INTO backup_domain (name, hosts, recipients, when_down, known_for, unknown_for) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT DO NOTHING RETURNING created_at`
		missing := ErrConflict
		if replace {
			missing = ErrNotFound
			sql = `UPDATE backup_domain SET (hosts, recipients, when_down, known_for, unknown_for) = ($2, $3, $4, $5, $6) WHERE name = $1 RETURNING created_at`
		}
		err := tx.QueryRow(ctx, sql, b.Name, hostsText(b.Hosts), b.Recipients, whenDown, b.KnownFor, b.UnknownFor).Scan(&b.Created)
		return noRows(err, missing)
	})
	return b, err
}

func checkBackup(b BackupDomain) (BackupDomain, error) {
	name, err := mail.ParseDomain(b.Name)
	if err != nil {
		return b, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b.Name = name
	if len(b.Hosts) > maxHosts {
		return b, fmt.Errorf("backup domain %s: %d next hops, at most %d: %w", name, len(b.Hosts), maxHosts, ErrInvalid)
	}
	if b.Recipients == "" {
		b.Recipients = Callout
	}
	if !slices.Contains([]Recipients{Callout, Listed, Anybody}, b.Recipients) {
		return b, fmt.Errorf("recipients %q: write callout, list or any: %w", b.Recipients, ErrInvalid)
	}
	if b.KnownFor == 0 {
		b.KnownFor = DefaultKnownFor
	}
	if b.UnknownFor == 0 {
		b.UnknownFor = DefaultUnknownFor
	}
	if b.KnownFor < time.Minute || b.UnknownFor < time.Minute || b.KnownFor > maxKnownFor || b.UnknownFor > maxKnownFor {
		return b, fmt.Errorf("backup domain %s: answers are remembered for 1 minute to 60 days: %w", name, ErrInvalid)
	}
	return b, nil
}

// lockNames makes sure that no name is both a domain and a backup domain: who
// adds either takes this lock first, then looks for the other.
func lockNames(ctx context.Context, tx pgx.Tx, name, other string) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('posthouse domains', 0))"); err != nil {
		return err
	}
	var taken bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+other+" WHERE name = $1)", name).Scan(&taken)
	if err == nil && taken {
		err = fmt.Errorf("%s is a %s: %w", name, map[string]string{"domain": "domain whose mail ends here", "backup_domain": "backup domain"}[other], ErrConflict)
	}
	return err
}

// RemoveBackup removes a backup domain with its list. ErrNotFound.
func (d *Directory) RemoveBackup(ctx context.Context, name string) error {
	name = domainKey(name)
	return d.changeRoutes(ctx, "remove backup domain "+name, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "DELETE FROM backup_domain WHERE name = $1", name)
		return atLeastOne(tag.RowsAffected(), err)
	})
}

const selectBackup = `SELECT name, hosts, recipients, when_down = 'accept', known_for, unknown_for, created_at,
	(SELECT count(*) FROM backup_recipient r WHERE r.domain = name) FROM backup_domain `

func scanBackup(row pgx.CollectableRow) (BackupDomain, error) {
	var b BackupDomain
	var hosts []string
	err := row.Scan(&b.Name, &hosts, &b.Recipients, &b.AcceptDown, &b.KnownFor, &b.UnknownFor, &b.Created, &b.Listed)
	if err != nil {
		return b, err
	}
	b.Hosts, err = parseHosts(hosts)
	return b, err
}

// Backups lists the backup domains by name.
func (d *Directory) Backups(ctx context.Context) ([]BackupDomain, error) {
	rows, err := d.pool.Query(ctx, selectBackup+"ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("backup domains: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanBackup)
	if err != nil {
		return nil, fmt.Errorf("backup domains: %w", err)
	}
	return list, nil
}

// Backup finds one. ErrNotFound.
func (d *Directory) Backup(ctx context.Context, name string) (BackupDomain, error) {
	rows, err := d.pool.Query(ctx, selectBackup+"WHERE name = $1", domainKey(name))
	if err != nil {
		return BackupDomain{}, fmt.Errorf("backup domain %s: %w", name, err)
	}
	b, err := pgx.CollectExactlyOneRow(rows, scanBackup)
	if err != nil {
		return BackupDomain{}, fmt.Errorf("backup domain %s: %w", name, noRows(err, ErrNotFound))
	}
	return b, nil
}

// ListRecipients adds addresses to a backup domain's list and takes others off
// it. ErrNotFound (the domain, or one to be taken off), ErrInvalid.
func (d *Directory) ListRecipients(ctx context.Context, domain string, add, remove []mail.Address) error {
	domain = domainKey(domain)
	on, err := recipientKeys(domain, add)
	if err != nil {
		return err
	}
	off, err := recipientKeys(domain, remove)
	if err != nil {
		return err
	}
	return d.change(ctx, "recipients of "+domain, func(tx pgx.Tx) ([]int64, error) {
		var one int
		err := tx.QueryRow(ctx, "SELECT 1 FROM backup_domain WHERE name = $1 FOR KEY SHARE", domain).Scan(&one)
		if err = noRows(err, ErrNotFound); err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, "INSERT INTO backup_recipient (domain, address) SELECT $1, a FROM unnest($2::text[]) a ON CONFLICT DO NOTHING", domain, on)
		if err != nil {
			return nil, err
		}
		for _, k := range off {
			tag, err := tx.Exec(ctx, "DELETE FROM backup_recipient WHERE address = $1", k)
			if err = atLeastOne(tag.RowsAffected(), err); err != nil {
				return nil, fmt.Errorf("recipient %s: %w", k, err)
			}
		}
		return nil, nil
	})
}

func recipientKeys(domain string, list []mail.Address) ([]string, error) {
	keys := make([]string, len(list))
	for i, a := range list {
		if a.Domain != domain {
			return nil, fmt.Errorf("recipient %s is not in %s: %w", a, domain, ErrInvalid)
		}
		keys[i] = clean(key(fold(a)))
	}
	return keys, nil
}

// Recipients are the addresses on a backup domain's list, in order.
func (d *Directory) Recipients(ctx context.Context, domain string) ([]mail.Address, error) {
	rows, err := d.pool.Query(ctx, "SELECT address FROM backup_recipient WHERE domain = $1 ORDER BY address", domainKey(domain))
	if err != nil {
		return nil, fmt.Errorf("recipients of %s: %w", domain, err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("recipients of %s: %w", domain, err)
	}
	return addresses(keys), nil
}

// RelaysFor says whether a stranger's mail for rcpt, whose domain is not ours, is
// taken to be handed on: nil, or a *mail.Error. It may take as long as a
// callout does.
func (d *Directory) RelaysFor(ctx context.Context, rcpt mail.Address) error {
	r, err := d.routes(ctx)
	if err != nil {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot look up the recipient, try again later", err)
	}
	b, ok := r.backup[rcpt.Domain]
	if !ok {
		return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Relaying denied")
	}
	// RFC 5321 §4.5.1: postmaster is supported wherever mail is relayed to.
	if fold(rcpt).Local == "postmaster" || b.Recipients == Anybody {
		return nil
	}
	err = d.backupRecipient(ctx, b, rcpt)
	if _, said := errors.AsType[*mail.Error](err); err != nil && !said {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot look up the recipient, try again later", err)
	}
	return err
}
