package transfer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"posthouse/mailstore"
)

// ExportOptions of an export.
type ExportOptions struct {
	Only     []string // names of mailboxes; empty: all
	DryRun   bool
	Progress func(Figures)
	Note     func(string)
}

// Outgoing is a message on its way out.
type Outgoing struct {
	UID      mailstore.UID
	EmailID  int64
	Flags    mailstore.Flags // system flags
	Keywords []string
	Date     time.Time
	UIDL     string
	Body     *mailstore.BodyReader
}

// Target is where an export goes.
type Target interface {
	// Begin starts a mailbox; its messages follow by rising UID.
	Begin(m mailstore.Mailbox, subscribed bool) error
	// Has says that the message was exported before; flags are brought up to date.
	Has(o *Outgoing) (bool, error)
	Put(ctx context.Context, o *Outgoing) error
	End() error
	// Abort takes back what is half done, after an error.
	Abort()
}

// bodiesAtOnce bounds the bodies that are read in one round trip: 8 MiB.
const bodiesAtOnce = 32

// Export writes an account's mailboxes to a target. Each mailbox is as it was
// when its turn came; mail goes on arriving meanwhile.
func Export(ctx context.Context, store *mailstore.Store, account mailstore.AccountID, to Target, opt ExportOptions) (Figures, error) {
	e := &exporter{store: store, account: account, to: to, opt: opt, began: time.Now()}
	err := e.run(ctx)
	if err != nil {
		to.Abort()
	}
	e.figures.Took = time.Since(e.began)
	return e.figures, err
}

type exporter struct {
	store   *mailstore.Store
	account mailstore.AccountID
	to      Target
	opt     ExportOptions
	figures Figures
	began   time.Time
}

func (e *exporter) run(ctx context.Context) error {
	boxes, err := e.store.Mailboxes(ctx, e.account)
	if err != nil {
		return err
	}
	subscribed, err := e.store.Subscriptions(ctx, e.account)
	if err != nil {
		return err
	}
	for _, name := range e.opt.Only {
		if !slices.ContainsFunc(boxes, func(m mailstore.Mailbox) bool { return m.Name == mailstore.CanonicalName(name) }) {
			return fmt.Errorf("folder %q: %w", name, mailstore.ErrNoMailbox)
		}
	}
	for _, m := range boxes {
		if len(e.opt.Only) > 0 && !slices.ContainsFunc(e.opt.Only, func(n string) bool { return mailstore.CanonicalName(n) == m.Name }) {
			continue
		}
		if err := e.mailbox(ctx, m, slices.Contains(subscribed, m.Name)); err != nil {
			return fmt.Errorf("export folder %q: %w", m.Name, err)
		}
	}
	return nil
}

func (e *exporter) mailbox(ctx context.Context, m mailstore.Mailbox, subscribed bool) error {
	e.figures.Folder = m.Name
	e.figures.Folders++
	if e.opt.DryRun {
		e.figures.Found += int(m.Messages)
		e.figures.Imported += int(m.Messages)
		e.figures.Bytes += m.Bytes
		return nil
	}
	if err := e.to.Begin(m, subscribed); err != nil {
		return err
	}
	view, _, err := e.store.Load(ctx, e.account, m.ID)
	if err != nil {
		return err
	}
	var page []*mailstore.Message
	err = e.store.Messages(ctx, e.account, m.ID, view.UIDs(1, view.Len()), mailstore.FieldPrefix|mailstore.FieldUIDL, func(msg *mailstore.Message) error {
		e.figures.Found++
		if page = append(page, msg); len(page) < bodiesAtOnce {
			return nil
		}
		list := page
		page = nil
		return e.page(ctx, view, list)
	})
	if err == nil {
		err = e.page(ctx, view, page)
	}
	if err != nil {
		return err
	}
	return e.to.End()
}

// page writes those of the messages that are not there yet.
func (e *exporter) page(ctx context.Context, view *mailstore.View, list []*mailstore.Message) error {
	out := map[mailstore.UID]*Outgoing{}
	var wanted []*mailstore.Message
	for _, msg := range list {
		seq, ok := view.Seq(msg.UID)
		if !ok {
			continue
		}
		flags := view.Flags(seq)
		o := &Outgoing{
			UID: msg.UID, EmailID: msg.EmailID, Flags: flags & mailstore.SystemFlags, Keywords: flags.Keywords(view.Keywords()),
			Date: msg.InternalDate, UIDL: msg.UIDL,
		}
		has, err := e.to.Has(o)
		if err != nil {
			return err
		}
		if has {
			e.figures.Known++
			continue
		}
		out[msg.UID] = o
		wanted = append(wanted, msg)
	}
	if len(wanted) == 0 {
		return nil
	}
	return e.store.Bodies(ctx, wanted, func(msg *mailstore.Message, body *mailstore.BodyReader) error {
		o := out[msg.UID]
		o.Body = body
		if err := e.to.Put(ctx, o); err != nil {
			return fmt.Errorf("message %d: %w", msg.UID, err)
		}
		e.figures.Imported++
		e.figures.Bytes += msg.Size
		if e.opt.Progress != nil {
			f := e.figures
			f.Took = time.Since(e.began)
			e.opt.Progress(f)
		}
		return nil
	})
}
