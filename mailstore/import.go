package mailstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/spool"
)

// MaxImport is how many messages one Import takes at most; the caller bounds
// their octets.
const MaxImport = 1000

// ImportKey names a message at its source, so that it is imported once: a hash
// of where it came from and of its id or content there.
type ImportKey [16]byte

// Import is one message of another mail store.
type Import struct {
	Key          ImportKey
	Body         *spool.Spool // read, never closed
	Mailbox      string       // must exist
	Flags        Flags        // system flags
	Keywords     []string     // those beyond what a mailbox can have are left out
	InternalDate time.Time    // zero: now
	UIDL         string       // for POP3; empty: UIDVALIDITY.UID
	EmailID      int64        // of a message of this site that comes back; 0: a new one
}

// Imported says what became of one Import.
type Imported struct {
	Placed    Placed
	Known     bool // it was imported before; nothing was stored
	Err       error
	NoKeyword []string // keywords for which the mailbox had no room
	Size      int64
}

const sqlImportNote = `INSERT INTO import_item (account_id, key) SELECT $1, k FROM unnest($2::bytea[]) AS t(k) ORDER BY k ON CONFLICT DO NOTHING RETURNING key`

// ImportedBefore gives those of the keys that were imported into the account,
// whatever became of the messages since: who deletes one does not want it back.
func (s *Store) ImportedBefore(ctx context.Context, acct AccountID, keys []ImportKey) (map[ImportKey]bool, error) {
	rows, err := s.pool.Query(ctx, `SELECT key FROM import_item WHERE account_id = $1 AND key = ANY($2)`, acct, keyBytes(keys))
	if err != nil {
		return nil, dbError("look for imported messages", err)
	}
	known, err := collectKeys(rows)
	return known, dbError("look for imported messages", err)
}

