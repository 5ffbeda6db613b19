package mailstore_test

import (
	"context"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// BenchmarkSort sorts and threads a mailbox of 100,000 messages with different
// keys: when nothing is in memory, when all is, and after one more message.
func BenchmarkSort(b *testing.B) {
	ctx := context.Background()
	s, pool := quietWith(b, mailstore.Options{Index: -1, Sweep: -1})
	acct := storetest.Account(b, s, "alice@example.test")
	box := deliverLetters(b, s, acct, 1000)
	for range 99 {
		if _, err := s.Copy(ctx, acct, box, mailstore.UIDsBetween(1, 1000), acct, "INBOX"); err != nil {
			b.Fatal(err)
		}
	}
	for _, sql := range []string{
		`UPDATE message SET sort_subject = md5((uid * 7919)::text), sort_from = 'SENDER' || uid % 5000, sent_at = now() - uid * 7919 % 1000003 * interval '1 second',
			thread_keys = '\x02' || decode(md5(uid::text), 'hex') || decode(md5((uid - 1 - uid % 7)::text), 'hex')`,
		`VACUUM ANALYZE message`,
	} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			b.Fatal(err)
		}
	}
	v, _, err := s.Load(ctx, acct, box)
	if err != nil {
		b.Fatal(err)
	}
	all := v.UIDs(1, v.Len())
	for name, run := range map[string]func() error{
		"SUBJECT": func() error {
			_, err := s.Sort(ctx, acct, box, v, all, []mailstore.SortCriterion{{Key: mailstore.SortSubject}})
			return err
		},
		"REVERSE DATE": func() error {
			_, err := s.Sort(ctx, acct, box, v, all, []mailstore.SortCriterion{{Key: mailstore.SortDate, Reverse: true}})
			return err
		},
		"REFERENCES": func() error {
			_, err := s.Thread(ctx, acct, box, v, all, mailstore.ThreadReferences)
			return err
		},
	} {
		b.Run(name+"/first", func(b *testing.B) {
			for b.Loop() {
				s.ForgetSorts(64 << 20)
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
