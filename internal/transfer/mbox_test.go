package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/internal/transfer"
)

const mboxText = `From alice@example.test Mon Feb  3 04:05:06 2020
Subject: one
Status: RO
X-Status: AF
X-Keywords: work, $label1
Content-Length: 99

>From here on
>>From there on
From me, without a date

From you either
last line

From - Mon Feb 03 04:05:06 2020 +0100
X-Mozilla-Status: 1001
X-Mozilla-Status2: 00000000
Subject: two
X-UIDL: abc

From MAILER-DAEMON Mon Feb  3 04:05:06 2020
X-Mozilla-Status: 0009
Subject: deleted in Thunderbird

gone

From MAILER-DAEMON Mon Feb  3 04:05:06 2020
Subject: twin

twin

From MAILER-DAEMON Mon Feb  3 04:05:06 2020
Subject: twin

twin
`

func mboxContent(folder string) []string {
	const at = " | 2020-02-03T04:05:06Z | "
	return []string{
		fmt.Sprintf("%s%s00111 [$label1 work] | %q", folder, at, crlf("Subject: one\n\nFrom here on\n>From there on\nFrom me, without a date\n\nFrom you either\nlast line\n")),
		fmt.Sprintf("%s | 2020-02-03T03:05:06Z | 00001 [$Forwarded] | %q", folder, crlf("Subject: two\nX-UIDL: abc\n\n")),
		fmt.Sprintf("%s%s00000 [] | %q", folder, at, crlf("Subject: twin\n\ntwin\n")),
		fmt.Sprintf("%s%s00000 [] | %q", folder, at, crlf("Subject: twin\n\ntwin\n")),
	}
}

func TestMbox(t *testing.T) {
	s := storetest.Open(t)
	alice := account(t, s, "alice@example.test")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Inbox"), mboxText)
	write(t, filepath.Join(dir, "Inbox.msf"), "// <!-- <mdb:mork:z -->")
	write(t, filepath.Join(dir, "Projects.sbd/House"), mboxText)
	write(t, filepath.Join(dir, "Apple.mbox/mbox"), mboxText)
	write(t, filepath.Join(dir, "notes.txt"), "not mail")
	doImport(t, s, alice, openMbox(t, dir), transfer.Options{}, 12, 0)
	var want []string
	for _, folder := range []string{"INBOX", "Projects/House", "Apple"} {
		want = append(want, mboxContent(folder)...)
	}
	same(t, content(t, s, alice), want)
	doImport(t, s, alice, openMbox(t, dir), transfer.Options{}, 0, 12)
	if _, err := transfer.OpenMbox(filepath.Join(dir, "notes.txt")); err == nil {
		t.Error("a text was taken for an mbox")
	}
}

func TestMboxRoundTrip(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice, bob := account(t, s, "alice@example.test"), account(t, s, "bob@example.test")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in/Inbox"), mboxText)
	write(t, filepath.Join(dir, "in/A.sbd/mbox stuff"), mboxText)
	doImport(t, s, alice, openMbox(t, filepath.Join(dir, "in")), transfer.Options{}, 8, 0)
	out := filepath.Join(dir, "out")
	if f, err := transfer.Export(ctx, s, alice, transfer.NewMbox(out, false), transfer.ExportOptions{}); err != nil || f.Imported != 8 {
		t.Fatalf("%+v, %v", f, err)
	}
	doImport(t, s, bob, openMbox(t, out), transfer.Options{}, 8, 0)
	same(t, content(t, s, bob), content(t, s, alice))
	if _, err := transfer.Export(ctx, s, alice, transfer.NewMbox(out, false), transfer.ExportOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an mbox was written over: %v", err)
	}
}
