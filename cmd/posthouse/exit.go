package main

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"posthouse/internal/backup"
	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/mailstore/localpg"
	"posthouse/migrations"
	"posthouse/smtp/mailauth"
)

// Exit codes, as DESIGN promises them to scripts; from 64 up those of sysexits.h.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitConflict = 4
	exitDatabase = 69 // EX_UNAVAILABLE
	exitBind     = 77 // EX_NOPERM
	exitConfig   = 78 // EX_CONFIG
)

// exitError carries its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// exitCode is the code for an error of a command.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*config.Error](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return exitDatabase
	}
	for _, known := range []struct {
		err  error
		code int
	}{
		{directory.ErrNotFound, exitNotFound},
		{directory.ErrConflict, exitConflict},
		{directory.ErrInvalid, exitUsage},
		{directory.ErrNoKey, exitConfig},
		{mailauth.ErrNotFound, exitNotFound},
		{mailauth.ErrConflict, exitConflict},
		{mailauth.ErrNoSecret, exitConfig},
		{migrations.ErrNewerSchema, exitConfig},
		{backup.ErrNotFound, exitNotFound},
		{backup.ErrNotEmpty, exitConflict},
		{backup.ErrPartial, exitUsage},
		{backup.ErrNewer, exitConfig},
		{localpg.ErrNotInstalled, exitDatabase},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return exitFailed
}
