package imapd

import (
	"context"

	"posthouse/mailstore"
)

// cmdMove is MOVE and UID MOVE (RFC 6851). COPYUID comes untagged, before the
// EXPUNGEs (§4.3); when a large MOVE fails halfway, it says what was moved.
func (s *session) cmdMove(ctx context.Context, c *command) error {
	uids, to, err := s.copying(c)
	if err != nil {
		return err
	}
	if err := s.may(mailstore.RightDelete | mailstore.RightExpunge); err != nil { // RFC 6851 §4.2
		return err
	}
	if uids.IsEmpty() {
		return nil
	}
	target, keep, err := s.copyTarget(ctx, to)
	if err != nil {
		return err
	}
	var result mailstore.CopyResult
	err = s.slowly(ctx, c, func(ctx context.Context) (err error) {
		result, err = s.srv.Store.MoveKeeping(ctx, s.box.account, s.box.id, uids, target.Account, target.Own, keep)
		return err
	})
	if len(result.Src) > 0 {
		s.enc.Raw("* OK [" + copyUID(result) + "] Moved\r\n")
	}
	s.copied(target, result)
	if lost := s.syncNow(ctx, false); lost != nil {
		return lost
	}
	if err != nil {
		return tryCreate(err)
	}
	s.toldAll(c)
	return nil
}
