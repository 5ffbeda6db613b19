package doctor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	megabyte = 1 << 20
	gigabyte = 1 << 30

	leastMemory = 450 * megabyte // server and database idle below 150 MB
	leastDisk   = 500 * megabyte
	someDisk    = 5 * gigabyte
)

// memory looks whether a site has room: what cgroups allow counts as well.
func (p *Patient) memory(_ context.Context, f *findings) {
	total, err := memoryTotal("/proc/meminfo", "/sys/fs/cgroup/memory.max")
	if err != nil {
		return // not Linux: nothing is known, and nothing is to be done about it
	}
	if total < leastMemory {
		f.add(Warning, "memory", "give the machine 1 GB, or swap: fallocate -l 1G /swap && chmod 600 /swap && mkswap /swap && swapon /swap",
			"%s of memory is little: large messages and searches may end the server", size(total))
		return
	}
	f.ok("memory", "%s", size(total))
}

// memoryTotal is the memory of the machine, or what its control group may take.
func memoryTotal(meminfo, group string) (int64, error) {
	file, err := os.Open(meminfo)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var total int64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if kb, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64)
			if err != nil {
				return 0, err
			}
			total = n << 10
		}
	}
	if text, err := os.ReadFile(group); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n < total { // "max" is no number
			total = n
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("%s: no MemTotal", meminfo)
	}
	return total, nil
}

// disk looks at the room below the data folder, and at its inodes.
func (p *Patient) disk(_ context.Context, f *findings) {
	dir := existing(p.Config.Data)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		f.add(Warning, dir, "", "its free space is not known: %v", err)
		return
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	switch {
	case free < leastDisk:
		f.add(Error, dir, "free space there, or move the data folder to a larger disk (data = in the configuration)", "only %s is free: mail is refused when the disk is full", size(free))
	case free < someDisk && st.Blocks > 0 && float64(st.Bavail) < 0.1*float64(st.Blocks):
		f.add(Warning, dir, "free space there, or enlarge the disk", "%s is free, less than a tenth", size(free))
	case st.Files > 0 && st.Ffree < 1000:
		f.add(Error, dir, "remove files there", "only %d more files fit (inodes)", st.Ffree)
	default:
		f.ok(dir, "%s free", size(free))
	}
}

// existing is the nearest folder above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// size is a number of octets for people.
func size(n int64) string {
	switch {
	case n >= gigabyte:
		return strconv.FormatFloat(float64(n)/gigabyte, 'f', 1, 64) + " GB"
	case n >= megabyte:
		return strconv.FormatInt(n/megabyte, 10) + " MB"
	}
	return strconv.FormatInt(n>>10, 10) + " KB"
}
