package main

import (
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"posthouse/internal/admission"
	"posthouse/internal/config"
	"posthouse/tls/certs"
)

// reloader reads a site's file again on SIGHUP, and takes over what can change
// while sessions are open. A file that is wrong in any way changes nothing.
type reloader struct {
	configure func() (config.Config, error)
	level     slog.LevelVar
	asked     config.Config // as it was read last, before the server filled it in

	server     *server
	gate       *admission.Gate
	supervisor *supervisor
}

// heed takes SIGHUP over for a site. A server on a laptop ends with its terminal.
func (r *reloader) heed(c *config.Config) chan os.Signal {
	r.asked = *c
	r.asked.Listen = maps.Clone(c.Listen)
	again := make(chan os.Signal, 1)
	if !c.Local {
		signal.Notify(again, syscall.SIGHUP)
	}
	return again
}

// begin says what is to be changed.
func (r *reloader) begin(s *server, gate *admission.Gate, supervisor *supervisor) {
	r.server, r.gate, r.supervisor = s, gate, supervisor
}

// reload reads the configuration again. Certificate files are read in any case:
// programs that renew them say so by this signal.
func (r *reloader) reload() {
	log := r.server.log
	r.supervisor.reloading()
	next, err := r.configure()
	if err == nil {
		err = r.server.certificates.SetFiles(ownFiles(&next))
	}
	if err != nil {
		log.Error("the configuration cannot be used; the server goes on with the one that it has", "event", "reload", "err", err)
		r.supervisor.reloaded("the configuration is refused: " + strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	if acme := r.server.certificates.acme; acme != nil {
		acme.Look() // somebody may have mended the DNS, or opened a port
	}
	changed, restart := r.asked.Changes(&next)
	r.apply(&next)
	log.Info("configuration read again", "event", "reload", "changed", changed)
	status := next.Hostname + " takes mail"
	if len(restart) > 0 {
		log.Warn("these keys of the configuration change with the next start", "event", "reload", "keys", restart)
		status += "; a restart is needed for " + strings.Join(restart, ", ")
	}
	r.supervisor.reloaded(status)
}

// apply takes over the keys that config calls live. What needs a restart stays
// as it was asked for last, so that the next reload names it again.
func (r *reloader) apply(next *config.Config) {
	level, err := next.Log.SlogLevel()
	if err == nil { // it was checked
		r.level.Set(level)
	}
	cfg := r.server.cfg
	for _, c := range []*config.Config{cfg, &r.asked} {
		c.Log.Level, c.Certificates = next.Log.Level, next.Certificates
		c.Limits.DrainSeconds, c.Limits.Connections = next.Limits.DrainSeconds, next.Limits.Connections
		c.Limits.ConnectionsPerAddress, c.Limits.ConnectionsPerAccount = next.Limits.ConnectionsPerAddress, next.Limits.ConnectionsPerAccount
	}
	r.gate.Limit(admissionLimits(cfg))
}

func admissionLimits(c *config.Config) admission.Limits {
	return admission.Limits{Total: c.Limits.Connections, PerAddress: c.PerAddress(), PerAccount: c.Limits.ConnectionsPerAccount}
}

// ownFiles are the certificates that the configuration names.
func ownFiles(c *config.Config) []certs.File {
	list := make([]certs.File, len(c.Certificates))
	for i, f := range c.Certificates {
		list[i] = certs.File{Certificate: f.File, Key: f.Key}
	}
	return list
}
