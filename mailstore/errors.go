package mailstore

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"posthouse/internal/mail"
)

// What callers match with errors.Is. Each has its class and codes, so that
// errors.As for a *mail.Error gives what a protocol should answer.
var (
	ErrNoMailbox       error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "no such mailbox")
	ErrMailboxExists   error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "the mailbox exists already")
	ErrNameInvalid     error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "that name cannot be used for a mailbox")
	ErrInbox           error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "INBOX cannot be deleted")
	ErrOverQuota       error = mail.Refuse(552, mail.Enhanced{5, 2, 2}, "the mailbox is full")
	ErrTooManyKeywords error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "the mailbox has as many keywords as it can")
	ErrInUse           error = mail.Defer(450, mail.Enhanced{4, 2, 0}, "another session has the maildrop", nil)
	ErrNoAccount       error = mail.Refuse(550, mail.Enhanced{5, 1, 1}, "no such account")
	ErrGone            error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "the message is no longer there")

	// ErrUnknownOutcome says that a commit may or may not have happened and the
	// database could not be asked in time.
	ErrUnknownOutcome error = &mail.Error{Class: mail.Unknown, Code: 451, Enhanced: mail.Enhanced{4, 3, 0}, Text: "the outcome is not known"}
	// ErrClosed is returned by a store that was closed.
	ErrClosed error = mail.Defer(421, mail.Enhanced{4, 3, 2}, "the server is shutting down", nil)
)

// dbError puts the class on an error of the database: temporary, and with the
// code of a full disk where it is one. Errors that carry a class pass.
func dbError(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return fmt.Errorf("%s: %w", what, err)
	}
	code, enhanced, text := 451, mail.Enhanced{4, 3, 0}, "the mail store is not available"
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "53100" { // disk_full
		code, enhanced, text = 452, mail.Enhanced{4, 3, 1}, "no space left in the mail store"
	}
	return mail.Defer(code, enhanced, text, fmt.Errorf("%s: %w", what, err))
}

// retryable reports whether a transaction failed only because of others.
func retryable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40P01" || pg.Code == "40001") // deadlock_detected, serialization_failure
}

// isForeignKey reports a reference to a row that is not there.
func isForeignKey(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23503"
}

// isUnique reports a violation of a unique key.
func isUnique(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505"
}
