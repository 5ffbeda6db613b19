package mailstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

func mailText(n int) string {
	return fmt.Sprintf("From: alice@example.test\r\nTo: bob@example.test\r\nSubject: message %d\r\nMessage-ID: <%d@example.test>\r\n\r\nBody %d\r\n%s",
		n, n, n, strings.Repeat("0123456789abcdef\r\n", n%50))
}

func TestDeliver(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	placed, err := s.Deliver(ctx, &mailstore.Delivery{Body: storetest.Body(t, mailText(1)), Targets: []mailstore.Target{
		{Account: alice, Mailbox: "inbox", Prefix: []byte("Delivered-To: alice@example.test\r\n")},
		{Account: bob, Mailbox: "Nowhere", Flags: mailstore.FlagSeen, Keywords: []string{"$label1"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range placed {
		if p.Name != "INBOX" || p.UID != 1 || p.UIDValidity == 0 || p.EmailID == 0 || p.ModSeq < 2 {
			t.Errorf("target %d: %+v", i, p)
		}
	}
	m, err := s.Mailbox(ctx, bob, "INBOX")
	if err != nil || m.Messages != 1 || m.Unseen != 0 || m.UIDNext != 2 || len(m.Keywords) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}
