package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/mda"
)

// notifyPostmaster delivers what the directory has to tell a domain's postmaster.
func notifyPostmaster(m *mda.MDA, spoolDir string) func(context.Context, mail.Address, []byte, func(context.Context, pgx.Tx) error) error {
	return func(ctx context.Context, to mail.Address, message []byte, inTx func(context.Context, pgx.Tx) error) error {
		body := spool.New(spoolDir, spool.Memory)
		defer body.Close()
		if _, err := body.Write(message); err != nil {
			return fmt.Errorf("write the notice: %w", err)
		}
		in := &mail.Incoming{ID: mail.NewID(), Arrived: time.Now(), Envelope: mail.Envelope{
			Recipients: []mail.Recipient{{Address: to}}, Body: mail.Body8Bit, SMTPUTF8: !to.IsASCII(),
		}}
		return m.DeliverIn(ctx, in, body, inTx)
	}
}
