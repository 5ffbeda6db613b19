package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/mailstore"
)

// A batch is one transaction.
const (
	batchMessages = 250
	batchOctets   = 8 << 20
	pageMessages  = 500 // how many messages a source asks about at once
)

// storePatience is how long a batch is tried again while the database is away.
const storePatience = 2 * time.Minute

// Sink takes the messages of one folder at a time and stores them in batches,
// one while the next is read.
type Sink struct {
	im      *importer
	mailbox string
	batch   []mailstore.Import
	octets  int64
	flying  chan error // of the batch under way; nil: none
	landed  []mailstore.Imported
	sent    []mailstore.Import
}

// Spool gives a body to write a message to.
func (s *Sink) Spool() *spool.Spool { return spool.New(s.im.opt.SpoolDir, spool.Memory) }

// Fresh gives those of the keys that have not been imported before, by index.
// In a dry run it counts them and gives none.
func (s *Sink) Fresh(ctx context.Context, keys []mailstore.ImportKey) ([]int, error) {
	known, err := s.im.store.ImportedBefore(ctx, s.im.account, keys)
	if err != nil {
		return nil, err
	}
	var fresh []int
	for i, k := range keys {
		if known[k] {
			s.im.figures.Known++
		} else {
			fresh = append(fresh, i)
		}
	}
	s.im.figures.Found += len(keys)
	if s.im.opt.DryRun {
		s.im.figures.Imported += len(fresh)
		fresh = nil
	}
	s.im.tell()
	return fresh, nil
}

// Bad notes a message that could not be read; the others go on.
func (s *Sink) Bad(what string, err error) {
	s.im.figures.Unreadable++
	s.im.note("%s cannot be read and is left out: %v", what, err)
}

// Put stores a message, now or with those that follow.
func (s *Sink) Put(ctx context.Context, m Message) error {
	s.batch = append(s.batch, mailstore.Import{
		Key: m.Key, Body: m.Body, Mailbox: s.mailbox, Flags: m.Flags, Keywords: m.Keywords, InternalDate: m.Date, UIDL: m.UIDL,
	})
	s.octets += m.Body.Size()
	if len(s.batch) >= batchMessages || s.octets >= batchOctets {
		return s.flush(ctx)
	}
	return nil
}

// flush sends the batch on its way, when the one before has landed.
func (s *Sink) flush(ctx context.Context) error {
	if err := s.land(); err != nil {
		return err
	}
	if len(s.batch) == 0 {
		return nil
	}
	s.sent, s.batch, s.octets = s.batch, nil, 0
	flying := make(chan error, 1)
	s.flying = flying
	go func() {
		var err error
		s.landed, err = s.im.storeBatch(ctx, s.sent)
		flying <- err
	}()
	return nil
}

// land waits for the batch under way and counts what became of it.
func (s *Sink) land() error {
	if s.flying == nil {
		return nil
	}
	err := <-s.flying
	s.flying = nil
	defer closeAll(s.sent)
	if err != nil {
		return fmt.Errorf("store messages in %q: %w", s.mailbox, err)
	}
	for _, o := range s.landed {
		switch {
		case o.Known:
			s.im.figures.Known++
		case o.Err != nil && err == nil:
			err = fmt.Errorf("store a message in %q: %w", s.mailbox, o.Err)
		case o.Err != nil:
		default:
			s.im.figures.Imported++
			s.im.figures.Bytes += o.Size
		}
		for _, name := range o.NoKeyword {
			s.im.noKeyword(s.mailbox, name)
		}
	}
	s.im.tell()
	return err
}

// finish stores what is left. Also after an error it waits for what is under
// way, so that nothing of the sink outlives the import.
func (s *Sink) finish(ctx context.Context, err error) error {
	if err == nil {
		err = s.flush(ctx)
	}
	err = errors.Join(err, s.land())
	closeAll(s.batch)
	s.batch, s.octets = nil, 0
	return err
}

func closeAll(list []mailstore.Import) {
	for i := range list {
		list[i].Body.Close() // it was read, or is not wanted: nothing is lost with it
	}
}

// storeBatch stores a batch, and tries again while the database is away: what
// was committed without our hearing of it is known then.
func (im *importer) storeBatch(ctx context.Context, list []mailstore.Import) ([]mailstore.Imported, error) {
	deadline := time.Now().Add(storePatience)
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		out, err := im.store.Import(ctx, im.account, list)
		if err == nil || mail.ClassOf(err) == mail.Permanent || ctx.Err() != nil || time.Now().After(deadline) {
			return out, err
		}
		if e, ok := errors.AsType[*mail.Error](err); !ok || e.Code == 452 { // of the disk, or of the source's own files
			return out, err
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
