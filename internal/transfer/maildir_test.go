package transfer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/storetest"
	"posthouse/internal/transfer"
	"posthouse/mailstore"
)

// dovecotMaildir is a Maildir as Dovecot leaves it.
func dovecotMaildir(t *testing.T) string {
	root := maildir(t, t.TempDir(), "Maildir")
	date := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	put := func(path, text string) {
		write(t, filepath.Join(root, path), text)
		if err := os.Chtimes(filepath.Join(root, path), date, date); err != nil {
			t.Fatal(err)
		}
	}
	put("cur/1.host,S=10:2,FSa", message(1))
	put("cur/2.host:2,RTPb", message(2))
	put("new/3.host", message(3))
	put("new/4.host", "no header at all\x00\xff")
	write(t, filepath.Join(root, "dovecot-keywords"), "0 work\n1 $label1\n")
	// the order of arrival is not that of the names
	write(t, filepath.Join(root, "dovecot-uidlist"), "3 V1580702706 N9 G0123\n5 W120 P0000001 :2.host\n7 :1.host,S=10\n")
	maildir(t, root, ".Sent Items")
	put(".Sent Items/cur/5.host:2,S", message(5))
	maildir(t, root, ".Lists.&AOk-t&AOk-.R&D")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(message(6)))
	w.Close()
	put(".Lists.&AOk-t&AOk-.R&D/cur/6.host:2,D", z.String())
	maildir(t, root, ".Other Users")
	put(".Other Users/cur/7.host:2,", message(7))
	write(t, filepath.Join(root, "subscriptions"), "V\t2\n\nLists\t&AOk-t&AOk-\tR&D\n")
	return root
}

func TestMaildir(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := account(t, s, "alice@example.test")
	root := dovecotMaildir(t)
	f := doImport(t, s, alice, openMaildir(t, root), transfer.Options{DryRun: true}, 7, 0)
	if f.Folders != 4 || len(content(t, s, alice)) != 0 {
		t.Fatalf("a dry run: %+v", f)
	}
	doImport(t, s, alice, openMaildir(t, root), transfer.Options{}, 7, 0)
	line := func(folder, flags string, n int) string {
		return fmt.Sprintf("%s | 2020-02-03T04:05:06Z | %s | %q", folder, flags, crlf(message(n)))
	}
	got := content(t, s, alice)
	same(t, got, []string{
		line("INBOX", "01010 [$Forwarded $label1]", 2), line("INBOX", "00101 [work]", 1), line("INBOX", "00000 []", 3),
		"INBOX | 2020-02-03T04:05:06Z | 00000 [] | \"no header at all\\x00\\xff\"",
		line("Sent", "00001 []", 5), line("Lists/été/R&D", "10000 []", 6), line("Other Users_", "00000 []", 7),
	})
	if !strings.Contains(got[0], "message 2") || !strings.Contains(got[1], "message 1") {
		t.Error("not in the order of Dovecot's UIDs", got)
	}
	subscribed, err := s.Subscriptions(ctx, alice)
	if err != nil || !strings.Contains(strings.Join(subscribed, "|"), "Lists/été/R&D") || strings.Contains(strings.Join(subscribed, "|"), "Other Users_") {
		t.Error(subscribed, err)
	}

	// again: nothing, also after flags changed there and messages were deleted here
	if err := os.Rename(filepath.Join(root, "new/3.host"), filepath.Join(root, "cur/3.host:2,S")); err != nil {
		t.Fatal(err)
	}
	m, err := s.Mailbox(ctx, alice, "Sent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.StoreFlags(ctx, alice, m.ID, mailstore.UIDs(1), mailstore.FlagChange{Flags: mailstore.FlagDeleted}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expunge(ctx, alice, m.ID, nil); err != nil {
		t.Fatal(err)
	}
	doImport(t, s, alice, openMaildir(t, root), transfer.Options{}, 0, 7)
	// what is new comes
	write(t, filepath.Join(root, "new/8.host"), message(8))
	doImport(t, s, alice, openMaildir(t, root), transfer.Options{}, 1, 7)
	// another account knows nothing of that
	doImport(t, s, account(t, s, "bob@example.test"), openMaildir(t, root), transfer.Options{Prefix: "Old/Mail"}, 8, 0)
}

