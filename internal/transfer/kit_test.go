package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/storetest"
	"posthouse/internal/transfer"
	"posthouse/mailstore"
)

// content is all that a transfer must keep, one line a message: folder, date,
// flags, keywords and the octets.
func content(t *testing.T, s *mailstore.Store, account mailstore.AccountID) []string {
	t.Helper()
	ctx := context.Background()
	boxes, err := s.Mailboxes(ctx, account)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range boxes {
		view, _, err := s.Load(ctx, account, m.ID)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Messages(ctx, account, m.ID, view.UIDs(1, view.Len()), mailstore.FieldPrefix, func(msg *mailstore.Message) error {
			seq, _ := view.Seq(msg.UID)
			words := view.Flags(seq).Keywords(view.Keywords())
			sort.Strings(words)
			var b bytes.Buffer
			body := s.OpenBody(ctx, msg)
			if _, err := body.WriteRange(ctx, &b, 0, body.Size()); err != nil {
				return err
			}
			list = append(list, fmt.Sprintf("%s | %s | %05b %v | %q", m.Name, msg.InternalDate.UTC().Format(time.RFC3339),
				view.Flags(seq)&mailstore.SystemFlags, words, b.String()))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// same compares what two accounts hold, in any order within a folder.
func same(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// doImport imports and checks the figures.
func doImport(t *testing.T, s *mailstore.Store, account mailstore.AccountID, source transfer.Source, opt transfer.Options, imported, known int) transfer.Figures {
	t.Helper()
	if opt.Note == nil {
		opt.Note = func(s string) { t.Log(s) }
	}
	f, err := transfer.Import(context.Background(), s, account, source, opt)
	if err != nil {
		t.Fatal(err)
	}
	if f.Imported != imported || f.Known != known {
		t.Fatalf("imported %d, knew %d; want %d and %d", f.Imported, f.Known, imported, known)
	}
	return f
}

func openMaildir(t *testing.T, root string) transfer.Source {
	t.Helper()
	m, err := transfer.OpenMaildir(root)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func openMbox(t *testing.T, path string) transfer.Source {
	t.Helper()
	m, err := transfer.OpenMbox(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// maildir makes an empty Maildir.
func maildir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func message(n int) string {
	return fmt.Sprintf("From: alice@example.test\nSubject: message %d\nMessage-ID: <%d@example.test>\n\nBody %d\n", n, n, n)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func account(t *testing.T, s *mailstore.Store, address string) mailstore.AccountID {
	t.Helper()
	return storetest.Account(t, s, address)
}
