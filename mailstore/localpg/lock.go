package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockPatience is how long Start waits for the lock: a command that had started
// a stopped cluster for its own use needs a moment to stop it again.
const lockPatience = 2 * time.Second

// lock keeps two processes off one cluster. The kernel frees it when its holder
// dies, however it dies.
type lock struct{ file *os.File }

func lockPath(home string) string { return filepath.Join(home, "postgres.lock") }

// takeLock locks the data folder and notes who holds it, for others to read.
func takeLock(ctx context.Context, home string, account Account, url string) (*lock, error) {
	f, err := os.OpenFile(lockPath(home), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) || ctx.Err() != nil {
			pid, url := readLock(f)
			f.Close()
			if !errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("lock the data folder: %w", err)
			}
			return nil, &InUseError{Data: home, PID: pid, URL: url}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	note := fmt.Sprintf("%d\n%s\n", os.Getpid(), url)
	err = errors.Join(f.Truncate(0), account.own(f.Name()))
	if err == nil {
		_, err = f.WriteAt([]byte(note), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return &lock{f}, nil
}

// readLock is what the holder wrote; zero values when it has not yet.
func readLock(f *os.File) (pid int, url string) {
	content, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 3 {
		return 0, ""
	}
	if pid, err = strconv.Atoi(lines[0]); err != nil {
		return 0, ""
	}
	return pid, lines[1]
}

// release frees the lock. The file stays: removing it would let two processes
// hold locks on two files of the same name.
func (l *lock) release() { l.file.Close() }

// Running tells whether a process runs the cluster of a data folder, and where
// to reach the cluster. It may still be starting. Commands use it to work beside
// a server.
func Running(home string) (url string, pid int, ok bool) {
	f, err := os.Open(lockPath(home))
	if err != nil {
		return "", 0, false
	}
	defer f.Close() // and with it the lock, if we got it
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", 0, false
	}
	pid, url = readLock(f)
	return url, pid, true
}
