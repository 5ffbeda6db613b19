package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// client is alice's session in emersion's client.
func (s *site) client() *imapclient.Client {
	s.t.Helper()
	c, err := imapclient.DialInsecure(s.addr, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := c.Login(aliceName, password).Wait(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// need fails the test on an error.
func need[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestImapclientMailboxes(t *testing.T) {
	s := newSite(t)
	c := s.client()
	ns := need[*imap.NamespaceData](t)(c.Namespace().Wait())
	if len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("namespace is %+v", ns)
	}
	if err := c.Create("Reisen/Zürich & Basel", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Create("Wichtig", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrImportant}}).Wait(); err != nil {
		t.Fatal(err)
	}
	list := need[[]*imap.ListData](t)(c.List("", "*", &imap.ListOptions{ReturnSubscribed: true, ReturnChildren: true,
		ReturnSpecialUse: true, ReturnStatus: &imap.StatusOptions{NumMessages: true, Size: true, UIDNext: true}}).Collect())
	var names []string
	for _, l := range list {
		names = append(names, fmt.Sprintf("%s %v", l.Mailbox, l.Attrs))
		if l.Status == nil || *l.Status.NumMessages != 0 || *l.Status.Size != 0 || l.Status.UIDNext != 1 {
			t.Errorf("status of %s is %+v", l.Mailbox, l.Status)
		}
	}
	want := []string{
		`INBOX [\Subscribed \HasNoChildren]`,
		`Archive [\Subscribed \HasNoChildren \Archive]`,
		`Drafts [\Subscribed \HasNoChildren \Drafts]`,
		`Junk [\Subscribed \HasNoChildren \Junk]`,
		`Reisen [\Subscribed \HasChildren]`,
		`Reisen/Zürich & Basel [\Subscribed \HasNoChildren]`,
		`Sent [\Subscribed \HasNoChildren \Sent]`,
		`Trash [\Subscribed \HasNoChildren \Trash]`,
		`Wichtig [\Subscribed \HasNoChildren \Important]`,
	}
	if !slices.Equal(names, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	if err := c.Rename("Reisen", "Reisen 2", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	list = need[[]*imap.ListData](t)(c.List("", "Reisen 2/%", &imap.ListOptions{SelectSubscribed: true}).Collect())
	if len(list) != 1 || list[0].Mailbox != "Reisen 2/Zürich & Basel" {
		t.Errorf("after RENAME: %+v", list)
	}
	err := c.Delete("Nowhere").Wait()
	if e, ok := errors.AsType[*imap.Error](err); !ok || e.Code != imap.ResponseCodeNonExistent {
		t.Errorf("DELETE of what is not there: %v", err)
	}
}

func TestImapclientMessages(t *testing.T) {
	s := newSite(t)
	c := s.client()
	at := time.Date(2024, 2, 29, 12, 30, 0, 0, time.FixedZone("", 3600))
	mail := "From: Alice <alice@example.test>\r\nTo: bob@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.test>\r\n\r\nhello\r\n"
	for i := range 3 {
		cmd := c.Append("INBOX", int64(len(mail)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagFlagged, "$Label1"}, Time: at})
		if _, err := io.WriteString(cmd, mail); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Close(); err != nil {
			t.Fatal(err)
		}
		data := need[*imap.AppendData](t)(cmd.Wait())
		if data.UID != imap.UID(i+1) {
			t.Errorf("APPENDUID %d", data.UID)
		}
	}
	sel := need[*imap.SelectData](t)(c.Select("INBOX", nil).Wait())
	if sel.NumMessages != 3 || sel.UIDNext != 4 || !slices.Contains(sel.PermanentFlags, imap.FlagWildcard) {
		t.Errorf("SELECT: %+v", sel)
	}
	section := &imap.FetchItemBodySection{Peek: true}
	part := &imap.FetchItemBodySection{Part: []int{1}, Peek: true, Partial: &imap.SectionPartial{Offset: 1, Size: 3}}
	msgs := need[[]*imapclient.FetchMessageBuffer](t)(c.Fetch(imap.SeqSetNum(2), &imap.FetchOptions{Envelope: true, Flags: true,
		InternalDate: true, RFC822Size: true, UID: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
		BodySection: []*imap.FetchItemBodySection{section, part}}).Collect())
	if len(msgs) != 1 {
		t.Fatalf("%d messages", len(msgs))
	}
	m := msgs[0]
	if m.UID != 2 || m.Envelope.Subject != "Grüße" || m.Envelope.From[0].Addr() != "alice@example.test" || m.RFC822Size != int64(len(mail)) ||
		!m.InternalDate.Equal(at) || !slices.Contains(m.Flags, "$Label1") || m.BodyStructure.MediaType() != "text/plain" {
		t.Errorf("FETCH: %+v", m)
	}
	if !bytes.Equal(m.FindBodySection(section), []byte(mail)) || string(m.FindBodySection(part)) != "ell" {
		t.Errorf("bodies: %q, %q", m.FindBodySection(section), m.FindBodySection(part))
	}

	moved := need[*imapclient.MoveData](t)(c.Move(imap.UIDSetNum(2), "Archive").Wait())
	if src, _ := moved.SourceUIDs.(imap.UIDSet).Nums(); len(src) != 1 || src[0] != 2 {
		t.Errorf("COPYUID: %+v", moved)
	}
	if err := c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	gone := need[[]uint32](t)(c.Expunge().Collect())
	if !slices.Equal(gone, []uint32{1}) {
		t.Errorf("EXPUNGE: %v", gone)
	}
}

func TestImapclientSearch(t *testing.T) {
	s, p := searchSite(t)
	p.run("C: a LOGOUT\nS: * BYE …\nS: a OK …")
	c := s.client()
	need[*imap.SelectData](t)(c.Select("INBOX", nil).Wait())
	found := need[*imap.SearchData](t)(c.UIDSearch(&imap.SearchCriteria{
		Or: [][2]imap.SearchCriteria{{
			{Body: []string{"café"}},
			{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "Grüße"}}},
		}},
		Not: []imap.SearchCriteria{{Flag: []imap.Flag{imap.FlagAnswered}}},
	}, &imap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait())
	if found.Count != 2 || found.All.String() != "3:4" {
		t.Errorf("found %+v", found)
	}
	old := need[*imap.SearchData](t)(c.Search(&imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}}, nil).Wait())
	if got := old.AllSeqNums(); !slices.Equal(got, []uint32{2, 4, 5}) {
		t.Errorf("found %v", got)
	}
}

// IDLE in a client that reads and writes in two goroutines.
func TestImapclientIdle(t *testing.T) {
	s := newSite(t)
	exists := make(chan uint32, 10)
	c, err := imapclient.DialInsecure(s.addr, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				exists <- *data.NumMessages
			}
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(aliceName, password).Wait(); err != nil {
		t.Fatal(err)
	}
	need[*imap.SelectData](t)(c.Select("INBOX", nil).Wait())
	for len(exists) > 0 {
		<-exists
	}
	idle := need[*imapclient.IdleCommand](t)(c.Idle())
	s.deliver("INBOX", "Subject: x\n\nx\n")
	select {
	case n := <-exists:
		if n != 1 {
			t.Errorf("%d EXISTS", n)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no EXISTS in IDLE")
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
}
