package imapd

import (
	"context"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// threadAlgorithms are those of RFC 5256 §3.
var threadAlgorithms = map[string]mailstore.ThreadAlgorithm{
	"REFERENCES": mailstore.ThreadReferences, "ORDEREDSUBJECT": mailstore.ThreadOrderedSubject,
}

// cmdThread is THREAD and UID THREAD (RFC 5256 §3).
func (s *session) cmdThread(ctx context.Context, c *command) error {
	if err := s.sync(ctx, !c.uid); err != nil {
		return err
	}
	name, err := c.lex.Keyword()
	if err != nil {
		return err
	}
	how, ok := threadAlgorithms[name]
	if !ok {
		return wire.Syntaxf("unknown threading algorithm")
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	p := &searchParser{s: s, ctx: ctx, lex: c.lex, decode: decodeUTF8}
	if err := p.charsetName(); err != nil {
		return err
	}
	criteria, err := p.program()
	if err != nil {
		return err
	}
	var threads *mailstore.Threads
	if err := s.slowly(ctx, c, func(ctx context.Context) error {
		found, err := s.srv.Store.Search(ctx, s.box.account, s.box.id, s.box.view, &criteria)
		if err != nil {
			return err
		}
		threads, err = s.srv.Store.Thread(ctx, s.box.account, s.box.id, s.box.view, found, how)
		return err
	}); err != nil {
		return err
	}
	s.writeThreads(c, threads)
	return s.enc.Err()
}

// writeThreads writes the THREAD response, which is due even when it is empty.
func (s *session) writeThreads(c *command, threads *mailstore.Threads) {
	number := func(uid mailstore.UID) uint32 { return uint32(uid) }
	if !c.uid {
		view := s.box.view
		number = func(uid mailstore.UID) uint32 {
			seq, _ := view.Seq(uid)
			return uint32(seq)
		}
	}
	s.enc.Raw("* THREAD")
	if list := threads.AppendTo(nil, number); len(list) > 0 {
		s.enc.SP()
		s.enc.Bytes(list)
	}
	s.enc.CRLF()
}
