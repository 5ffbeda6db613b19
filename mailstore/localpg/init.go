package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dataVersion is the major version that wrote a cluster, 0 when there is none.
func dataVersion(data string) (int, error) {
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(data)
		if err == nil && len(entries) > 0 {
			return 0, fmt.Errorf("%s is not empty and holds no cluster: move it away", data)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("read the cluster's version: %w", err)
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the cluster's version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || major <= 0 {
		return 0, fmt.Errorf("%s/PG_VERSION says %q", data, content)
	}
	return major, nil
}

// initialise makes a new cluster: aside, synced, then renamed, so that a
// cluster is either whole or not there.
func (c *Cluster) initialise(ctx context.Context) error {
	aside := c.data + ".init"
	// What an interrupted initialise left was never a cluster; the lock is ours,
	// so nobody works on it.
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("remove an unfinished cluster: %w", err)
	}
	if err := makeFolder(aside, c.account); err != nil {
		return fmt.Errorf("make a cluster: %w", err)
	}
	c.log.InfoContext(ctx, "making the database cluster", "event", "postgres_init", "folder", c.data, "version", c.install.Version)
	if err := c.initdb(ctx, aside); err != nil {
		return errors.Join(err, os.RemoveAll(aside))
	}
	// An empty folder may stand in the way, made by packaging or a mount.
	if err := os.Remove(c.data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make a cluster: %w", err)
	}
	if err := os.Rename(aside, c.data); err != nil {
		return fmt.Errorf("make a cluster: %w", err)
	}
	return syncFolder(filepath.Dir(c.data))
}

func (c *Cluster) initdb(ctx context.Context, dir string) error {
	args := append(c.install.InitdbArgs(), "--auth=peer", "--no-instructions", "--pgdata="+dir)
	cmd := exec.CommandContext(ctx, c.install.Program("initdb"), args...)
	cmd.Dir = "/"
	// With a time zone given, initdb does not compare 600 files with the clock.
	cmd.Env = append(environment(), "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.account.Credential()}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	text := bytes.TrimSpace(out)
	if bytes.Contains(text, []byte("No space left on device")) {
		return fmt.Errorf("make a cluster: %w\n%s", syscall.ENOSPC, text)
	}
	return fmt.Errorf("make a cluster: initdb: %w\n%s", err, text)
}

// environment is ours without what would steer PostgreSQL's programs.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PG") && !strings.HasPrefix(e, "LC_") && !strings.HasPrefix(e, "TZ=") {
			env = append(env, e)
		}
	}
	return append(env, "LC_ALL=C")
}

// writeAuth says who may connect: the account that runs the cluster, and root,
// each known by the kernel, as the one role that there is.
func (c *Cluster) writeAuth() error {
	if err := c.replace("pg_hba.conf", "# written by posthouse at each start\nlocal all all peer map=posthouse\n"); err != nil {
		return err
	}
	ident := fmt.Sprintf("# written by posthouse at each start\nposthouse root %[1]s\nposthouse \"%[2]s\" %[1]s\n", Superuser, c.account.Name)
	return c.replace("pg_ident.conf", ident)
}

// replace writes a file of the cluster, if it differs.
func (c *Cluster) replace(name, content string) error {
	path := filepath.Join(c.data, name)
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return nil
	}
	aside := path + ".new"
	err := os.WriteFile(aside, []byte(content), 0o600)
	if err == nil {
		err = c.account.own(aside)
	}
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// syncFolder makes a rename within dir survive a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
