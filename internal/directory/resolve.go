package directory

import (
	"context"

	"posthouse/internal/mail"
)

// Status is what an address means here.
type Status uint8

const (
	NotLocal   Status = iota // no domain of ours
	NoSuchUser               // our domain, but nobody
	Disabled                 // only disabled accounts
	OK
)

// Target is an account that an address leads to.
type Target struct {
	Account int64
	Address mail.Address // of the account
	Detail  string       // of "user+detail", without the plus; kept through aliases
}

// Resolution is where mail for an address goes: all of Accounts and Remote.
// Both are empty unless Status is OK; neither holds anything twice.
type Resolution struct {
	Status   Status
	Accounts []Target
	Remote   []mail.Address
}

// Resolve expands rcpt through aliases, catch-all addresses, subaddresses and
// the addresses of RFC 2142. A Domain of "" is understood for "postmaster"
// alone (RFC 5321 §4.5.1). The error is a *mail.Error where the directory
// itself is at fault (an alias loop: permanent 5.4.6; more than 1,000 targets
// or 10 levels: permanent 5.4.6), else temporary.
func (d *Directory) Resolve(ctx context.Context, rcpt mail.Address) (Resolution, error) {
	return Resolution{}, errUnbuilt
}

// LocalDomain reports whether domain, in the form of mail.Address.Domain, is ours.
func (d *Directory) LocalDomain(ctx context.Context, domain string) (bool, error) {
	return false, errUnbuilt
}

// MaySendAs reports whether the account may use from as reverse-path or in
// From: its own address with any subaddress, and every address that Resolve
// leads to it (aliases, catch-all, postmaster). The null reverse-path is
// everybody's.
func (d *Directory) MaySendAs(ctx context.Context, account int64, from mail.Address) (bool, error) {
	return false, errUnbuilt
}
