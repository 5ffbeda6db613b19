package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// CreateAccount adds an account to an existing domain; with the password ""
// nobody can log in until SetPassword. ErrNotFound (the domain), ErrConflict
// (the address is an account or alias), ErrInvalid.
func (d *Directory) CreateAccount(ctx context.Context, addr mail.Address, password string) (Account, error) {
	return d.createAccount(ctx, addr, password, false)
}

// CreateSharedAccount adds an account that nobody ever logs in to: its mail is
// for those whom rights in its mailboxes are given. Errors are CreateAccount's.
func (d *Directory) CreateSharedAccount(ctx context.Context, addr mail.Address) (Account, error) {
	return d.createAccount(ctx, addr, "", true)
}

func (d *Directory) createAccount(ctx context.Context, addr mail.Address, password string, shared bool) (Account, error) {
	addr, err := checkOwn(addr)
	if err != nil {
		return Account{}, err
	}
	secrets, err := d.hasher.make(ctx, password)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", addr, err)
	}
	acct := Account{Address: addr, Shared: shared}
	err = d.change(ctx, "create account "+addr.String(), func(tx pgx.Tx) ([]int64, error) {
		if err := lockDomain(ctx, tx, addr.Domain, "KEY SHARE"); err != nil {
			return nil, err
		}
		if err := lockAddress(ctx, tx, addr, "alias"); err != nil {
			return nil, err
		}
		// UIDVALIDITY starts at the clock, so that an account made anew never gives an old value again.
		err := tx.QueryRow(ctx, `INSERT INTO account (address, shared, uidvalidity_next) VALUES ($1, $2, extract(epoch FROM now())::bigint)
			ON CONFLICT DO NOTHING RETURNING id`, key(addr), shared).Scan(&acct.ID)
		if err = noRows(err, ErrConflict); err != nil {
			return nil, err
		}
		if err := secrets.store(ctx, tx, acct.ID); err != nil {
			return nil, err
		}
		return nil, hook(ctx, tx, d.opts.OnCreate, acct.ID)
	})
	return acct, err
}

const accountColumns = `a.id, a.address, a.disabled, a.shared, a.pop3_retention, coalesce(a.pop3_expire_days, 0)::bigint, a.pop3_marks_seen, a.quota_bytes, a.quota_messages,
	EXISTS (SELECT FROM sending_policy p WHERE p.account_id = a.id AND p.blocked_at IS NOT NULL)`

// accountRow is what accountColumns scans into.
type accountRow struct {
	Account
	address, retention string
	days               int64
}

func (r *accountRow) fields() []any {
	return []any{&r.ID, &r.address, &r.Disabled, &r.Shared, &r.retention, &r.days, &r.Pop3MarksSeen, &r.QuotaBytes, &r.QuotaMessages, &r.SendBlocked}
}

func (r *accountRow) account() (Account, error) {
	a := r.Account
	a.Address = fromKey(r.address)
	text := r.retention
	if text == mail.RetainExpire.String() {
		text = fmt.Sprintf("%s %d", text, r.days)
	}
	var err error
	a.Retention, err = mail.ParseRetention(text)
	return a, err
}

func scanAccount(row pgx.CollectableRow) (Account, error) {
	var r accountRow
	if err := row.Scan(r.fields()...); err != nil {
		return Account{}, err
	}
	return r.account()
}

// Account finds one by its address. ErrNotFound.
func (d *Directory) Account(ctx context.Context, addr mail.Address) (Account, error) {
	return d.oneAccount(ctx, addr.String(), "WHERE a.address = $1", clean(key(fold(addr))))
}

// AccountByID finds one. ErrNotFound.
func (d *Directory) AccountByID(ctx context.Context, id int64) (Account, error) {
	return d.oneAccount(ctx, fmt.Sprint(id), "WHERE a.id = $1", id)
}

func (d *Directory) oneAccount(ctx context.Context, name, where string, arg any) (Account, error) {
	rows, err := d.pool.Query(ctx, "SELECT "+accountColumns+" FROM account a "+where, arg)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", name, err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAccount)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", name, noRows(err, ErrNotFound))
	}
	return a, nil
}

