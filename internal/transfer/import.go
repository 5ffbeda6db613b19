package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthouse/mailstore"
)

// Options of an import.
type Options struct {
	Prefix   string        // all folders go below this one, INBOX too; empty: each to its own
	Only     []string      // names of folders here; empty: all
	SpoolDir string        // for large messages; empty: the system's temporary folder
	DryRun   bool          // count, store nothing
	Progress func(Figures) // often
	Note     func(string)  // a line for people: what was left out, and why
}

// Figures are what an import found and did.
type Figures struct {
	Folder     string        `json:"-"` // that is being read
	Folders    int           `json:"folders"`
	Found      int           `json:"found"`
	Imported   int           `json:"imported"`   // or would be, in a dry run
	Known      int           `json:"known"`      // imported before
	Unreadable int           `json:"unreadable"` // left out
	Bytes      int64         `json:"bytes"`
	Took       time.Duration `json:"-"`
}

// importer is one import under way.
type importer struct {
	store    *mailstore.Store
	account  mailstore.AccountID
	opt      Options
	figures  Figures
	began    time.Time
	keywords map[string]bool // noted to be left out
}

// Import brings the source's mail into an account. After an error, or a kill,
// doing the same again goes on where it stopped. mailstore.ErrOverQuota ends it
// with what had room in place.
func Import(ctx context.Context, store *mailstore.Store, account mailstore.AccountID, source Source, opt Options) (Figures, error) {
	im := &importer{store: store, account: account, opt: opt, began: time.Now(), keywords: map[string]bool{}}
	err := im.run(ctx, source)
	im.figures.Took = time.Since(im.began)
	return im.figures, err
}

func (im *importer) run(ctx context.Context, source Source) error {
	folders, err := source.Folders(ctx)
	if err != nil {
		return err
	}
	have, err := im.store.Mailboxes(ctx, im.account)
	if err != nil {
		return err
	}
	for _, p := range plan(folders, have, im.opt.Prefix, im.opt.Only) {
		if err := im.folder(ctx, source, p); err != nil {
			return err
		}
	}
	return nil
}

// folder imports one folder.
func (im *importer) folder(ctx context.Context, source Source, p planned) error {
	im.figures.Folder = p.name
	im.tell()
	if !im.opt.DryRun {
		if err := im.mailbox(ctx, p); err != nil {
			return err
		}
	}
	im.figures.Folders++
	sink := &Sink{im: im, mailbox: p.name}
	if err := sink.finish(ctx, source.Read(ctx, p.Folder, sink)); err != nil {
		return fmt.Errorf("import folder %q: %w", p.name, err)
	}
	return nil
}

// mailbox makes the mailbox that a folder goes to.
func (im *importer) mailbox(ctx context.Context, p planned) error {
	m, err := im.store.CreateMailbox(ctx, im.account, p.name, mailstore.None)
	if errors.Is(err, mailstore.ErrMailboxExists) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make mailbox %q: %w", p.name, err)
	}
	if !p.Subscribed {
		return im.store.Unsubscribe(ctx, im.account, m.Name)
	}
	return nil
}

// tell reports how far it is.
func (im *importer) tell() {
	if im.opt.Progress == nil {
		return
	}
	f := im.figures
	f.Took = time.Since(im.began)
	im.opt.Progress(f)
}

func (im *importer) note(format string, args ...any) {
	if im.opt.Note != nil {
		im.opt.Note(fmt.Sprintf(format, args...))
	}
}

func (im *importer) noKeyword(mailbox, name string) {
	if id := mailbox + "\x00" + name; !im.keywords[id] {
		im.keywords[id] = true
		im.note("%s: keyword %q is left out: the mailbox has as many as it can", mailbox, name)
	}
}
