package relay

import (
	"context"
	"errors"

	"posthouse/internal/mail"
)

// Verify asks the next hop of a route whether it would take mail for a
// recipient, by a transaction that ends before its content (a callout). The
// outcome is Delivered for yes, Failed for no, and Deferred when it cannot be
// told.
func (r *Relay) Verify(ctx context.Context, route Route, from, rcpt mail.Address) Result {
	s, err := r.Dial(ctx, route, Need{})
	if err != nil {
		var f *Failure
		if errors.As(err, &f) {
			// A host that refuses us says nothing of its recipients.
			f.Outcome = Deferred
			return f.Result
		}
		return fail(Deferred, StageConnect, mail.Enhanced{4, 4, 1}, err.Error(), err).Result
	}
	defer s.Close()
	stop := s.watch(ctx)
	defer stop()
	utf8 := ""
	if !from.IsASCII() || !rcpt.IsASCII() {
		if !s.ext.smtputf8 {
			return fail(Failed, StageRcpt, mail.Enhanced{5, 6, 7}, "the host takes no addresses beyond ASCII (SMTPUTF8)", nil).Result
		}
		utf8 = " SMTPUTF8"
	}
	if f := s.command(StageMail, r.Timeouts.Mail, "MAIL FROM:<", from.String(), ">", utf8); f != nil {
		return f.Result
	}
	if s.reply.class() != 2 {
		f := s.refused(StageMail)
		f.Outcome = Deferred
		return f.Result
	}
	if f := s.command(StageRcpt, r.Timeouts.Rcpt, "RCPT TO:<", rcpt.String(), ">"); f != nil {
		return f.Result
	}
	if s.reply.class() == 2 {
		res := s.result(Delivered, StageRcpt)
		s.line("RSET")
		return res
	}
	return s.refused(StageRcpt).Result
}
