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
	name     string
	readOnly bool             // EXAMINE
	validity uint32           // UIDVALIDITY
	recent   mailstore.UID    // UIDs from here on are \Recent to this session; 0: none
	view     *mailstore.View  // what the client was told
	watch    *mailstore.Watch // subscribed before view was loaded
	keywords int              // how many keywords the last FLAGS response named
}

// isRecent reports whether a message is \Recent in this session.
func (b *mailbox) isRecent(uid mailstore.UID) bool { return b.recent != 0 && uid >= b.recent }

// unselect leaves the selected state, if the session is in it.
func (s *session) unselect() {
	if s.box == nil {
		return
	}
	s.box.watch.Close()
	s.box = nil
	if s.state == selected {
		s.state = user
	}
}

// sync tells the client what happened in the selected mailbox since it was last
// told: EXPUNGE, EXISTS, RECENT, FLAGS, FETCH, in this order (RFC 3501 §7). With
// keepExpunged messages that went stay in the view until a later call.
func (s *session) sync(ctx context.Context, keepExpunged bool) error {
	select {
	case <-s.box.watch.C:
	default:
		return nil // nothing happened
	}
	return s.syncNow(ctx, keepExpunged)
}

// syncNow is sync without asking the watch first.
func (s *session) syncNow(ctx context.Context, keepExpunged bool) error {
	view, changes, err := s.srv.Store.Advance(ctx, s.box.view, keepExpunged)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return bye(imap.ResponseCodeNonExistent, "The selected mailbox was deleted")
	}
	if err != nil {
		return err
	}
	_ = changes
	s.box.view = view
	return nil
}
