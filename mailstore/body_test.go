package mailstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"posthouse/internal/spool"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

func TestBodies(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	const frame = 256 << 10
	rng := rand.NewChaCha8([32]byte{1})
	prefix := "Return-Path: <bob@example.test>\r\n"
	for _, size := range []int{0, 1, 1000, frame - 1, frame, frame + 1, 3*frame + 77} {
		raw := make([]byte, size)
		if _, err := rng.Read(raw); err != nil {
			t.Fatal(err)
		}
		sp := spool.New(t.TempDir(), spool.Memory)
		if _, err := sp.Write(raw); err != nil {
			t.Fatal(err)
		}
		placed, err := s.Deliver(ctx, &mailstore.Delivery{Body: sp, Targets: []mailstore.Target{{Account: alice, Mailbox: "INBOX", Prefix: []byte(prefix)}}})
		if err := errors.Join(err, sp.Close()); err != nil {
			t.Fatal(err)
		}
		want := append([]byte(prefix), raw...)
		err = s.Messages(ctx, alice, box, mailstore.UIDs(placed[0].UID), mailstore.FieldPrefix, func(m *mailstore.Message) error {
			if m.Size != int64(len(want)) {
				t.Errorf("%d octets: size %d", size, m.Size)
			}
			b := s.OpenBody(ctx, m)
			got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d octets: %d read, %v", size, len(got), err)
			}
			for range 20 {
				off := rand.IntN(len(want))
				n := rand.IntN(2 * frame)
				var buf bytes.Buffer
				k, err := b.WriteRange(ctx, &buf, int64(off), int64(n))
				if end := min(off+n, len(want)); err != nil || int(k) != end-off || !bytes.Equal(buf.Bytes(), want[off:end]) {
					t.Errorf("%d octets: range %d+%d gave %d, %v", size, off, n, k, err)
				}
			}
			if n, err := b.ReadAt(make([]byte, 10), b.Size()-3); n != 3 || !errors.Is(err, io.EOF) {
				t.Errorf("%d octets: read beyond the end: %d, %v", size, n, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	var list []*mailstore.Message
	if err := s.Messages(ctx, alice, box, mailstore.UIDsBetween(1, 99), mailstore.FieldPrefix, func(m *mailstore.Message) error {
		list = append(list, m)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Bodies(ctx, list, func(m *mailstore.Message, b *mailstore.BodyReader) error {
		all, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if int64(len(all)) != m.Size || !strings.HasPrefix(string(all), prefix) {
			t.Errorf("uid %d: %d octets", m.UID, len(all))
		}
		n++
		return err
	}); err != nil || n != 7 {
		t.Errorf("%d bodies at once, %v", n, err)
	}
}

// Pages of messages: whatever the shape of the set, each message comes once, in order.
func TestMessagePages(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	storetest.Append(t, s, alice, "INBOX", mailText(1), 0)
	for n := 1; n < 4096; n *= 2 { // COPY onto itself doubles it
		if _, err := s.Copy(ctx, alice, box, mailstore.UIDsBetween(1, 5000), alice, "INBOX"); err != nil {
			t.Fatal(err)
		}
	}
	var odd, runs, mixed mailstore.UIDSet
	for u := mailstore.UID(1); u < 5000; u += 2 {
		odd.Add(u)
	}
	for u := mailstore.UID(1); u < 5000; u += 7 {
		runs.AddRange(u, u+4)
	}
	mixed = mailstore.UIDsBetween(2, 2500).Union(odd)
	for _, set := range []mailstore.UIDSet{nil, mailstore.UIDs(7), mailstore.UIDsBetween(1, 4294967295), mailstore.UIDsBetween(4000, 4294967295), odd, runs, mixed} {
		var got mailstore.UIDSet
		last := mailstore.UID(0)
		err := s.Messages(ctx, alice, box, set, 0, func(m *mailstore.Message) error {
			if m.UID <= last {
				t.Fatalf("uid %d after %d", m.UID, last)
			}
			last = m.UID
			got.Add(m.UID)
			return nil
		})
		if want := set.Intersect(mailstore.UIDsBetween(1, 4096)); err != nil || got.String() != want.String() {
			t.Errorf("%.40s: got %.40s, %v", want, got, err)
		}
	}
	stop := errors.New("stop")
	if err := s.Messages(ctx, alice, box, odd, 0, func(*mailstore.Message) error { return stop }); err != stop {
		t.Errorf("an error of yield: %v", err)
	}
}
