package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/mailstore"
)

// imapReader reads one mailbox, over several connections if need be.
type imapReader struct {
	m        *IMAP
	folder   Folder
	sink     *Sink
	done     imap.UID // all up to this one are done with
	validity uint32
	got      map[imap.UID]bool // of the page under way
	progress int               // messages that came
	fatal    bool              // the error is not the connection's
}

// imapPage bounds what is asked for in one FETCH.
const imapPage = 100

func (r *imapReader) read(ctx context.Context) error {
	data, err := r.m.client.Select(r.folder.ID, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		r.fatal = isAnswer(err)
		return fmt.Errorf("open folder %q on the IMAP server: %w", r.folder.ID, err)
	}
	if data.UIDValidity != r.validity {
		r.validity, r.done, r.got = data.UIDValidity, 0, nil
	}
	if data.NumMessages == 0 {
		return nil
	}
	found, err := r.m.client.UIDSearch(&imap.SearchCriteria{UID: []imap.UIDSet{{imap.UIDRange{Start: r.done + 1, Stop: 0}}}}, nil).Wait()
	if err != nil {
		r.fatal = isAnswer(err)
		return fmt.Errorf("list the messages of folder %q: %w", r.folder.ID, err)
	}
	uids := found.AllUIDs()
	slices.Sort(uids)
	// n:* names the last message also when its UID is below n
	uids = slices.DeleteFunc(uids, func(u imap.UID) bool { return u <= r.done })
	for page := range slices.Chunk(uids, pageMessages) {
		if err := r.page(ctx, page); err != nil {
			return err
		}
		r.done = page[len(page)-1]
	}
	return nil
}

// key names a message: also when its server is called by another name next time,
// as long as the user stays the same.
func (r *imapReader) key(uid imap.UID) mailstore.ImportKey {
	return key("imap", r.m.server.User, r.folder.ID, strconv.FormatUint(uint64(r.validity), 10), strconv.FormatUint(uint64(uid), 10))
}

// page imports what is new among the UIDs. After a failure the rest of it is
// asked for again.
func (r *imapReader) page(ctx context.Context, uids []imap.UID) error {
	uids = slices.DeleteFunc(slices.Clone(uids), func(u imap.UID) bool { return r.got[u] })
	keys := make([]mailstore.ImportKey, len(uids))
	for i, u := range uids {
		keys[i] = r.key(u)
	}
	fresh, err := r.sink.Fresh(ctx, keys)
	if err != nil {
		r.fatal = true
		return err
	}
	got := len(r.got)
	var wanted []imap.UID
	for _, i := range fresh {
		wanted = append(wanted, uids[i])
	}
	for part := range slices.Chunk(wanted, imapPage) {
		if err := r.part(ctx, part); err != nil {
			figures := &r.sink.im.figures
			figures.Found -= len(uids) - (len(r.got) - got)
			figures.Known -= len(uids) - len(fresh)
			return err
		}
	}
	r.got = nil
	return nil
}

// part fetches some messages; when the server refuses them all, one by one.
func (r *imapReader) part(ctx context.Context, uids []imap.UID) error {
	err := r.fetch(ctx, uids)
	if err == nil || r.fatal || !isAnswer(err) {
		return err
	}
	for _, uid := range uids {
		if r.got[uid] {
			continue
		}
		switch err := r.fetch(ctx, []imap.UID{uid}); {
		case err == nil:
		case r.fatal || !isAnswer(err):
			return err
		default:
			r.sink.Bad(fmt.Sprintf("message %d of folder %q", uid, r.folder.ID), err)
		}
	}
	return nil
}

// isAnswer tells a refusal by the server from a broken connection.
func isAnswer(err error) bool {
	var answer *imap.Error
	return errors.As(err, &answer)
}

// fetch reads some messages and gives them to the sink.
func (r *imapReader) fetch(ctx context.Context, uids []imap.UID) (err error) {
	cmd := r.m.client.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	})
	defer func() {
		if errors.Is(err, errTorn) {
			return // to close it would be to read on, beside the client that clears up
		}
		if closeErr := cmd.Close(); err == nil {
			err = closeErr
		}
	}()
	for item := cmd.Next(); item != nil; item = cmd.Next() {
		uid, msg, err := r.message(item)
		if err != nil {
			return err
		}
		if msg.Body == nil {
			continue // a change of flags that the server tells of by itself
		}
		if r.got[uid] || !slices.Contains(uids, uid) {
			msg.Body.Close() // not asked for
			continue
		}
		msg.Key = r.key(uid)
		if err := r.sink.Put(ctx, msg); err != nil {
			r.fatal = true
			return err
		}
		if r.got == nil {
			r.got = map[imap.UID]bool{}
		}
		r.got[uid] = true
		r.progress++
	}
	return nil
}

// message collects the items of one message.
func (r *imapReader) message(item *imapclient.FetchMessageData) (uid imap.UID, msg Message, err error) {
	var flags []imap.Flag
	var date time.Time
	for data := item.Next(); data != nil; data = item.Next() {
		switch d := data.(type) {
		case imapclient.FetchItemDataUID:
			uid = d.UID
		case imapclient.FetchItemDataFlags:
			flags = d.Flags
		case imapclient.FetchItemDataInternalDate:
			date = d.Time
		case imapclient.FetchItemDataBodySection:
			if d.Literal == nil {
				continue
			}
			if msg.Body != nil {
				msg.Body.Close()
			}
			if msg, err = spoolLiteral(r.sink, d.Literal); err != nil {
				return uid, Message{}, err
			}
		}
	}
	msg.Date = date
	msg.Flags, msg.Keywords = imapFlags(flags)
	return uid, msg, nil
}

// imapFlags sorts flags; \Recent and what else is the server's own is not taken.
func imapFlags(list []imap.Flag) (flags mailstore.Flags, words []string) {
	for _, f := range list {
		switch strings.ToLower(string(f)) {
		case `\seen`:
			flags |= mailstore.FlagSeen
		case `\answered`:
			flags |= mailstore.FlagAnswered
		case `\flagged`:
			flags |= mailstore.FlagFlagged
		case `\deleted`:
			flags |= mailstore.FlagDeleted
		case `\draft`:
			flags |= mailstore.FlagDraft
		default:
			if !strings.HasPrefix(string(f), `\`) {
				words = append(words, string(f))
			}
		}
	}
	return flags, words
}
