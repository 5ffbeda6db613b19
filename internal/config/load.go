package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"posthouse/internal/mail"
)

// Error is a fault of the configuration: what is wrong, where, and what would
// be right. The commands answer it with exit code 78.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

func errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Read lays the file over c. Unknown keys are errors: a misspelt key would
// otherwise be a setting that silently does nothing.
func (c *Config) Read(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return errorf("the configuration %s does not exist: create it, or name another with --config", file)
	}
	if err != nil {
		return errorf("read the configuration: %v", err)
	}
	return c.parse(file, text)
}

func (c *Config) parse(file string, text []byte) error {
	d := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields()
	err := d.Decode(c)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		row, _ := strict.Errors[0].Position()
		return errorf("%s:%d: unknown key %q", file, row, strings.Join(strict.Errors[0].Key(), "."))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := bad.Position()
		return errorf("%s:%d:%d: %s", file, row, col, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	if err != nil {
		return errorf("%s: %v", file, err)
	}
	return nil
}

// Check completes c (absolute paths, the canonical host name) and reports the
// first thing that is wrong with it, as an *Error.
func (c *Config) Check() error {
	if err := c.checkHostname(); err != nil {
		return err
	}
	if err := c.checkPlaces(); err != nil {
		return err
	}
	if err := c.Listen.check(c.Local); err != nil {
		return err
	}
	if _, err := c.Log.SlogLevel(); err != nil {
		return err
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		return errorf("[log] format = %q: take auto, text or json", c.Log.Format)
	}
	if err := c.Testing.check(); err != nil {
		return err
	}
	if err := c.checkCertificates(); err != nil {
		return err
	}
	return c.checkLimits()
}

func (c *Config) checkHostname() error {
	if c.Hostname == "" {
		name, err := os.Hostname()
		if err != nil || !strings.Contains(name, ".") {
			return errorf("hostname is not set and this machine's name (%q) is not a full domain name: set hostname = \"mail.example.org\"", name)
		}
		c.Hostname = name
	}
	name, err := mail.ParseDomain(c.Hostname)
	if err != nil {
		return errorf("hostname %q is not a domain name: %v", c.Hostname, err)
	}
	c.Hostname = name
	return nil
}

func (c *Config) checkPlaces() error {
	if c.Data == "" {
		return errorf("data is empty: name a folder")
	}
	abs, err := filepath.Abs(c.Data)
	if err != nil {
		return errorf("data %q: %v", c.Data, err)
	}
	c.Data = abs
	if c.SecretKey == "" {
		c.SecretKey = filepath.Join(c.Data, "secret_key")
	}
	if c.Database != "" {
		u, err := url.Parse(c.Database)
		if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
			// The text is not shown: it may hold a password.
			return errorf("the database is not a URL: write postgres://user@host:port/name (in %s, --database, or database in the file)", DatabaseVariable)
		}
	}
	if c.DatabaseConnections < 4 || c.DatabaseConnections > 1000 {
		return errorf("database_connections = %d: take 4 to 1000", c.DatabaseConnections)
	}
	return nil
}

func (c *Config) checkLimits() error {
	l := c.Limits
	for _, b := range []struct {
		key       string
		n, lo, hi int64
	}{
		{"message_bytes", l.MessageBytes, 64 << 10, 1 << 30},
		{"recipients", int64(l.Recipients), 100, 100_000}, // RFC 5321 §4.5.3.1.8: at least 100
		{"spool_memory_bytes", int64(l.SpoolMemoryBytes), 4 << 10, 16 << 20},
		{"connections", int64(l.Connections), 10, 1_000_000},
		{"connections_per_address", int64(l.ConnectionsPerAddress), 1, 1_000_000},
		{"connections_per_account", int64(l.ConnectionsPerAccount), 1, 1_000_000},
		{"drain_seconds", int64(l.DrainSeconds), 1, 600},
	} {
		if b.n < b.lo || b.n > b.hi {
			return errorf("[limits] %s = %d: take %d to %d", b.key, b.n, b.lo, b.hi)
		}
	}
	return nil
}

// SlogLevel is the level as slog knows it.
func (l Log) SlogLevel() (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[l.Level]
	if !ok {
		return 0, errorf("[log] level = %q: take debug, info, warn or error", l.Level)
	}
	return level, nil
}
