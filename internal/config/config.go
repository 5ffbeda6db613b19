// Package config holds what must be known before the database opens: where the
// data lies, which database, which listeners, how to log, and the limits. One
// short TOML file becomes one Config; every default, limit and check stands
// here and nowhere else. All that can change without a restart (domains,
// accounts, aliases, policies) lives in Postgres instead.
package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// File is where a site's configuration lies unless --config says otherwise.
const File = "/etc/posthouse/posthouse.toml"

// DatabaseVariable names the environment variable that overrules the file's
// database.
const DatabaseVariable = "POSTHOUSE_DATABASE_URL"

// Config is the configuration of one node. Load or Local make one with its
// defaults; Check verifies it and completes it.
type Config struct {
	// Hostname is the name in banners, Received fields and the certificate.
	Hostname string `toml:"hostname"`
	// Data is the folder of everything that is kept outside a database.
	Data string `toml:"data"`
	// Database is a Postgres URL; empty means the private cluster in Data.
	Database string `toml:"database"`
	// DatabaseConnections bounds the pool.
	DatabaseConnections int `toml:"database_connections"`
	// UnsafeDatabase lets the server start on a database that runs with fsync,
	// full_page_writes or synchronous_commit off, where a crash loses mail that
	// was accepted.
	UnsafeDatabase bool `toml:"unsafe_database"`
	// SecretKey is the file of the key that the nodes of a site share;
	// Data/secret_key unless set.
	SecretKey string `toml:"secret_key"`

	// TrustedProxies are networks whose SMTP, IMAP and POP3 connections begin
	// with the PROXY protocol, which says who the client is.
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`

	// MetricsFrom are networks that may see /metrics and /readyz, beside this
	// machine.
	MetricsFrom []netip.Prefix `toml:"metrics_from"`

	Listen Listeners `toml:"listen"`
	Log    Log       `toml:"log"`
	Limits Limits    `toml:"limits"`

	ACME ACME `toml:"acme"`
	// Certificates are the operator's own; the first is for clients that name
	// no server. Names they do not cover are ordered for.
	Certificates []Certificate `toml:"certificate"`

	// Testing stands in for the Internet.
	Testing Testing `toml:"testing"`

	// Local is `serve --local`: loopback only, captured mail, plain AUTH.
	Local bool `toml:"-"`
	// RequireTLS refuses AUTH on plain connections in local mode too; a site
	// always refuses it.
	RequireTLS bool `toml:"-"`
	// Capture lets anybody on the SMTP port write to other domains (local
	// mode): it is kept here, as what authenticated users send is.
	Capture bool `toml:"-"`
	// Deliver really sends mail for other domains. A site does.
	Deliver bool `toml:"-"`
	// Throttle limits loopback clients as well, in failed logins and in
	// connections per address; local mode exempts them, for there every client
	// has that address.
	Throttle bool `toml:"-"`
}

// Log says how the log is written, to stderr.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn or error
	Format string `toml:"format"` // auto (text on a terminal, JSON otherwise), text or json
}

// Limits bound what clients may ask of the server.
type Limits struct {
	MessageBytes          int64 `toml:"message_bytes"`
	Recipients            int   `toml:"recipients"`
	SpoolMemoryBytes      int   `toml:"spool_memory_bytes"` // of one message, before it goes to a file
	Connections           int   `toml:"connections"`
	ConnectionsPerAddress int   `toml:"connections_per_address"`
	ConnectionsPerAccount int   `toml:"connections_per_account"`
	DrainSeconds          int   `toml:"drain_seconds"` // what sessions get to finish at a stop
}

// PerAddress is the cap of connections from one address, 0 for none.
func (c *Config) PerAddress() int {
	if !c.Throttle {
		return 0 // local mode, where there are none but loopback clients
	}
	return c.Limits.ConnectionsPerAddress
}

// Drain is DrainSeconds as a duration.
func (l Limits) Drain() time.Duration { return time.Duration(l.DrainSeconds) * time.Second }

// Site is the configuration of a site before its file is read.
func Site() Config {
	c := common()
	c.Data = "/var/lib/posthouse"
	c.Throttle = true
	c.RequireTLS = true
	c.Deliver = true
	c.ACME.Directory = LetsEncrypt
	c.Listen = siteListeners()
	return c
}

// Local is the configuration of `serve --local`.
func Local() Config {
	c := common()
	c.Local = true
	c.Capture = true
	c.Hostname = "localhost"
	c.Data = DefaultData()
	c.Listen = localListeners()
	return c
}

func common() Config {
	return Config{
		// Group commit lets few connections carry many clients, and each idle
		// one costs Postgres some megabytes.
		DatabaseConnections: min(max(4*runtime.NumCPU(), 8), 32),
		Log:                 Log{Level: "info", Format: "auto"},
		Limits: Limits{
			MessageBytes:          64 << 20,
			Recipients:            1000,
			SpoolMemoryBytes:      256 << 10,
			Connections:           10_000,
			ConnectionsPerAddress: 100,
			ConnectionsPerAccount: 30,
			DrainSeconds:          10,
		},
	}
}

// DefaultData is the data folder when neither a flag nor a file names one:
// $XDG_DATA_HOME/posthouse, for root /var/lib/posthouse.
func DefaultData() string {
	if os.Geteuid() == 0 {
		return "/var/lib/posthouse"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "posthouse")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/var/lib/posthouse"
	}
	return filepath.Join(home, ".local", "share", "posthouse")
}

// SpoolDir and CADir are places inside Data.
func (c *Config) SpoolDir() string { return filepath.Join(c.Data, "spool") }
func (c *Config) CADir() string    { return filepath.Join(c.Data, "ca") }

// PlainAuth says whether clients may log in without TLS.
func (c *Config) PlainAuth() bool { return c.Local && !c.RequireTLS }

// MoveTo moves the data to another folder, the secret key with it.
func (c *Config) MoveTo(dir string) { c.Data, c.SecretKey = dir, filepath.Join(dir, "secret_key") }
