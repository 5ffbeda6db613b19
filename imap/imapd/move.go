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
	if s.box.readOnly {
		return errReadOnly
	}
	if uids.IsEmpty() {
		return nil
	}
	var result mailstore.CopyResult
	err = s.slowly(ctx, c, func(ctx context.Context) (err error) {
		result, err = s.srv.Store.Move(ctx, s.acct(), s.box.id, uids, s.acct(), to)
		return err
	})
	if len(result.Src) > 0 {
		s.enc.Raw("* OK [" + copyUID(result) + "] Moved\r\n")
	}
	if lost := s.syncNow(ctx, false); lost != nil {
		return lost
	}
	if err != nil {
		return tryCreate(err)
	}
	s.toldAll(c)
	return nil
}
