package imapd

import (
	"context"
	"fmt"

	"posthouse/mailstore"
)

// copying are the arguments of COPY and MOVE.
func (s *session) copying(c *command) (uids mailstore.UIDSet, to string, err error) {
	set, err := c.lex.NumSet()
	if err != nil {
		return nil, "", err
	}
	if err := c.lex.SP(); err != nil {
		return nil, "", err
	}
	if to, err = s.mailboxArg(c.lex); err != nil {
		return nil, "", err
	}
	if err := c.lex.End(); err != nil {
		return nil, "", err
	}
	uids, err = s.messages(set, c.uid)
	return uids, to, err
}

// copyTarget finds where to copy. Flags that the user may not set there are not
// copied (RFC 4314 §4).
func (s *session) copyTarget(ctx context.Context, name string) (to mailstore.Reached, keep mailstore.Flags, err error) {
	to, err = s.reach(ctx, name, mailstore.RightInsert)
	return to, to.Rights.KeepFlags(), tryCreate(err)
}

// cmdCopy is COPY and UID COPY (RFC 3501 §6.4.7): all or nothing.
func (s *session) cmdCopy(ctx context.Context, c *command) error {
	uids, to, err := s.copying(c)
	if err != nil || uids.IsEmpty() {
		return err
	}
	target, keep, err := s.copyTarget(ctx, to)
	if err != nil {
		return err
	}
	var result mailstore.CopyResult
	if err := s.slowly(ctx, c, func(ctx context.Context) (err error) {
		result, err = s.srv.Store.CopyKeeping(ctx, s.box.account, s.box.id, uids, target.Account, target.Own, keep)
		return err
	}); err != nil {
		return tryCreate(err)
	}
	if len(result.Src) > 0 {
		c.code = copyUID(result)
	}
	s.copied(target, result)
	return nil
}

// copied notes what came into the selected mailbox itself.
func (s *session) copied(to mailstore.Reached, r mailstore.CopyResult) {
	if to.ID == s.box.id {
		s.placed = mailstore.UIDs(r.Dst...)
	}
}

// copyUID is the response code of RFC 4315 §3.
func copyUID(r mailstore.CopyResult) string {
	return fmt.Sprintf("COPYUID %d %s %s", r.UIDValidity, mailstore.UIDs(r.Src...), mailstore.UIDs(r.Dst...))
}
