package harm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// diskSize is enough for a cluster and its log, and small enough to fill.
const diskSize = 320 << 20

// diskLeft is what is left when the disk counts as full: less than the mails
// that follow need.
const diskLeft = 4 << 20

// FullDisk fills the disk under Postgres while mail arrives, and makes room
// again (TRUST.md row 25). Clients hear 452 or, while Postgres itself is down
// for want of room, 451; then the server goes on by itself. It needs the right
// to mount.
func FullDisk(ctx context.Context, o Options) (result Result, codes map[int]int, err error) {
	disk := filepath.Join(o.Folder, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		return Result{}, nil, err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", diskSize)); err != nil {
		return Result{}, nil, fmt.Errorf("mount a small disk: %w", err)
	}
	// Detached: a Postgres whose server was killed takes a moment to follow.
	defer func() { err = errors.Join(err, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
	logs := filepath.Join(o.Folder, "logs") // the harness's own, not on that disk
	if err := os.Mkdir(logs, 0o755); err != nil {
		return Result{}, nil, err
	}
	o.Folder = logs
	x, err := begin(o, "--data", filepath.Join(disk, "data")) // the later --data counts
	if err != nil {
		return Result{}, nil, err
	}
	defer func() { x.node.Kill() }()
	x.fire(ctx, "disk")
	for range o.Rounds {
		if err := x.work(ctx, floor); err != nil {
			return Result{}, nil, err
		}
		if err := x.fill(ctx, disk); err != nil {
			return Result{}, nil, err
		}
	}
	if err := x.work(ctx, floor); err != nil {
		return Result{}, nil, err
	}
	result, err = x.end(ctx, o.Rounds, true)
	return result, x.ledger.Codes(), err
}

// fill fills the disk, waits until clients were refused some times, and makes
// room again.
func (x *experiment) fill(ctx context.Context, disk string) error {
	// A new segment of the log lasts for a while: what runs out of room first
	// are the tables, as on a disk where the log lies elsewhere.
	conn, err := pgx.Connect(ctx, x.node.Database)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT pg_switch_wal()")
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	ballast := filepath.Join(disk, "ballast")
	if err := writeBallast(ballast, disk); err != nil {
		return err
	}
	if err := x.refused(ctx, floor); err != nil {
		return err
	}
	return os.Remove(ballast)
}

// writeBallast takes all room but diskLeft, while others write too.
func writeBallast(file, disk string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); ; {
		var st syscall.Statfs_t
		if err := syscall.Statfs(disk, &st); err != nil {
			return err
		}
		if int64(st.Bavail)*st.Bsize < diskLeft+int64(len(chunk)) {
			return nil
		}
		if _, err := f.Write(chunk); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
}