func TestMaildirRoundTrip(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice, bob := account(t, s, "alice@example.test"), account(t, s, "bob@example.test")
	doImport(t, s, alice, openMaildir(t, dovecotMaildir(t)), transfer.Options{}, 7, 0)
	if _, err := s.CreateMailbox(ctx, alice, "a.b/.c&d/ü", mailstore.None); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Deliver(ctx, &mailstore.Delivery{Body: storetest.Body(t, crlf(message(9))), Targets: []mailstore.Target{
		{Account: alice, Mailbox: "a.b/.c&d/ü", Prefix: []byte("Return-Path: <>\r\n"), InternalDate: time.Unix(1e9, 0), Keywords: []string{"$Forwarded", "zap"}}}}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	export := func(put, known int) {
		t.Helper()
		to, err := transfer.NewMaildir(dir, func(s string) { t.Log(s) })
		if err != nil {
			t.Fatal(err)
		}
		f, err := transfer.Export(ctx, s, alice, to, transfer.ExportOptions{})
		if err != nil || f.Imported != put || f.Known != known {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	export(8, 0)
	doImport(t, s, bob, openMaildir(t, dir), transfer.Options{}, 8, 0)
	got, want := content(t, s, bob), content(t, s, alice)
	same(t, got, want)
	// flags that changed meanwhile are brought up to date
	m, err := s.Mailbox(ctx, alice, "Sent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.StoreFlags(ctx, alice, m.ID, mailstore.UIDs(1), mailstore.FlagChange{Flags: mailstore.FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	export(0, 8)
	carol := account(t, s, "carol@example.test")
	doImport(t, s, carol, openMaildir(t, dir), transfer.Options{}, 8, 0)
	same(t, content(t, s, carol), content(t, s, alice))
}

func TestQuota(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := account(t, s, "alice@example.test")
	root := maildir(t, t.TempDir(), "Maildir")
	for n := range 10 {
		write(t, filepath.Join(root, "cur", fmt.Sprintf("%d.host:2,", n)), message(n))
	}
	if _, err := storetest.Pool(t, s).Exec(ctx, `UPDATE account SET quota_messages = 4 WHERE id = $1`, alice); err != nil {
		t.Fatal(err)
	}
	f, err := transfer.Import(ctx, s, alice, openMaildir(t, root), transfer.Options{})
	if !errors.Is(err, mailstore.ErrOverQuota) || f.Imported != 4 {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := storetest.Pool(t, s).Exec(ctx, `UPDATE account SET quota_messages = NULL WHERE id = $1`, alice); err != nil {
		t.Fatal(err)
	}
	doImport(t, s, alice, openMaildir(t, root), transfer.Options{}, 6, 4)
}

// TestInterrupted stops an import again and again and finds each message once.
func TestInterrupted(t *testing.T) {
	s := storetest.Open(t)
	alice := account(t, s, "alice@example.test")
	root := maildir(t, t.TempDir(), "Maildir")
	const n = 3000
	for i := range n {
		write(t, filepath.Join(root, "cur", fmt.Sprintf("%d.host:2,", i)), message(i))
	}
	interrupted := 0
	for stop := 200; ; stop += 700 {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := transfer.Import(ctx, s, alice, openMaildir(t, root), transfer.Options{Progress: func(f transfer.Figures) {
			if f.Imported >= stop {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			break
		}
		interrupted++
	}
	list := content(t, s, alice)
	seen := map[string]bool{}
	for _, m := range list {
		seen[m] = true
	}
	if len(list) != n || len(seen) != n {
		t.Errorf("%d messages, %d of them different, after %d interruptions", len(list), len(seen), interrupted)
	}
	t.Logf("%d interruptions", interrupted)
}
