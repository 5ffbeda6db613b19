package mailstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	notifyChannel = "posthouse_mail"
	// nodeLockClass is the first key of the advisory lock that a node holds on
	// its number for as long as its notifier is connected.
	nodeLockClass = 0x70686e64
	notifyGap     = 5 * time.Millisecond // between two NOTIFY of one process
	notifyBatch   = 300                  // keys in a payload; it holds 8,000 octets
)

// notifier carries changes between processes. It has one connection of its own,
// which listens and, between two waits, notifies: never inside a transaction
// that changes mail, since NOTIFY serialises commits. A notification is a hint;
// the journal is the truth and a slow poll stands behind it.
type notifier struct {
	s    *Store
	conn *pgx.Conn

	mu        sync.Mutex
	pending   map[watchKey]struct{}
	interrupt context.CancelFunc // ends a wait for notifications
	alone     bool               // no other node listens
}

func newNotifier(s *Store) *notifier {
	return &notifier{s: s, pending: map[watchKey]struct{}{}}
}

// connect opens the connection, takes the node's lock, listens, and tells the
// others that there is one more to notify.
func (n *notifier) connect(ctx context.Context) error {
	config := n.s.pool.Config()
	cc := config.ConnConfig.Copy()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, cc); err != nil {
			return err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return err
	}
	var others int
	err = func() error {
		// a notification needs no fsync
		if _, err := conn.Exec(ctx, `SET synchronous_commit = off`); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, int32(nodeLockClass), n.s.node); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, `LISTEN `+notifyChannel); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, `SELECT pg_notify($1, $2)`, notifyChannel, fmt.Sprintf("%d hello", n.s.node)); err != nil {
			return err
		}
		nodes, err := n.s.liveNodes(ctx, conn)
		others = len(nodes) - 1
		return err
	}()
	if err != nil {
		conn.Close(ctx)
		return err
	}
	n.conn = conn
	n.setAlone(others <= 0)
	return nil
}

// liveNodes gives the numbers of the processes whose notifier is connected.
func (s *Store) liveNodes(ctx context.Context, q querier) (map[int32]bool, error) {
	rows, err := q.Query(ctx, `SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objsubid = 2 AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int64(nodeLockClass))
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	live := make(map[int32]bool, len(ids))
	for _, id := range ids {
		live[int32(id)] = true
	}
	return live, err
}

func (n *notifier) setAlone(alone bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alone = alone
	if alone {
		clear(n.pending)
	}
}

// add queues changes for the other processes. It never blocks.
func (n *notifier) add(keys ...watchKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alone {
		return
	}
	for _, key := range keys {
		n.pending[key] = struct{}{}
	}
	if n.interrupt != nil {
		n.interrupt()
	}
}

// run is the notifier's goroutine.
func (n *notifier) run(ctx context.Context) {
	for backoff := 50 * time.Millisecond; ctx.Err() == nil; {
		err := n.serve(ctx)
		n.conn.Close(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return
		}
		n.s.log.WarnContext(ctx, "the notifier lost its connection", "event", "notifier_lost", "err", err)
		for {
			if !pause(ctx, backoff/2+rand.N(backoff)) {
				return
			}
			if err = n.connect(ctx); err == nil {
				break
			}
			backoff = min(2*backoff, 5*time.Second)
		}
		n.s.log.InfoContext(ctx, "the notifier is connected again", "event", "notifier_back")
		backoff = 50 * time.Millisecond
		n.s.hub.publishAll()
	}
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve listens, notifies and polls until the connection breaks or ctx ends.
func (n *notifier) serve(ctx context.Context) error {
	nextPoll, nextSend := time.Now().Add(n.s.opt.Poll), time.Now()
	for {
		until := nextPoll
		wait, cancel := context.WithCancel(ctx)
		n.mu.Lock()
		if len(n.pending) > 0 {
			until = nextSend
		} else {
			n.interrupt = cancel
		}
		n.mu.Unlock()
		bounded, cancelBound := context.WithDeadline(wait, until)
		got, err := n.conn.WaitForNotification(bounded)
		ended := bounded.Err() != nil // interrupted, or time for something else
		cancelBound()
		cancel()
		n.mu.Lock()
		n.interrupt = nil
		n.mu.Unlock()
		switch {
		case err == nil:
			n.heard(got.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case !ended || n.conn.IsClosed():
			return err
		}
		if now := time.Now(); !now.Before(nextSend) {
			if err := n.send(ctx); err != nil {
				return err
			}
			nextSend = now.Add(notifyGap)
		}
		if now := time.Now(); !now.Before(nextPoll) {
			if err := n.poll(ctx); err != nil {
				return err
			}
			nextPoll = now.Add(n.s.opt.Poll)
		}
	}
}

// send notifies of what is pending.
func (n *notifier) send(ctx context.Context) error {
	n.mu.Lock()
	keys := make([]watchKey, 0, len(n.pending))
	for key := range n.pending {
		keys = append(keys, key)
	}
	clear(n.pending)
	n.mu.Unlock()
	for len(keys) > 0 {
		k := min(len(keys), notifyBatch)
		if _, err := n.conn.Exec(ctx, `SELECT pg_notify($1, $2)`, notifyChannel, payload(n.s.node, keys[:k])); err != nil {
			return err
		}
		keys = keys[k:]
	}
	return nil
}

// payload is the node's number and the keys: "7 m12 m13 a4 d99".
func payload(node int32, keys []watchKey) string {
	b := strconv.AppendInt(nil, int64(node), 10)
	for _, key := range keys {
		switch {
		case key.mailbox != 0:
			b = strconv.AppendInt(append(b, " m"...), int64(key.mailbox), 10)
		case key.account != 0:
			b = strconv.AppendInt(append(b, " a"...), int64(key.account), 10)
		default:
			b = strconv.AppendUint(append(b, " d"...), uint64(key.anyone), 10)
		}
	}
	return string(b)
}

// heard takes a notification. What this node said itself it knows already.
func (n *notifier) heard(payload string) {
	from, rest, _ := strings.Cut(payload, " ")
	if from == strconv.Itoa(int(n.s.node)) {
		return
	}
	n.mu.Lock()
	n.alone = false
	n.mu.Unlock()
	var keys []watchKey
	for _, word := range strings.Fields(rest) {
		id, err := strconv.ParseInt(word[1:], 10, 64)
		switch {
		case err != nil: // hello
		case word[0] == 'm':
			keys = append(keys, watchKey{mailbox: MailboxID(id)})
		case word[0] == 'a':
			keys = append(keys, watchKey{account: AccountID(id)})
		case word[0] == 'd':
			keys = append(keys, watchKey{anyone: uint32(id)})
		}
	}
	n.s.hub.publish(keys...)
}

// poll looks who else is there and asks for all watched mailboxes at once.
func (n *notifier) poll(ctx context.Context) error {
	nodes, err := n.s.liveNodes(ctx, n.conn)
	if err != nil {
		return err
	}
	n.setAlone(len(nodes) <= 1)
	ids := n.s.hub.mailboxes()
	if len(ids) == 0 {
		return nil
	}
	rows, err := n.conn.Query(ctx, `SELECT id, CASE WHEN deleted_at IS NULL THEN modseq ELSE 0 END FROM mailbox WHERE id = ANY($1)`, ids)
	if err != nil {
		return err
	}
	var id MailboxID
	var m ModSeq
	_, err = pgx.ForEachRow(rows, []any{&id, &m}, func() error {
		n.s.hub.sawModSeq(id, m)
		return nil
	})
	return err
}
