package mda

import (
	"context"
	"slices"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/smtp/dsn"
)

// told is a recipient whose sender asked to hear of success.
type told struct {
	kind dsn.Kind
	rcpt mail.Recipient
}

// tell notes what is to be reported of a recipient once it is true. A message
// with the null reverse-path is never reported on.
func (p *plan) tell(kind dsn.Kind, rcpt mail.Recipient) {
	if rcpt.Notify&mail.NotifySuccess != 0 && !p.in.From.IsZero() && p.mda.cfg.Hostname != "" {
		p.told = append(p.told, told{kind, rcpt})
	}
}

// withoutSuccess is for where success was reported already.
func withoutSuccess(n mail.Notify) mail.Notify {
	if n == mail.NotifySuccess {
		return mail.NotifyNever
	}
	return n &^ mail.NotifySuccess
}

// addressType is that of RFC 3461 §4.2, or of RFC 6533 §3.
func addressType(a mail.Address) string {
	if a.IsASCII() {
		return "rfc822"
	}
	return "utf-8"
}

// reportSuccess sends what was noted. The message is committed, so a report that
// fails is only logged; should the process end before, the client has not heard
// the 250, sends again, and the report is made then.
func (p *plan) reportSuccess(ctx context.Context) {
	for _, kind := range []dsn.Kind{dsn.Delivered, dsn.Expanded} {
		var list []dsn.Recipient
		for _, t := range p.told {
			if t.kind == kind && !slices.ContainsFunc(list, func(r dsn.Recipient) bool { return r.Final == t.rcpt.Address }) {
				list = append(list, dsn.Recipient{Final: t.rcpt.Address, Original: t.rcpt.Original})
			}
		}
		if len(list) == 0 {
			continue
		}
		if err := p.report(ctx, kind, list); err != nil {
			p.mda.cfg.Log.WarnContext(ctx, "a report of success was not delivered", "event", "dsn", "message_id", p.in.ID,
				"to", p.in.From.String(), "error", err.Error())
			continue
		}
		for _, r := range list {
			p.mda.cfg.Events.Add(events.Event{Kind: events.Reported, Message: p.in.ID, Account: p.in.Account, From: p.in.From.String(),
				Recipient: r.Final.String(), Text: kind.String()})
		}
	}
}

func (p *plan) report(ctx context.Context, kind dsn.Kind, list []dsn.Recipient) error {
	in, cfg := p.in, &p.mda.cfg
	report, body, err := dsn.Compose(&dsn.Report{Kind: kind, ID: mail.NewID(), Ref: in.ID, ReportingMTA: cfg.Hostname,
		To: in.From, EnvelopeID: in.EnvelopeID, ArrivalDate: in.Arrived, DeliverBy: in.DeliverBy, Recipients: list, Return: in.Return, SMTPUTF8: in.SMTPUTF8,
		Original: p.body}, cfg.SpoolDir)
	if err != nil {
		return err
	}
	defer body.Close()
	return p.mda.DeliverIn(ctx, report, body, nil)
}
