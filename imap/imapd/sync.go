package imapd

import (
	"context"
	"errors"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// mailbox is the selected mailbox as the session shows it to its client.
type mailbox struct {
	id       mailstore.MailboxID
	account  mailstore.AccountID // whose it is
	rights   mailstore.Rights    // of the session's user
	personal bool                // the user's own
	examined bool                // opened by EXAMINE
	readOnly bool                // examined, or without a right to change anything
	recents  bool                // takes \Recent: not in the mailbox of another person
	validity uint32              // UIDVALIDITY
	recent   mailstore.UIDSet    // \Recent in this session
	view     *mailstore.View     // what the client was told
	watch    *mailstore.Watch    // subscribed before view was loaded
	told     mailstore.ModSeq    // up to here the client was told all, expunges too
	stale    bool                // the watch fired, and the news could not be fetched
	saved    mailstore.UIDSet    // what "$" stands for, see searchres.go
	contexts []*searchContext    // searches that are kept up to date, see context.go
	changed  mailstore.UIDSet    // what they were not told of yet
}

// unselect leaves the selected state, if the session is in it.
func (s *session) unselect() {
	if s.box == nil {
		return
	}
	s.box.watch.Close()
	s.notify.leave(s.box)
	s.box = nil
	if s.state == selected {
		s.state = user
	}
}

// sync tells the client what happened in the selected mailbox since it was last
// told. With keepExpunged messages that went stay in the view until a later
// call, as they must while sequence numbers are in use (RFC 3501 §7.4.1).
func (s *session) sync(ctx context.Context, keepExpunged bool) error {
	if s.silent() {
		return nil
	}
	select {
	case <-s.box.watch.C:
	default:
		// Expunges that were held back left no other sign than the stale mark.
		if !s.box.stale || keepExpunged {
			return nil
		}
	}
	return s.syncNow(ctx, keepExpunged)
}

// syncNow is sync without asking the watch. A database that does not answer is
// no reason to fail the command: the news is told with a later one.
func (s *session) syncNow(ctx context.Context, keepExpunged bool) error {
	if err := s.recheck(ctx); err != nil {
		return s.unsynced(err)
	}
	changes, err := s.advance(ctx, keepExpunged)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return bye(imap.ResponseCodeNonExistent, "The selected mailbox was deleted")
	}
	if err != nil {
		return s.unsynced(err)
	}
	s.tell(ctx, changes)
	return nil
}

// unsynced notes that the news could not be read, unless the session ends by it.
func (s *session) unsynced(err error) error {
	if answer, ok := errors.AsType[*imap.Error](err); ok && answer.Type == imap.StatusResponseTypeBye {
		return err
	}
	s.box.stale = true
	s.log.Error("changes not read", "event", "imap.sync", "error", err)
	return nil
}

// news is what a new view has for the client.
type news struct {
	old *mailstore.View
	mailstore.Changes
}

// advance brings the view forward, without telling the client.
func (s *session) advance(ctx context.Context, keepExpunged bool) (news, error) {
	view, changes, err := s.srv.Store.Advance(ctx, s.box.view, keepExpunged)
	if err != nil {
		return news{}, err
	}
	return s.took(view, changes, keepExpunged), nil
}

// took makes a newer view the session's.
func (s *session) took(view *mailstore.View, changes mailstore.Changes, keepExpunged bool) news {
	old := s.box.view
	s.box.view = view
	s.box.noteChanged(changes)
	s.box.stale = keepExpunged
	if !keepExpunged || !view.AnyGone() {
		s.box.told = view.ModSeq()
	}
	return news{old, changes}
}

// tell writes what is new, in the order that clients rely on: EXPUNGE, EXISTS,
// RECENT, FLAGS when a keyword is new, FETCH.
func (s *session) tell(ctx context.Context, n news) {
	box := s.box
	recent := box.recent.Len()
	defer s.tellContexts(ctx)
	s.shrinkContexts(n)
	s.tellExpunged(n)
	if !n.Added.IsEmpty() {
		s.claim(ctx, n.Added)
		s.untaggedNumber(box.view.Len(), "EXISTS")
	}
	// No other response says that fewer are recent: EXPUNGE only counts EXISTS
	// down (RFC 3501 §7.4.1).
	if !s.rev2() && (!n.Added.IsEmpty() || box.recent.Len() != recent) {
		s.untaggedNumber(box.recent.Len(), "RECENT")
	}
	if n.KeywordsChanged {
		s.writeFlags(box)
	}
	s.fetchNew(ctx, n.Added)
	if !s.tellsFlags() {
		return
	}
	names := flagNames{table: box.view.Keywords()}
	for uid := range n.Flagged.Each {
		if seq, ok := box.view.Seq(uid); ok {
			m, known := n.Marks.Of(uid)
			if !known {
				m = box.told
			}
			s.tellFlags(&names, seq, uid, m)
		}
	}
}

// tellFlags writes a FETCH that nobody asked for. The UID is in it whether or not
// QRESYNC asks for that (RFC 7162 §3.2.4).
func (s *session) tellFlags(names *flagNames, seq int, uid mailstore.UID, m mailstore.ModSeq) {
	s.enc.Raw("* ")
	s.enc.Number(uint64(seq))
	s.enc.Raw(" FETCH (FLAGS ")
	s.enc.Raw(names.text(s.box.view.Flags(seq), s.box.recent.Contains(uid)))
	s.enc.Raw(" UID ")
	s.enc.Number(uint64(uid))
	if s.enabled[condstore] {
		s.enc.SP()
		s.writeModSeq(m)
	}
	s.enc.Raw(")\r\n")
}

// tellExpunged writes EXPUNGE from the last message to the first, so that the
// numbers of those still to be named do not move.
func (s *session) tellExpunged(n news) {
	if s.enabled[qresync] {
		s.tellVanished(n.Expunged)
		return
	}
	for i := len(n.Expunged) - 1; i >= 0; i-- {
		r := n.Expunged[i]
		for uid := r.Hi; ; uid-- {
			if seq, ok := n.old.Seq(uid); ok {
				s.untaggedNumber(seq, "EXPUNGE")
			}
			if uid == r.Lo {
				break
			}
		}
	}
	s.box.recent = s.box.recent.Subtract(n.Expunged)
}

// claim takes \Recent for new messages, unless another session was faster. A
// session that only examines the mailbox takes nothing away.
func (s *session) claim(ctx context.Context, added mailstore.UIDSet) {
	last := added[len(added)-1].Hi
	if s.box.readOnly || !s.box.recents || s.rev2() || !s.srv.recents.first(s.box.id, last) {
		return
	}
	first, err := s.srv.Store.ClaimRecent(ctx, s.box.account, s.box.id, last+1)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return // deleted just now: the next look at it says so
	}
	if err != nil {
		s.log.Warn("recent not claimed", "event", "imap.sync", "error", err)
		return
	}
	// All from first on, not only what was added now: another session may have
	// been about to claim what this one was told before.
	view := s.box.view
	if lo := view.SeqFrom(first); lo <= view.Len() {
		s.box.recent = s.box.recent.Union(view.UIDs(lo, view.Len()))
	}
}
