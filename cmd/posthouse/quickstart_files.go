package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"posthouse/internal/config"
	"posthouse/mailstore/localpg"
	"posthouse/migrations"
)

// What quickstart writes, and packages bring: one text for both.
//
//go:embed posthouse.service
//go:embed posthouse.toml.tmpl
var setupFiles embed.FS

var configTemplate = template.Must(template.ParseFS(setupFiles, "posthouse.toml.tmpl"))

const unitFile = "/etc/systemd/system/posthouse.service"

// installed is where packages put the program, as the unit says.
const installed = "/usr/bin/posthouse"

// packagedUnit is where a package puts the unit; quickstart leaves it alone.
const packagedUnit = "/usr/lib/systemd/system/posthouse.service"

// files writes the configuration and the unit. What is there and was changed by
// somebody stays.
func (q *quickstart) files(cfg *config.Config, fresh bool) error {
	if err := q.user(); err != nil {
		return err
	}
	if !fresh {
		if err := q.con.say("%s is there and stays as it is", q.file); err != nil {
			return err
		}
	} else {
		var text bytes.Buffer
		err := configTemplate.Execute(&text, map[string]any{
			"Hostname": cfg.Hostname, "Data": q.inside, "Email": cfg.ACME.Email, "Addresses": cfg.ACME.Addresses,
			"Database": q.givenDatabase(), "OwnData": q.inside != config.Site().Data,
		})
		if err != nil {
			return err
		}
		// It may come to hold tokens of a DNS provider.
		if err := q.write(q.file, text.Bytes(), 0o640); err != nil {
			return err
		}
		if err := q.giveGroup(q.file); err != nil {
			return err
		}
	}
	return q.unit()
}

// givenDatabase is a database that was named by flag. One from the environment
// stays there.
func (q *quickstart) givenDatabase() string {
	if q.con.place.Database == os.Getenv(config.DatabaseVariable) {
		return ""
	}
	return q.con.place.Database
}

// unit writes the systemd unit, with the place of this program in it.
func (q *quickstart) unit() error {
	path := filepath.Join(or(q.Root, "/"), unitFile)
	if _, err := os.Stat(filepath.Join(or(q.Root, "/"), packagedUnit)); err == nil {
		return q.con.say("the unit of the package is there: %s", packagedUnit)
	}
	text, err := setupFiles.ReadFile("posthouse.service")
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	switch {
	case q.Root != "":
		program = installed // where an image has it
	case hidden(program):
		if err := q.con.say("the unit does not see home folders and /tmp: install this program with: install %s %s", program, installed); err != nil {
			return err
		}
		program = installed
	}
	text = bytes.ReplaceAll(text, []byte(installed), []byte(program))
	if q.inside != config.Site().Data && q.Root == "" {
		text = bytes.ReplaceAll(text, []byte("StateDirectory=posthouse\nStateDirectoryMode=0755\n"), []byte("ReadWritePaths="+q.inside+"\n"))
	}
	switch old, err := os.ReadFile(path); {
	case err == nil && bytes.Equal(old, text):
		return q.con.say("%s is there", path)
	case err == nil:
		return q.con.say("%s is there and differs from what would be written: it stays as it is", path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return q.write(path, text, 0o644)
}

// hidden reports whether a path lies where the unit's ProtectHome and PrivateTmp
// let nothing be seen.
func hidden(path string) bool {
	return slices.ContainsFunc([]string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"}, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

// write makes a file that appears whole or not at all.
func (q *quickstart) write(path string, text []byte, mode fs.FileMode) error {
	if q.DryRun {
		return q.con.say("would write %s:\n    %s", path, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    "))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(exitConfig, "make the folder of %s: %w; run it as root, or with --root", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fail(exitConfig, "write %s: %w; run it as root, or with --root", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err := cmp.Or(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close(), os.Rename(tmp.Name(), path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return q.con.say("wrote %s", path)
}

// giveGroup lets the server's user read a file of root's.
func (q *quickstart) giveGroup(path string) error {
	if q.DryRun || os.Geteuid() != 0 {
		return nil
	}
	account, _, err := localpg.Unprivileged()
	if err != nil {
		return fail(exitConfig, "%w", err)
	}
	return os.Chown(path, 0, account.GID)
}

// ownDatabase prepares a database of the user's own that is empty: its schema,
// and the site's secret key, which a private one gets by itself. A database that
// has domains belongs to a site, whose key has to come from there.
func (q *quickstart) ownDatabase(ctx context.Context, cfg *config.Config, con *console) error {
	if cfg.Database == "" {
		return nil
	}
	steps, err := migrations.Status(ctx, cfg.Database)
	if err != nil {
		return fail(exitDatabase, "the database does not answer: %w", &briefly{err})
	}
	if !slices.ContainsFunc(steps, func(s migrations.Step) bool { return !s.AppliedAt.IsZero() }) {
		if err := migrations.Up(ctx, cfg.Database, slog.New(slog.DiscardHandler)); err != nil {
			return fmt.Errorf("prepare the database: %w", err)
		}
	}
	if _, err := os.Stat(cfg.SecretKey); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if domains, err := s.directory.Domains(ctx); err != nil {
		return err
	} else if len(domains) > 0 {
		return fail(exitConfig, "the database is that of a site, and its secret key is not here: copy it from another node to %s", cfg.SecretKey)
	}
	account, _, err := localpg.Unprivileged()
	if err != nil {
		return fail(exitConfig, "%w", err)
	}
	if err := makeData(cfg.Data, account); err != nil {
		return err
	}
	if _, err := config.OpenSecretKey(cfg.SecretKey); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(cfg.SecretKey, account.UID, account.GID)
}

// user makes the system user that the unit runs as.
func (q *quickstart) user() error {
	if q.Root != "" || os.Geteuid() != 0 {
		return nil
	}
	if _, err := user.Lookup("posthouse"); err == nil {
		return nil
	}
	if q.DryRun {
		return q.con.say("would create the system user posthouse")
	}
	args := []string{"--system", "--user-group", "--home-dir", config.Site().Data, "--no-create-home", "--shell", "/usr/sbin/nologin", "posthouse"}
	if out, err := exec.Command("useradd", args...).CombinedOutput(); err != nil {
		// The server finds another one, and the unit can be edited.
		return q.con.say("the system user posthouse cannot be created (%v: %s): create it, or set User= in the unit", err, bytes.TrimSpace(out))
	}
	return q.con.say("created the system user posthouse")
}
