package directory

import (
	"context"
	"errors"
	"time"

	"posthouse/internal/mail"
)

var errUnbuilt = errors.New("directory: not built yet")

// Domain is a domain whose mail ends here.
type Domain struct {
	Name       string       // lower-case A-labels
	CatchAll   mail.Address // where mail for unknown local parts goes; zero: refused
	Postmaster mail.Address // where postmaster and abuse go when nothing has their name; zero: the catch-all, else the domain's oldest account, else the server's
	Accounts   int64
	Created    time.Time
}

// Alias sends the mail of one address to others.
type Alias struct {
	Address mail.Address
	Targets []mail.Address // local or remote, at most 1,000
}

// CreateDomain adds a domain; name is a domain in any form. ErrConflict when it exists.
func (d *Directory) CreateDomain(ctx context.Context, name string) (Domain, error) {
	return Domain{}, errUnbuilt
}

// Domain finds one. ErrNotFound.
func (d *Directory) Domain(ctx context.Context, name string) (Domain, error) {
	return Domain{}, errUnbuilt
}

// Domains lists them by name.
func (d *Directory) Domains(ctx context.Context) ([]Domain, error) { return nil, errUnbuilt }

// RemoveDomain removes a domain with its aliases. ErrNotFound, and ErrConflict while it has accounts.
func (d *Directory) RemoveDomain(ctx context.Context, name string) error { return errUnbuilt }

// SetCatchAll sends mail for unknown local parts of the domain to an address; the zero address ends that.
func (d *Directory) SetCatchAll(ctx context.Context, domain string, to mail.Address) error {
	return errUnbuilt
}

// SetPostmaster says where postmaster@ and abuse@ of the domain go; the zero address is the default.
func (d *Directory) SetPostmaster(ctx context.Context, domain string, to mail.Address) error {
	return errUnbuilt
}

// CreateAccount adds an account to an existing domain; with the password ""
// nobody can log in. ErrNotFound (the domain), ErrConflict (the address is an
// account or alias), ErrInvalid.
func (d *Directory) CreateAccount(ctx context.Context, addr mail.Address, password string) (Account, error) {
	return Account{}, errUnbuilt
}

// Account finds one by its address. ErrNotFound.
func (d *Directory) Account(ctx context.Context, addr mail.Address) (Account, error) {
	return Account{}, errUnbuilt
}

// AccountByID finds one. ErrNotFound.
func (d *Directory) AccountByID(ctx context.Context, id int64) (Account, error) {
	return Account{}, errUnbuilt
}

// Accounts lists those of a domain, or all with the domain "", by address.
func (d *Directory) Accounts(ctx context.Context, domain string) ([]Account, error) {
	return nil, errUnbuilt
}

// RemoveAccount removes an account and ends its sessions. ErrNotFound.
func (d *Directory) RemoveAccount(ctx context.Context, addr mail.Address) error { return errUnbuilt }

// SetPassword changes the password and ends every session of the account. ErrNotFound, ErrInvalid.
func (d *Directory) SetPassword(ctx context.Context, addr mail.Address, password string) error {
	return errUnbuilt
}

// SetDisabled disables an account, which ends its sessions and refuses its mail, or enables it again.
func (d *Directory) SetDisabled(ctx context.Context, addr mail.Address, disabled bool) error {
	return errUnbuilt
}

// SetQuota sets the limits in octets and messages; nil is no limit.
func (d *Directory) SetQuota(ctx context.Context, addr mail.Address, bytes, messages *int64) error {
	return errUnbuilt
}

// SetRetention sets what a deletion in POP3 does.
func (d *Directory) SetRetention(ctx context.Context, addr mail.Address, r mail.Retention) error {
	return errUnbuilt
}

// SetPop3MarksSeen says whether RETR sets \Seen.
func (d *Directory) SetPop3MarksSeen(ctx context.Context, addr mail.Address, on bool) error {
	return errUnbuilt
}

// AddAlias makes an alias, or adds targets to the one that is there. ErrNotFound
// (the domain), ErrConflict (the address is an account, or the aliases would
// form a loop or exceed the limits of Resolve), ErrInvalid.
func (d *Directory) AddAlias(ctx context.Context, addr mail.Address, targets ...mail.Address) (Alias, error) {
	return Alias{}, errUnbuilt
}

// Alias finds one. ErrNotFound.
func (d *Directory) Alias(ctx context.Context, addr mail.Address) (Alias, error) {
	return Alias{}, errUnbuilt
}

// Aliases lists those of a domain, or all with the domain "", by address.
func (d *Directory) Aliases(ctx context.Context, domain string) ([]Alias, error) {
	return nil, errUnbuilt
}

// RemoveAlias removes the given targets, or the whole alias with none given or
// none left. ErrNotFound when it, or one of the targets, is not there.
func (d *Directory) RemoveAlias(ctx context.Context, addr mail.Address, targets ...mail.Address) error {
	return errUnbuilt
}
