package mda

import (
	"strings"

	"posthouse/internal/events"
	"posthouse/internal/message"
	"posthouse/mailstore"
)

// record tells what became of a message that is committed: that it came, and
// each copy and each recipient elsewhere.
func (p *plan) record(placed []mailstore.Placed) {
	log := p.mda.cfg.Events
	if log == nil {
		return
	}
	in := p.in
	subject, _ := message.Field(p.parsed.HeaderSubset, "Subject")
	log.Add(events.Event{Kind: events.Received, At: in.Arrived, Message: in.ID, Account: in.Account, From: in.From.String(),
		HeaderID: p.parsed.MessageID, Subject: message.DecodeHeader([]byte(subject)), Remote: in.Remote, TLS: in.TLS, Size: p.body.Size()})
	p.recordPlaces(placed)
}

// recordPlaces tells of the copies and the recipients elsewhere alone.
func (p *plan) recordPlaces(placed []mailstore.Placed) {
	log, in := p.mda.cfg.Events, p.in
	if log == nil {
		return
	}
	for i, t := range p.targets {
		e := events.Event{Kind: events.Stored, At: p.committed, Message: in.ID, Account: in.Account, From: in.From.String(), Recipient: p.named[i]}
		if strings.HasPrefix(t.Recipient, elsewhere) {
			e.Kind = events.Captured
		} else if t.Recipient != p.named[i] {
			e.Text = "for " + t.Recipient
		}
		if i < len(placed) && placed[i].Duplicate {
			e.Text = strings.TrimSpace(e.Text + " (sent again, as its first reply was lost; it was stored then)")
		}
		log.Add(e)
	}
	for _, it := range p.items {
		e := events.Event{Kind: events.Queued, At: p.committed, Message: in.ID, Account: in.Account, From: it.From.String()}
		if !it.Via.IsZero() {
			e.Text = "forwarded by " + it.Via.String()
		}
		for _, r := range it.Recipients {
			e.Recipient = r.Address.String()
			log.Add(e)
		}
	}
}
