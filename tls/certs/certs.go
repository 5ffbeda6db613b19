package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthouse/internal/seal"
)

// Certificates chooses the certificate of each handshake: a file of the
// operator's for that name, one from the authority on the Internet, else one of
// the local authority, so that a listener always has one.
type Certificates struct {
	local *Local
	acme  *ACME // nil: none are ordered
	files atomic.Pointer[[]*file]
	log   *slog.Logger

	node    string     // who publishes the status; empty: nobody
	telling sync.Mutex // held while it is published
	told    []NameStatus
	toldAt  time.Time

	tickets []byte // secret that session tickets are made with
	mu      sync.Mutex
	configs []*tls.Config // whose ticket keys are renewed
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// File names a certificate chain and its key in PEM, for the names in the
// certificate. They are read again when they change.
type File struct{ Certificate, Key string }

const (
	filesPoll    = 10 * time.Second
	ticketPeriod = 12 * time.Hour // a ticket is good for one to two of them
)

// Open joins the sources. acme may be nil. key is the site's: nodes that share
// it take each other's session tickets. node is the name under which this one
// publishes its Report; empty: it does not.
func Open(local *Local, acme *ACME, files []File, key []byte, node string, log *slog.Logger) (*Certificates, error) {
	tickets, err := seal.Derive(key, "posthouse session tickets")
	if err != nil {
		return nil, err
	}
	c := &Certificates{local: local, acme: acme, node: node, log: log, tickets: tickets}
	if err := c.SetFiles(files); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.maintain(ctx) })
	return c, nil
}

// SetFiles replaces the operator's files. All of them are read, or none takes
// the place of what serves.
func (c *Certificates) SetFiles(files []File) error {
	list := make([]*file, len(files))
	for i, f := range files {
		list[i] = &file{File: f}
		if err := list[i].read(); err != nil {
			return err
		}
	}
	c.files.Store(&list)
	return nil
}

// own are the operator's files.
func (c *Certificates) own() []*file { return *c.files.Load() }

// Close ends what runs in the background; the sources stay the caller's.
func (c *Certificates) Close() {
	c.stop()
	c.done.Wait()
}

// Config is the TLS configuration of a listener; protos are offered by ALPN.
func (c *Certificates) Config(protos ...string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: suites, GetCertificate: c.get, NextProtos: protos}
	config.SetSessionTicketKeys(c.ticketKeys(time.Now()))
	c.mu.Lock()
	c.configs = append(c.configs, config)
	c.mu.Unlock()
	return config
}

// HTTPS is the configuration of the HTTPS listener, which answers the
// authority's TLS-ALPN-01 challenges, too.
func (c *Certificates) HTTPS() *tls.Config {
	if c.acme == nil {
		return c.Config("http/1.1")
	}
	return c.Config("http/1.1", acmeProto)
}

// Of is the certificate for a host's name, outside of a handshake.
func (c *Certificates) Of(name string) (*tls.Certificate, error) {
	cert, _, err := c.serves(name)
	return cert, err
}

func (c *Certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if isChallenge(hello) {
		if c.acme == nil {
			return nil, errors.New("an ACME challenge, and nothing was ordered")
		}
		return c.acme.magic.GetCertificate(hello)
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	for _, f := range c.own() {
		if cert := f.cert.Load(); name != "" && cert.Leaf.VerifyHostname(name) == nil {
			return cert, nil
		}
	}
	if c.acme != nil {
		if cert := c.acme.get(hello); cert != nil && (name == "" || len(c.own()) == 0 || cert.Leaf.VerifyHostname(name) == nil) {
			return cert, nil
		}
	}
	if len(c.own()) > 0 {
		return c.own()[0].cert.Load(), nil // the operator's first is the default
	}
	return c.local.get(hello)
}

// maintain reads files again that changed, publishes the status, and renews the
// ticket keys.
func (c *Certificates) maintain(ctx context.Context) {
	tick := time.NewTicker(filesPoll)
	defer tick.Stop()
	period := time.Now().Unix() / int64(ticketPeriod/time.Second)
	for {
		c.publish(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, f := range c.own() {
			if changed, err := f.reread(); err != nil {
				c.log.Warn("a certificate file changed and cannot be used; the last good one serves", "event", "certificate", "file", f.Certificate, "err", err)
			} else if changed {
				c.log.Info("certificate file read again", "event", "certificate", "file", f.Certificate, "until", f.cert.Load().Leaf.NotAfter)
			}
		}
		if now := time.Now().Unix() / int64(ticketPeriod/time.Second); now != period {
			period = now
			c.mu.Lock()
			for _, config := range c.configs {
				config.SetSessionTicketKeys(c.ticketKeys(time.Now()))
			}
			c.mu.Unlock()
		}
	}
}

// ticketKeys are the keys of this period, which makes tickets, and of its
// neighbours, for tickets of before and of nodes whose clock is ahead.
func (c *Certificates) ticketKeys(at time.Time) [][32]byte {
	period := at.Unix() / int64(ticketPeriod/time.Second)
	var keys [][32]byte
	for _, p := range []int64{period, period - 1, period + 1} {
		key, err := seal.Derive(c.tickets, fmt.Sprint("period ", p))
		if err != nil {
			panic(err) // HKDF of 32 octets does not fail
		}
		keys = append(keys, [32]byte(key))
	}
	return keys
}

// file is a File as it was read last.
type file struct {
	File
	cert atomic.Pointer[tls.Certificate]
	seen string                 // size and time of both files
	bad  string                 // what was seen when it could not be used
	why  atomic.Pointer[string] // the reason
}

// trouble is why the files as they lie there now cannot be used; empty: they
// are.
func (f *file) trouble() string {
	if why := f.why.Load(); why != nil {
		return *why
	}
	return ""
}

func (f *file) stamp() string {
	var b strings.Builder
	for _, name := range []string{f.Certificate, f.Key} {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprint(&b, info.Size(), info.ModTime().UnixNano(), " ")
		}
	}
	return b.String()
}

func (f *file) read() error {
	stamp := f.stamp()
	cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		f.bad = stamp
		err = fmt.Errorf("certificate %s with key %s: %w", f.Certificate, f.Key, err)
		why := err.Error()
		f.why.Store(&why)
		return err
	}
	f.why.Store(nil)
	f.cert.Store(&cert)
	f.seen, f.bad = stamp, ""
	return nil
}

// reread reads the files if they changed; an error is reported once.
func (f *file) reread() (changed bool, err error) {
	if now := f.stamp(); slices.Contains([]string{f.seen, f.bad}, now) {
		return false, nil
	}
	return true, f.read()
}