// HasPassword reports whether a password opens an account: one that was made
// without has none until it is set. ErrNotFound.
func (d *Directory) HasPassword(ctx context.Context, addr mail.Address) (has bool, err error) {
	err = d.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM credential c WHERE c.account_id = a.id AND c.argon2id IS NOT NULL)
		FROM account a WHERE a.address = $1`, clean(key(fold(addr)))).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("account %s: %w", addr, noRows(err, ErrNotFound))
	}
	return has, nil
}

// Accounts lists those of a domain, or all with the domain "", by address.
func (d *Directory) Accounts(ctx context.Context, domain string) ([]Account, error) {
	sql, args := "SELECT "+accountColumns+" FROM account a ", []any(nil)
	if domain != "" {
		sql, args = sql+"WHERE split_part(a.address, '@', 2) = $1 ", []any{domainKey(domain)}
	}
	rows, err := d.pool.Query(ctx, sql+"ORDER BY split_part(a.address, '@', 2), a.address", args...)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, scanAccount)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return accounts, nil
}

// RemoveAccount removes an account and ends its sessions. Aliases that led to
// it keep their other targets. ErrNotFound.
func (d *Directory) RemoveAccount(ctx context.Context, addr mail.Address) error {
	return d.changeAccount(ctx, addr, "remove", func(tx pgx.Tx, id int64) (bool, error) {
		if err := hook(ctx, tx, d.opts.OnRemove, id); err != nil {
			return false, err
		}
		_, err := tx.Exec(ctx, "DELETE FROM account WHERE id = $1", id)
		return true, err
	})
}

// SetPassword changes the password, ends every session of the account and takes
// back the link that would set another; "" lets nobody in. ErrNotFound, ErrInvalid.
func (d *Directory) SetPassword(ctx context.Context, addr mail.Address, password string) error {
	secrets, err := d.hasher.make(ctx, password)
	if err != nil {
		return fmt.Errorf("account %s: %w", addr, err)
	}
	return d.changeAccount(ctx, addr, "password of", func(tx pgx.Tx, id int64) (bool, error) {
		if password != "" {
			if err := notShared(ctx, tx, id); err != nil {
				return false, err
			}
		}
		if _, err := tx.Exec(ctx, "DELETE FROM password_link WHERE account_id = $1", id); err != nil {
			return false, err
		}
		return true, secrets.store(ctx, tx, id)
	})
}

// notShared refuses a password for an account that has none.
func notShared(ctx context.Context, q querier, id int64) error {
	var shared bool
	err := q.QueryRow(ctx, "SELECT shared FROM account WHERE id = $1", id).Scan(&shared)
	if err == nil && shared {
		err = fmt.Errorf("nobody logs in to a shared account: %w", ErrInvalid)
	}
	return err
}

// SetDisabled disables an account, which ends its sessions and refuses its
// mail, or enables it again. ErrNotFound.
func (d *Directory) SetDisabled(ctx context.Context, addr mail.Address, disabled bool) error {
	return d.changeAccount(ctx, addr, "disable", func(tx pgx.Tx, id int64) (bool, error) {
		_, err := tx.Exec(ctx, "UPDATE account SET disabled = $2 WHERE id = $1", id, disabled)
		if err != nil {
			return false, err
		}
		_, err = tx.Exec(ctx, "UPDATE credential SET epoch = nextval('credential_epoch') WHERE account_id = $1", id)
		return true, err
	})
}

// SetQuota sets the limits in octets and messages; nil is no limit. ErrNotFound, ErrInvalid.
func (d *Directory) SetQuota(ctx context.Context, addr mail.Address, bytes, messages *int64) error {
	for _, limit := range []*int64{bytes, messages} {
		if limit != nil && *limit < 0 {
			return fmt.Errorf("quota %d: %w", *limit, ErrInvalid)
		}
	}
	return d.changeAccount(ctx, addr, "quota of", func(tx pgx.Tx, id int64) (bool, error) {
		_, err := tx.Exec(ctx, "UPDATE account SET quota_bytes = $2, quota_messages = $3 WHERE id = $1", id, bytes, messages)
		return false, err
	})
}

// SetRetention sets what a deletion in POP3 does. ErrNotFound, ErrInvalid.
func (d *Directory) SetRetention(ctx context.Context, addr mail.Address, r mail.Retention) error {
	if _, err := mail.ParseRetention(r.String()); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return d.changeAccount(ctx, addr, "retention of", func(tx pgx.Tx, id int64) (bool, error) {
		var days *int
		if r.Mode == mail.RetainExpire {
			days = &r.Days
		}
		_, err := tx.Exec(ctx, "UPDATE account SET pop3_retention = $2, pop3_expire_days = $3 WHERE id = $1", id, r.Mode.String(), days)
		return false, err
	})
}

// SetPop3MarksSeen says whether RETR sets \Seen. ErrNotFound.
func (d *Directory) SetPop3MarksSeen(ctx context.Context, addr mail.Address, on bool) error {
	return d.changeAccount(ctx, addr, "account", func(tx pgx.Tx, id int64) (bool, error) {
		_, err := tx.Exec(ctx, "UPDATE account SET pop3_marks_seen = $2 WHERE id = $1", id, on)
		return false, err
	})
}

// changeAccount runs fn with the account's row locked; fn says whether its sessions must end.
func (d *Directory) changeAccount(ctx context.Context, addr mail.Address, what string, fn func(pgx.Tx, int64) (revoke bool, err error)) error {
	return d.change(ctx, what+" "+addr.String(), func(tx pgx.Tx) ([]int64, error) {
		var id int64
		err := tx.QueryRow(ctx, "SELECT id FROM account WHERE address = $1 FOR NO KEY UPDATE", clean(key(fold(addr)))).Scan(&id)
		if err = noRows(err, ErrNotFound); err != nil {
			return nil, err
		}
		revoke, err := fn(tx, id)
		if err != nil || !revoke {
			return nil, err
		}
		return []int64{id}, nil
	})
}

// lockAddress makes sure that no account and alias get the same address, and
// that no two aliases close a circle together: both take this lock first, then
// look for the other.
func lockAddress(ctx context.Context, tx pgx.Tx, addr mail.Address, other string) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('posthouse addresses', 0))"); err != nil {
		return err
	}
	var taken bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+other+" WHERE address = $1)", key(addr)).Scan(&taken)
	if err == nil && taken {
		err = fmt.Errorf("%s is an %s: %w", addr, other, ErrConflict)
	}
	return err
}

func hook(ctx context.Context, tx pgx.Tx, fn func(context.Context, pgx.Tx, int64) error, id int64) error {
	if fn == nil {
		return nil
	}
	return fn(ctx, tx, id)
}

// noRows gives meaning to the answer that there is no row.
func noRows(err, meaning error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return meaning
	}
	return err
}

func atLeastOne(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
