package mda_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
)

// TestComplaint: a provider's feedback report about mail that was sent from
// here is heard where it arrives, and stored as all mail.
func TestComplaint(t *testing.T) {
	h := open(t, false)
	ctx := t.Context()
	err := pgx.BeginFunc(ctx, h.pool, func(tx pgx.Tx) error {
		return h.events.AddTx(ctx, tx,
			events.Event{Kind: events.Received, Message: "sent1", HeaderID: "<sent1@example.test>", Account: h.alice, From: "alice@example.test"},
			events.Event{Kind: events.Delivered, Message: "sent1", Account: h.alice, Recipient: "carol@example.org"})
	})
	if err != nil {
		t.Fatal(err)
	}
	report := strings.ReplaceAll(`From: <fbl@example.org>
To: alice@example.test
Subject: FW: Offer
MIME-Version: 1.0
Content-Type: multipart/report; report-type=Feedback-Report; boundary=b

--b
Content-Type: text/plain

This is a report.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Example/1
Version: 1
Original-Rcpt-To: carol@example.org
--b
Content-Type: message/rfc822

From: alice@example.test
To: carol@example.org
Message-ID: <sent1@example.test>
Subject: Offer

buy
--b--
`, "\n", "\r\n")
	settle, err := h.deliver(incoming("alice@example.test"), report)
	if err != nil {
		t.Fatal(err)
	}
	settle(true)
	list, err := h.events.Events(ctx, "sent1")
	if err != nil {
		t.Fatal(err)
	}
	if last := list[len(list)-1]; last.Kind != events.Complained || last.Recipient != "carol@example.org" {
		t.Errorf("the record ends with %+v", last)
	}
	if len(h.inbox(h.alice)) != 1 {
		t.Error("the report is not in the mailbox")
	}
}
