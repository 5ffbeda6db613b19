package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

// The accounts of a local server. capturedInbox holds the mail to other domains.
const capturedInbox = "captured@localhost"

var localAccounts = []string{"alice@localhost", "bob@localhost"}

// login is an account with its password, as the start-up page shows it. The
// password is empty when somebody changed it since.
type login struct {
	Address  string `json:"address"`
	Password string `json:"password"`
}

// parseLogin reads ADDR:PASSWORD. The password is everything after the first
// colon behind the @.
func parseLogin(arg string) (login, error) {
	at := strings.IndexByte(arg, '@')
	colon := strings.IndexByte(arg[at+1:], ':')
	if at < 0 || colon < 0 { // not shown: part of it may be a password
		return login{}, fail(exitUsage, "--account: write ADDRESS:PASSWORD, for example alice@example.test:secret")
	}
	l := login{Address: arg[:at+1+colon], Password: arg[at+colon+2:]}
	if l.Password == "" {
		return login{}, fail(exitUsage, "--account %s: the password is empty", l.Address)
	}
	_, err := parseAddress(l.Address)
	return l, err
}

// passwords are those that a local server has made up, kept in a file of mode
// 0600 so that they stay when it is started again.
type passwords map[string]string

const passwordFile = "local-passwords.json" // in the data folder

func readPasswords(file string) (passwords, error) {
	p := make(passwords)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fail(exitConfig, "read the local passwords: %w", err)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fail(exitConfig, "the local passwords in %s are damaged (%w): remove the file", file, err)
	}
	return p, nil
}

// neighbour adds the passwords that another node of the same private cluster
// has made up: the accounts are the same, and the cluster's socket lies in that
// node's data folder.
func (p passwords) neighbour(database string) {
	c, err := pgx.ParseConfig(database)
	if err != nil || filepath.Base(c.Host) != "run" {
		return // a database of the user's own
	}
	theirs, err := readPasswords(filepath.Join(filepath.Dir(c.Host), passwordFile))
	if err != nil {
		return // another user's
	}
	for address, password := range theirs {
		if _, known := p[address]; !known {
			p[address] = password
		}
	}
}

// of gives the password for an address, made up at first; whether it is new.
func (p passwords) of(address string) (string, bool) {
	if known, ok := p[address]; ok {
		return known, false
	}
	p[address] = strings.ToLower(rand.Text()[:16]) // 80 bits
	return p[address], true
}

// localLogins makes sure that the accounts of a local server exist: those asked
// for with their passwords, alice and bob, and the captured inbox.
func localLogins(ctx context.Context, c *config.Config, d *directory.Directory, asked []login) (accounts []login, inbox *login, err error) {
	file := filepath.Join(c.Data, passwordFile)
	kept, err := readPasswords(file)
	if err != nil {
		return nil, nil, err
	}
	if c.Database != "" {
		kept.neighbour(c.Database)
	}
	accounts = slices.Clone(asked)
	changed := false
	for _, address := range append(slices.Clone(localAccounts), capturedInbox) {
		if slices.ContainsFunc(accounts, func(l login) bool { return strings.EqualFold(l.Address, address) }) {
			continue
		}
		password, isNew := kept.of(address)
		changed = changed || isNew
		accounts = append(accounts, login{address, password})
	}
	if changed {
		text, err := json.MarshalIndent(kept, "", "  ")
		if err == nil {
			err = config.ReplaceSecret(file, append(text, '\n'))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("keep the local passwords: %w", err)
		}
	}
	if err := ensureAll(ctx, d, accounts, len(asked)); err != nil {
		return nil, nil, err
	}
	last := slices.IndexFunc(accounts, func(l login) bool { return strings.EqualFold(l.Address, capturedInbox) })
	found := accounts[last]
	return slices.Delete(accounts, last, last+1), &found, nil
}

// ensureAll makes the accounts, some at a time: hashing a password takes tens
// of milliseconds of one CPU. The first n had their passwords given.
func ensureAll(ctx context.Context, d *directory.Directory, accounts []login, n int) error {
	errs := make([]error, len(accounts))
	domains := make(map[string]bool)
	for _, l := range accounts {
		domains[l.Address[strings.IndexByte(l.Address, '@')+1:]] = true
	}
	for name := range domains {
		if _, err := d.CreateDomain(ctx, name); err != nil && !errors.Is(err, directory.ErrConflict) {
			return fmt.Errorf("make the local domain %s: %w", name, err)
		}
	}
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i := range accounts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = ensure(ctx, d, &accounts[i], i < n)
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// ensure makes an account exist with its password. The password of one that
// exists is changed only when it was given, and different: changing it ends
// open sessions, on other nodes too. One that was not given and does not fit
// (changed by command, or made by another node) is left, and not shown.
func ensure(ctx context.Context, d *directory.Directory, l *login, given bool) error {
	addr, err := mail.ParseAddress(l.Address)
	if err != nil {
		return err
	}
	_, err = d.CreateAccount(ctx, addr, l.Password)
	if err == nil || !errors.Is(err, directory.ErrConflict) {
		return wrap(err, "make the account %s", l.Address)
	}
	client := directory.Client{Remote: netip.MustParseAddr("127.0.0.1"), Protocol: "local"}
	_, err = d.Authenticate(ctx, l.Address, l.Password, client)
	switch {
	case err == nil:
		return nil
	case given && errors.Is(err, directory.ErrBadCredentials):
		return wrap(d.SetPassword(ctx, addr, l.Password), "set the password of %s", l.Address)
	case errors.Is(err, directory.ErrBadCredentials), errors.Is(err, directory.ErrDisabled):
		l.Password = ""
		return nil
	}
	return wrap(err, "look at the account %s", l.Address)
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
