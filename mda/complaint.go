package mda

import (
	"context"
	"errors"
	"strings"
	"time"

	"posthouse/internal/events"
)

// complaintPatience bounds what a feedback report costs after it was stored.
const complaintPatience = 10 * time.Second

// hearComplaint takes a feedback report (RFC 5965), which somebody's provider
// sent to an address here, to heart. The report is stored already, as all mail:
// what goes wrong from here on is only logged.
func (p *plan) hearComplaint(ctx context.Context) {
	log := p.mda.cfg.Events
	if log == nil || len(p.targets) == 0 || !strings.Contains(strings.ToLower(string(p.parsed.BodyStructure)), "feedback-report") {
		return
	}
	report, err := events.ParseARF(p.body.NewReader())
	if errors.Is(err, events.ErrNoReport) {
		return
	}
	var heard []events.Event
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, complaintPatience)
		defer cancel()
		heard, err = log.Complain(ctx, report)
	}
	if err != nil {
		p.mda.cfg.Log.Warn("a complaint was not taken to heart", "event", "complained", "message_id", p.in.ID, "err", err)
		return
	}
	for _, e := range heard {
		p.mda.cfg.Log.Info("a recipient complained", "event", "complained", "message_id", e.Message, "rcpt", e.Recipient)
	}
}
