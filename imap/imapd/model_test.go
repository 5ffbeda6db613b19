package imapd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"posthouse/mailstore"
)

// modelSeeds are run by every test; a seed that failed is added.
var modelSeeds = []uint64{1, 2, 3, 4}

// modelFor is the variable that says how long to go on with new seeds: "1h".
const modelFor = "POSTHOUSE_MODEL_FOR"

// TestModel has sessions of two servers on one database run random commands on
// two mailboxes, some of them as another user who has all rights there. Each session keeps what a client keeps, from nothing but what
// it was told; at checkpoints that is what the database holds. On the way every
// response is held against the rules: see [watcher.take]. Odd seeds prune the
// journal meanwhile.
func TestModel(t *testing.T) {
	for _, seed := range modelSeeds {
		if err := runModel(t, seed, 2, ""); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	limit, err := time.ParseDuration(os.Getenv(modelFor))
	if err != nil {
		return // not set: the kept seeds are all
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))
	for end := time.Now().Add(limit); time.Now().Before(end) && !t.Failed(); {
		seed := r.Uint64() % 1_000_000
		if err := runModel(t, seed, 10, ""); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestModelNoticesFaults is the control: a client that misses one response of a
// kind does not pass.
func TestModelNoticesFaults(t *testing.T) {
	for _, miss := range []string{"EXPUNGE", "VANISHED", "EARLIER", "FETCH", "STATUS"} {
		if err := runModel(t, 4, 6, miss); err == nil {
			t.Errorf("a client that missed %s passed", miss)
		} else {
			t.Logf("without %s: %v", miss, err)
		}
	}
}

// runModel runs one seed. One session misses a response of the kind named.
func runModel(t *testing.T, seed uint64, rounds int, miss string) error {
	var failed error
	t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
		const sessions, commands = 10, 12
		s := newSite(t)
		// One of them logs each STORE, and folds late, soon, or only where it must.
		nodes := []*site{s, s.node(func(o *mailstore.Options) {
			o.AtOnce, o.Fold = -1, []time.Duration{50 * time.Millisecond, time.Millisecond, -1}[seed%3]
		})}
		for i := range 10 {
			s.deliver([]string{"INBOX", "Archive"}[i%2], simpleMessage)
		}
		bob := s.account(bobName)
		s.share(bob, mailstore.AddRights)
		all := make([]*watcher, sessions)
		for i := range all {
			all[i] = &watcher{nodes: nodes, r: rand.New(rand.NewPCG(seed, uint64(i))), id: i, held: map[string]*folder{},
				condstore: i%4 >= 1, qresync: i%4 >= 2, visitor: i >= 3 && i <= 5,
				notice: map[int]notice{3: atOnce, 6: atOnce, 7: delayed, 8: atOnce, 9: delayed}[i]}
			if kind := map[int]string{0: "EXPUNGE", 2: "VANISHED EARLIER FETCH", 6: "STATUS"}[i]; miss != "" && strings.Contains(kind, miss) {
				all[i].miss = miss
			}
			if failed = all[i].connect(); failed != nil {
				return
			}
		}
		for round := range rounds {
			var wg sync.WaitGroup
			errs := make([]error, sessions)
			for i, w := range all {
				wg.Go(func() {
					for k := 0; k < commands && errs[i] == nil; k++ {
						errs[i] = w.step()
					}
				})
			}
			if seed%2 == 1 {
				s.prune(round)
			}
			s.share(bob, []mailstore.RightsOp{mailstore.AddRights, mailstore.RemoveRights}[round%2])
			wg.Wait()
			for i, w := range all {
				if errs[i] == nil {
					errs[i] = w.settleAll()
				}
				if errs[i] == nil {
					errs[i] = w.compare(t.Context(), s, seed%2 == 0)
				}
				if errs[i] == nil {
					errs[i] = w.compareOther(t.Context(), s)
				}
				if errs[i] != nil {
					failed = fmt.Errorf("round %d, session %d (condstore %v, qresync %v, notify %d): %w\n%s", round, i, w.condstore, w.qresync, w.notice, errs[i], strings.Join(w.log, "\n"))
					return
				}
			}
		}
	})
	return failed
}

// share gives a user all rights in both mailboxes, or takes one away that the
// model does not use.
func (s *site) share(user mailstore.AccountID, op mailstore.RightsOp) {
	s.t.Helper()
	rights := map[mailstore.RightsOp]mailstore.Rights{mailstore.AddRights: mailstore.AllRights, mailstore.RemoveRights: mailstore.RightPost}[op]
	for _, name := range []string{"INBOX", "Archive"} {
		m, err := s.store.Mailbox(s.t.Context(), s.alice, name)
		if err == nil {
			err = s.store.SetACL(s.t.Context(), m.ID, mailstore.Grantee{Account: user}, op, rights)
		}
		if err != nil {
			s.t.Error(err)
		}
	}
}

// prune cuts the journal of both mailboxes where it stands.
func (s *site) prune(round int) {
	if round%2 == 0 {
		return
	}
	for _, name := range []string{"INBOX", "Archive"} { // one by one, or their locks would be taken in any order
		if _, err := s.pool.Exec(s.t.Context(), `WITH b AS (UPDATE mailbox SET change_floor = coalesce(fold_from - 1, modseq) WHERE name = $1 RETURNING id, change_floor)
			DELETE FROM mailbox_change c USING b WHERE c.mailbox_id = b.id AND c.modseq <= b.change_floor`, name); err != nil {
			s.t.Error(err)
		}
	}
}

// compare holds the session's selected mailbox against the database.
func (w *watcher) compare(ctx context.Context, s *site, modSeqs bool) error {
	var id mailstore.MailboxID
	var keywords []string
	if err := s.pool.QueryRow(ctx, `SELECT id, keywords FROM mailbox WHERE account_id = $1 AND name = $2 AND deleted_at IS NULL`,
		s.alice, w.box.name).Scan(&id, &keywords); err != nil {
		return err
	}
	rows, err := s.pool.Query(ctx, `SELECT uid, flags, modseq FROM msg_now WHERE account_id = $1 AND mailbox_id = $2 ORDER BY uid`, s.alice, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	names := flagNames{table: keywords}
	n := 0
	for ; rows.Next(); n++ {
		var uid uint32
		var flags mailstore.Flags
		var modseq uint64
		if err := rows.Scan(&uid, &flags, &modseq); err != nil {
			return err
		}
		if n >= len(w.box.msgs) {
			return fmt.Errorf("%s: UID %d is not among the session's %d", w.box.name, uid, len(w.box.msgs))
		}
		m := w.box.msgs[n]
		want := sortedFlags(names.text(flags, false))
		if m.uid != uid || m.flags != want || modSeqs && w.condstore && m.modseq != modseq {
			return fmt.Errorf("%s: number %d is UID %d (%s) %d, not UID %d (%s) %d", w.box.name, n+1, uid, want, modseq, m.uid, m.flags, m.modseq)
		}
	}
	if n != len(w.box.msgs) {
		return fmt.Errorf("%s: the session has %d messages, the database %d", w.box.name, len(w.box.msgs), n)
	}
	return rows.Err()
}
