package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// ErrCurrent says that the data is of the version that would be migrated to.
var ErrCurrent = errors.New("the data is of this version already")

// MigrateOptions say which cluster moves to another major version, and how.
type MigrateOptions struct {
	Data     string // data folder of the site
	Log      *slog.Logger
	Schema   func(ctx context.Context, url string) error // brings a database's schema up to date, from nothing too
	Plan     func(*Migration) error                      // told before anything is done; its error ends it
	Progress func(table string, rows int64)              // a table was copied
	DryRun   bool                                        // look and plan, copy nothing

	from, to *Install // tests choose the programs
}

// Migration says what was done.
type Migration struct {
	From, To Install
	Size     int64  // octets of the old database
	Kept     string // folder of the old cluster, which nothing needs any more
	Tables   int
	Rows     int64
}

// Names beside the cluster's folder: where the new cluster is made, and what it
// is called when it is whole. While the cluster's own folder is there it is in
// charge; when it is gone, the whole new one is (see finishMigration).
const (
	makingSuffix = ".migrate"
	wholeSuffix  = ".next"
)

// Migrate moves a stopped private cluster to the major version of the programs
// that this binary runs. The data streams by COPY into a new cluster beside the
// old one, which stays in charge until all is copied, counted and on disk, and
// is kept then under another name. Whenever it ends early, by an error or a
// kill, the old cluster is as it was.
//
// Errors to match: ErrCurrent, and those of Start.
func Migrate(ctx context.Context, o MigrateOptions) (m *Migration, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m, data, err := planMigration(ctx, &o)
	if err != nil {
		return nil, err
	}
	old, err := Start(ctx, Options{Data: o.Data, Log: o.Log, install: &m.From})
	if err != nil {
		return nil, err
	}
	held, err := old.lock.again() // over the old cluster's end
	if err != nil {
		return nil, errors.Join(err, old.Stop(context.WithoutCancel(ctx)))
	}
	defer held.release()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		return old.Stop(context.WithoutCancel(ctx))
	}
	defer func() { err = errors.Join(err, stop()) }()
	if data != old.data {
		return nil, fmt.Errorf("%s became %s meanwhile", data, old.data)
	}
	if err := o.space(ctx, old, m); err != nil || o.DryRun {
		return m, err
	}
	making := data + makingSuffix
	if err := os.RemoveAll(making); err != nil { // of a migration that was cut short
		return nil, fmt.Errorf("remove an unfinished migration: %w", err)
	}
	if err := copyCluster(ctx, &o, old, making, m); err != nil {
		return nil, errors.Join(err, os.RemoveAll(making))
	}
	if err := stop(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(making))
	}
	return m, takeOver(data, making, m)
}

// planMigration finds the programs of both versions.
func planMigration(ctx context.Context, o *MigrateOptions) (*Migration, string, error) {
	home, err := filepath.EvalSymlinks(o.Data)
	if err != nil {
		return nil, "", fmt.Errorf("data folder: %w", err)
	}
	if url, pid, ok := Running(home); ok {
		return nil, "", &InUseError{Data: home, PID: pid, URL: url}
	}
	data := clusterFolder(home)
	if err := finishMigration(data); err != nil {
		return nil, "", err
	}
	major, err := dataVersion(data)
	if err != nil {
		return nil, "", err
	}
	if major == 0 {
		return nil, "", fmt.Errorf("%s: %w", data, fs.ErrNotExist)
	}
	m := &Migration{}
	if o.to != nil {
		m.To = *o.to
	} else if m.To, err = choose(ctx, home, 0); err != nil {
		return nil, "", err
	}
	if o.from != nil {
		m.From = *o.from
	} else if m.To.Major == major {
		return nil, "", ErrCurrent
	} else if m.From, err = programsOf(ctx, home, major); err != nil {
		return nil, "", err
	}
	if m.From.Major > m.To.Major {
		return nil, "", fmt.Errorf("%s was written by PostgreSQL %d, which is newer than %s: there is no way back but the folder that the migration has kept", data, major, m.To.Version)
	}
	if m.Kept, err = keptName(data, major); err != nil {
		return nil, "", err
	}
	return m, data, nil
}

// clusterFolder is where the cluster of a data folder is; an operator may have
// linked it to another disk.
func clusterFolder(home string) string {
	data := filepath.Join(home, "postgres")
	target, err := os.Readlink(data)
	if err != nil {
		return data
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(home, target)
	}
	if real, err := filepath.EvalSymlinks(target); err == nil {
		return real
	}
	return target // gone for the moment between two renames
}

