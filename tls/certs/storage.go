package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/seal"
)

const (
	lockLease = time.Minute      // a node that died holds up the others that long
	lockRenew = 20 * time.Second // while it lives
	lockPoll  = 500 * time.Millisecond
)

// storage is certmagic's storage in the site's database: all nodes share what
// is in it, and one node at a time orders a certificate. Values are sealed; a
// key is bound to its value, so that rows cannot be swapped.
type storage struct {
	pool *pgxpool.Pool
	box  *seal.Box
	log  *slog.Logger

	mu    sync.Mutex
	locks map[string]*lock
}

// lock is one that this node holds.
type lock struct {
	owner string
	stop  context.CancelFunc
	done  chan struct{}
}

var _ certmagic.Storage = (*storage)(nil)

// openStorage makes a storage on a migrated database; key is the site's.
func openStorage(pool *pgxpool.Pool, key []byte, log *slog.Logger) (*storage, error) {
	box, err := seal.New(key, "posthouse certificates")
	if err != nil {
		return nil, err
	}
	return &storage{pool: pool, box: box, log: log, locks: make(map[string]*lock)}, nil
}

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO certificate_data (key, value, size) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, size = excluded.size, modified = now()`, key, s.box.Seal(value, key), len(value))
	return wrap(err, "store", key)
}

// Load implements certmagic.Storage; fs.ErrNotExist where there is nothing.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	var sealed []byte
	err := s.pool.QueryRow(ctx, `SELECT value FROM certificate_data WHERE key = $1`, key).Scan(&sealed)
	if err != nil {
		return nil, wrap(err, "load", key)
	}
	value, err := s.box.Open(sealed, key)
	return value, wrap(err, "load", key)
}

// Delete implements certmagic.Storage: a key, and what lies below it.
func (s *storage) Delete(ctx context.Context, key string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM certificate_data WHERE key = $1 OR starts_with(key, $1 || '/')`, key)
	return wrap(err, "delete", key)
}

// Exists implements certmagic.Storage.
func (s *storage) Exists(ctx context.Context, key string) bool {
	var found bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM certificate_data WHERE key = $1 OR starts_with(key, $1 || '/'))`, key).Scan(&found)
	return err == nil && found
}

// List implements certmagic.Storage: the keys below a path, with recursive the
// folders between, too, else only what lies directly in it.
func (s *storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	prefix := strings.TrimSuffix(path, "/") + "/"
	if path == "" {
		prefix = ""
	}
	rows, err := s.pool.Query(ctx, `SELECT key FROM certificate_data WHERE starts_with(key, $1) ORDER BY key`, prefix)
	if err != nil {
		return nil, wrap(err, "list", path)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, wrap(err, "list", path)
	}
	if len(keys) == 0 {
		return nil, wrap(pgx.ErrNoRows, "list", path)
	}
	var list []string
	seen := make(map[string]bool)
	add := func(key string) {
		if !seen[key] {
			seen[key] = true
			list = append(list, key)
		}
	}
	for _, key := range keys {
		parts := strings.Split(strings.TrimPrefix(key, prefix), "/")
		for i := range parts {
			if recursive || i == 0 {
				add(prefix + strings.Join(parts[:i+1], "/"))
			}
		}
	}
	return list, nil
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info := certmagic.KeyInfo{Key: key, IsTerminal: true}
	err := s.pool.QueryRow(ctx, `SELECT modified, size FROM certificate_data WHERE key = $1`, key).Scan(&info.Modified, &info.Size)
	if errors.Is(err, pgx.ErrNoRows) && s.Exists(ctx, key) {
		return certmagic.KeyInfo{Key: key}, nil
	}
	return info, wrap(err, "stat", key)
}

// Lock implements certmagic.Locker: a lease in the database, renewed while the
// process lives, free for others soon after it died.
func (s *storage) Lock(ctx context.Context, name string) error {
	owner := rand.Text()
	for {
		tag, err := s.pool.Exec(ctx, `INSERT INTO certificate_lock (name, owner, until) VALUES ($1, $2, now() + $3)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until WHERE certificate_lock.until < now()`,
			name, owner, lockLease)
		if err != nil {
			return wrap(err, "lock", name)
		}
		if tag.RowsAffected() == 1 {
			s.hold(name, owner)
			return nil
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hold renews a lock until Unlock.
func (s *storage) hold(name, owner string) {
	ctx, stop := context.WithCancel(context.Background())
	l := &lock{owner: owner, stop: stop, done: make(chan struct{})}
	s.mu.Lock()
	s.locks[name] = l
	s.mu.Unlock()
	go func() {
		defer close(l.done)
		tick := time.NewTicker(lockRenew)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if _, err := s.pool.Exec(ctx, `UPDATE certificate_lock SET until = now() + $3 WHERE name = $1 AND owner = $2`, name, owner, lockLease); err != nil && ctx.Err() == nil {
				s.log.Warn("a lock for ordering certificates was not renewed", "event", "certificate", "name", name, "err", err)
			}
		}
	}()
}

// Unlock implements certmagic.Locker. ctx may have ended: what was locked is
// done all the same.
func (s *storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	l := s.locks[name]
	delete(s.locks, name)
	s.mu.Unlock()
	if l == nil {
		return fmt.Errorf("certificates: %s is not locked here", name)
	}
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockRenew)
	defer cancel()
	_, err := s.pool.Exec(ctx, `DELETE FROM certificate_lock WHERE name = $1 AND owner = $2`, name, l.owner)
	return wrap(err, "unlock", name)
}

// wrap says what failed; no row is fs.ErrNotExist.
func wrap(err error, what, key string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("certificates: %s %s: %w", what, key, err)
	}
	return nil
}
