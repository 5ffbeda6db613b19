package localpg

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes tie PostgreSQL to this process: when the supervisor's thread
// ends, the kernel asks it to stop. A session of its own keeps an interrupt at
// the terminal from it, which is for the server to answer first.
func childAttributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGINT, Credential: credential}
}

// processesIn are the processes that work in the data folder: a postmaster and
// its children have it as their working folder.
func processesIn(data string, _ Account) []int {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil // only a bad pattern fails
	}
	var pids []int
	for _, link := range links {
		// Other users' processes cannot be read, and ended ones are gone.
		if cwd, err := os.Readlink(link); err != nil || cwd != data {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil && isPostgres(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isPostgres spares the shell of an operator who looks into the folder.
func isPostgres(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.HasPrefix(string(name), "postgres")
}

// Memory is what this process may use, in octets: the machine's, or less in a
// container.
func Memory() int64 {
	total := int64(1 << 30)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		total = int64(info.Totalram) * int64(info.Unit)
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64); err == nil {
			total = min(total, limit)
		}
	}
	return total
}

// syncTree writes a new folder to the disk: the whole file system of it, in one
// call that is faster than one for each of a thousand files.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