// programsOf finds the programs of a major version: those that an earlier binary
// unpacked into the data folder, which stay there, or the machine's.
func programsOf(ctx context.Context, home string, major int) (Install, error) {
	if dirs, err := filepath.Glob(filepath.Join(home, fmt.Sprintf("postgresql-%d.*", major), "bin")); err == nil {
		for _, bin := range dirs {
			if i, err := inspect(ctx, bin); err == nil && i.Major == major {
				return i, nil
			}
		}
	}
	i, err := System(ctx, major)
	if errors.Is(err, ErrNotInstalled) {
		return i, fmt.Errorf("the data can be read only by PostgreSQL %d: install it for as long as the migration takes: %w", major, err)
	}
	return i, err
}

// keptName is a free name for the old cluster.
func keptName(data string, major int) (string, error) {
	for n := 1; n < 1000; n++ {
		name := fmt.Sprintf("%s-%d", data, major)
		if n > 1 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%s-%d: there are too many old clusters beside %s", data, major, data)
}

// space asks for the room that the copy takes, and tells the plan.
func (o *MigrateOptions) space(ctx context.Context, old *Cluster, m *Migration) error {
	conn, err := pgx.Connect(ctx, old.URL())
	if err != nil {
		return fmt.Errorf("open the old cluster: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, `SELECT pg_database_size(current_database())`).Scan(&m.Size); err != nil {
		return fmt.Errorf("measure the old cluster: %w", err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(old.data), &disk); err != nil {
		return fmt.Errorf("ask for the room on the disk: %w", err)
	}
	// the log of the new cluster comes on top
	if room, want := int64(disk.Bavail)*int64(disk.Bsize), m.Size+m.Size/10+1<<30; room < want {
		return fmt.Errorf("the copy takes up to %d MB and %s has %d MB free: %w", want>>20, filepath.Dir(old.data), room>>20, syscall.ENOSPC)
	}
	if o.Plan != nil {
		return o.Plan(m)
	}
	return nil
}

// copyCluster makes the new cluster below making, fills it, and stops it.
func copyCluster(ctx context.Context, o *MigrateOptions, old *Cluster, making string, m *Migration) (err error) {
	// The schema is the newest on both sides: tables are copied one to one.
	if err := o.Schema(ctx, old.URL()); err != nil {
		return fmt.Errorf("prepare the old cluster: %w", err)
	}
	fresh, err := Start(ctx, Options{Data: making, Log: o.Log, install: &m.To})
	if err != nil {
		return fmt.Errorf("make a cluster of PostgreSQL %s: %w", m.To.Version, err)
	}
	defer func() { err = errors.Join(err, fresh.Stop(context.WithoutCancel(ctx))) }()
	if err := o.Schema(ctx, fresh.URL()); err != nil {
		return fmt.Errorf("prepare the new cluster: %w", err)
	}
	c := &copier{progress: o.Progress, m: m}
	if err := c.open(ctx, old.URL(), fresh.URL()); err != nil {
		return err
	}
	return errors.Join(c.run(ctx), c.close(context.WithoutCancel(ctx)))
}

// takeOver puts the new cluster, whole and stopped, in the place of the old one.
// Both lie still and the lock is held.
func takeOver(data, making string, m *Migration) error {
	parent := filepath.Dir(data)
	// Whatever a migration that was cut off here has left is older than this.
	if err := os.RemoveAll(data + wholeSuffix); err != nil {
		return fmt.Errorf("remove an unfinished migration: %w", err)
	}
	for _, step := range [][2]string{
		{filepath.Join(making, "postgres"), data + wholeSuffix},
		{data, m.Kept},
		{data + wholeSuffix, data},
	} {
		if err := os.Rename(step[0], step[1]); err != nil {
			return fmt.Errorf("put the new cluster in place: %w", err)
		}
		if err := syncFolder(parent); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(making); err != nil {
		return fmt.Errorf("the migration is done, but its folder cannot be removed: %w", err)
	}
	return nil
}

// finishMigration does the last rename of takeOver, should it have been cut off
// before it: there is no cluster, and a whole new one beside its place.
func finishMigration(data string) error {
	if _, err := os.Lstat(data); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	whole := data + wholeSuffix
	if _, err := os.Stat(filepath.Join(whole, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("finish a migration: %w", err)
	}
	if err := os.Rename(whole, data); err != nil {
		return fmt.Errorf("finish a migration: %w", err)
	}
	return syncFolder(filepath.Dir(data))
}

// again gives a second hold on the same lock, which is free when both are released.
func (l *lock) again() (*lock, error) {
	fd, err := unix.FcntlInt(l.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold the data folder: %w", err)
	}
	return &lock{os.NewFile(uintptr(fd), l.file.Name())}, nil
}