// ForgetImports lets the account's messages be imported once more. It gives
// how many were noted.
func (s *Store) ForgetImports(ctx context.Context, acct AccountID) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM import_item WHERE account_id = $1`, acct)
	return tag.RowsAffected(), dbError("forget imports", err)
}

func keyBytes(keys []ImportKey) [][]byte {
	list := make([][]byte, len(keys))
	for i := range keys {
		list[i] = keys[i][:]
	}
	return list
}

func collectKeys(rows pgx.Rows) (map[ImportKey]bool, error) {
	keys := map[ImportKey]bool{}
	var key []byte
	_, err := pgx.ForEachRow(rows, []any{&key}, func() error {
		if len(key) != len(ImportKey{}) {
			return fmt.Errorf("an import key of %d octets", len(key))
		}
		keys[ImportKey(key)] = true
		return nil
	})
	return keys, err
}

// Import stores messages of another mail store in one transaction, together
// with the note that they were: when it fails, or the process dies, none was,
// and doing it again stores each once. Those noted before are left alone. Each
// message has its own outcome: Err is ErrOverQuota or ErrNoMailbox.
//
// Deliveries to the account wait meanwhile; no other account does.
func (s *Store) Import(ctx context.Context, acct AccountID, list []Import) ([]Imported, error) {
	if len(list) == 0 || len(list) > MaxImport {
		return nil, fmt.Errorf("mailstore: an import of %d messages", len(list))
	}
	items, err := s.importItems(ctx, acct, list)
	if err != nil {
		return nil, err
	}
	release, err := s.commits.enter(ctx, acct)
	if err != nil {
		return nil, err
	}
	defer release()
	var r rowSet
	var out []Imported
	err = s.inTx(ctx, "import", func(tx pgx.Tx) error {
		r, out = rowSet{}, make([]Imported, len(list))
		for i := range list {
			out[i].Size = list[i].Body.Size()
		}
		return s.importTx(ctx, tx, acct, list, items, out, &r)
	})
	if err != nil {
		return nil, err
	}
	for i, it := range items {
		if out[i].Err == nil && !out[i].Known {
			out[i].Placed = it.placed[0]
		}
	}
	if len(r.of) > 0 {
		s.handOver(r.items)
		s.changed(r.touched()...)
		s.textsAdded()
	}
	return out, nil
}

// enter takes the account's turn, as a delivery that goes alone does.
func (c *committer) enter(ctx context.Context, acct AccountID) (release func(), err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	c.running.Add(1)
	c.mu.Unlock()
	turn, err := c.turns.take(ctx, []AccountID{acct})
	if err != nil {
		c.running.Done()
		return nil, dbError("import", err)
	}
	return func() {
		turn()
		c.running.Done()
	}, nil
}

// importItems parses and compresses all of them, on all processors.
func (s *Store) importItems(ctx context.Context, acct AccountID, list []Import) ([]*item, error) {
	items, errs := make([]*item, len(list)), make([]error, len(list))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		wg.Go(func() {
			for i := range next {
				m := &list[i]
				items[i], errs[i] = s.newItem(ctx, &Delivery{Body: m.Body, Targets: []Target{{
					Account: acct, Mailbox: m.Mailbox, NoFallback: true, Flags: m.Flags, Keywords: m.Keywords,
					InternalDate: m.InternalDate, UIDL: m.UIDL,
				}}})
				if errs[i] == nil && m.EmailID != 0 {
					items[i].targets[0].email = m.EmailID
				}
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
	return items, errors.Join(errs...)
}

// importTx does the work of Import inside tx.
func (s *Store) importTx(ctx context.Context, tx pgx.Tx, acct AccountID, list []Import, items []*item, out []Imported, r *rowSet) error {
	fresh, p, err := s.importAsk(ctx, tx, acct, list, items)
	if err != nil {
		return err
	}
	var refused [][]byte
	for i, it := range items {
		key := list[i].Key
		if out[i].Known = !fresh[key]; out[i].Known {
			continue
		}
		delete(fresh, key) // the same key twice in one list is the same message
		if out[i].Err = s.decide(ctx, p, it); out[i].Err != nil {
			refused = append(refused, key[:])
			continue
		}
		if err := s.importBody(ctx, tx, it, r); err != nil {
			return err
		}
	}
	if len(refused) > 0 { // not imported: they come again when there is room
		if _, err := tx.Exec(ctx, `DELETE FROM import_item WHERE account_id = $1 AND key = ANY($2)`, acct, refused); err != nil {
			return err
		}
	}
	if len(r.of) == 0 {
		return nil
	}
	if err := importKeywords(ctx, tx, items, out, r); err != nil {
		return err
	}
	return s.importRows(ctx, tx, p, r)
}

// importAsk notes the keys and asks what the delivery of the items needs to
// know. fresh are the keys that were not noted before.
func (s *Store) importAsk(ctx context.Context, tx pgx.Tx, acct AccountID, list []Import, items []*item) (fresh map[ImportKey]bool, p *place, err error) {
	keys := make([]ImportKey, len(list))
	for i := range list {
		keys[i] = list[i].Key
	}
	var b pgx.Batch
	b.Queue(fmt.Sprintf(`SET LOCAL lock_timeout = %d`, lockPatience.Milliseconds()))
	b.Queue(sqlImportNote, acct, keyBytes(keys)).Query(func(rows pgx.Rows) (err error) {
		fresh, err = collectKeys(rows)
		return err
	})
	p = s.learn(&b, items)
	return fresh, p, tx.SendBatch(ctx, &b).Close()
}

// importBody adds an item to the rows; a body of several frames is stored at once.
func (s *Store) importBody(ctx context.Context, tx pgx.Tx, it *item, r *rowSet) error {
	small := frames(it.d.Body.Size()) <= 1
	r.add(it, small)
	if !small {
		if err := storeBlob(ctx, tx, it.blob, it.d.Body, it.sum); err != nil {
			return err
		}
	}
	return nil
}

// importRows inserts the messages.
func (s *Store) importRows(ctx context.Context, tx pgx.Tx, p *place, r *rowSet) error {
	var b pgx.Batch
	put := 0
	r.queue(&b, sqlAppendOwn, s.node, &put)
	for _, it := range r.items {
		if it.extra > 0 { // after the body's row
			b.Queue(`INSERT INTO blob_wire (blob_id, extra) VALUES ($1, $2)`, it.blob, it.extra)
		}
	}
	if accounts, hashes, threads := p.threads.rows(); len(accounts) > 0 {
		b.Queue(sqlThreadRefs, accounts, hashes, threads)
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if put != len(r.of) {
		clearPlaced(r)
		return ErrNoMailbox // one was deleted under our hands
	}
	return nil
}

// importKeywords is placeKeywords for many messages: a keyword for which there
// is no room is left out, the message is not.
func importKeywords(ctx context.Context, tx pgx.Tx, items []*item, out []Imported, r *rowSet) error {
	wanted := map[MailboxID][]string{}
	for _, t := range r.of {
		for _, name := range t.Keywords {
			if !slices.Contains(wanted[t.mailbox], name) {
				wanted[t.mailbox] = append(wanted[t.mailbox], name)
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	boxes, err := lockMailboxes(ctx, tx, r.touched()...)
	if err != nil {
		return err
	}
	for id, names := range wanted {
		m := boxes[id]
		if err := makeKeywords(ctx, tx, &m, names); err != nil {
			return err
		}
		boxes[id] = m
	}
	index := make(map[*target]int, len(items))
	for i, it := range items {
		index[&it.targets[0]] = i
	}
	for i, t := range r.of {
		t.keyword = 0
		table := boxes[t.mailbox].Keywords
		for _, name := range t.Keywords {
			clean := cleanText(name)
			n := slices.IndexFunc(table, func(k string) bool { return k != "" && strings.EqualFold(k, clean) })
			if n < 0 {
				o := &out[index[t]]
				o.NoKeyword = append(o.NoKeyword, name)
				continue
			}
			t.keyword |= KeywordFlag(n)
		}
		r.flags[i] |= int64(t.keyword)
	}
	return nil
}

// makeKeywords adds as many of the names to the locked mailbox as it can have.
// Those that it has are asked for together: a slot that no message uses yet must
// not be taken for free by the next name.
func makeKeywords(ctx context.Context, tx pgx.Tx, m *Mailbox, names []string) error {
	_, err := keywordBits(ctx, tx, m, names, true)
	if !errors.Is(err, ErrTooManyKeywords) {
		return err
	}
	known := func(name string) bool {
		return slices.ContainsFunc(m.Keywords, func(k string) bool { return strings.EqualFold(k, cleanText(name)) })
	}
	var have []string
	full := 0
	for _, name := range names {
		if full >= 3 && !known(name) {
			continue // each further question reads the flags of the whole mailbox
		}
		_, err := keywordBits(ctx, tx, m, append(have, name), true)
		switch {
		case err == nil:
			have = append(have, name)
		case errors.Is(err, ErrTooManyKeywords):
			full++
		default:
			return err
		}
	}
	return nil
}
