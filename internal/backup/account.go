package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/klauspost/compress/zstd"

	"posthouse/internal/spool"
	"posthouse/mailstore"
)

// Taking says what is taken from a backup into a site that lives.
type Taking struct {
	Account  string              // its address in the backup
	Messages []int64             // EMAILIDs; none: all of the account
	To       mailstore.AccountID // where it goes
	Below    string              // mailbox that the folders go below; empty: as they were
	SpoolDir string
	DryRun   bool
	Progress func(Figures) // called often; may be nil
}

// Bounds of what is stored in one transaction.
const (
	takeMessages = 100
	takeOctets   = 16 << 20
)

// Take stores messages of a backup in a living site, as new messages with new
// UIDs. Flags, keywords, dates and POP3's ids come along; so do EMAILIDs where
// the site is the one that the backup is of, and a message whose EMAILID the
// account has is left alone. On another site what was taken from this backup's
// site before is left alone. ErrNotFound, mailstore.ErrOverQuota.
//
// Memory grows with the messages that are taken, by some 200 octets for each,
// not with their bodies. An interrupted Take may be repeated.
func (s *Source) Take(ctx context.Context, pool *pgxpool.Pool, store *mailstore.Store, o Taking) (Figures, error) {
	begin := time.Now()
	r, m, err := s.read()
	if err != nil {
		return Figures{}, err
	}
	defer r.close()
	i := slices.IndexFunc(m.Accounts, func(a Account) bool { return a.Address == o.Account })
	if i < 0 {
		return Figures{}, fmt.Errorf("account %s: %w", o.Account, ErrNotFound)
	}
	t := &take{o: o, pool: pool, store: store, m: m, from: m.Accounts[i].ID, f: Figures{Accounts: 1},
		boxes: map[int64]*folder{}, states: map[place]int64{}, bodies: map[int64][]*wanted{}}
	defer t.drop()
	if t.unzip, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2<<20)); err != nil {
		return t.f, fmt.Errorf("start zstd: %w", err)
	}
	defer t.unzip.Close()
	if err := pool.QueryRow(ctx, `SELECT coalesce((SELECT fingerprint = $1 FROM site_key), false)`, m.Fingerprint).Scan(&t.same); err != nil {
		return t.f, fmt.Errorf("compare the sites: %w", err)
	}
	if _, err = r.tables(func(table Table, rows *rows) error { return t.table(ctx, table, rows) }); err == nil {
		err = t.flush(ctx)
	}
	if err == nil && len(o.Messages) > 0 && t.f.Messages+t.f.Known == 0 {
		err = fmt.Errorf("message of %s: %w", o.Account, ErrNotFound)
	}
	t.f.Took, t.f.Table = time.Since(begin), ""
	return t.f, err
}

// place is where a message was.
type place struct{ mailbox, uid int64 }

type folder struct {
	name        string
	uidvalidity int64
	keywords    []string
	made        bool
}

// wanted is a message that is taken.
type wanted struct {
	place
	email  int64
	flags  int64
	prefix []byte
	date   time.Time
	uidl   string
}

type take struct {
	o     Taking
	pool  *pgxpool.Pool
	store *mailstore.Store
	m     *Manifest
	from  int64 // account in the backup
	same  bool  // site
	f     Figures
	unzip *zstd.Decoder

	boxes  map[int64]*folder
	states map[place]int64     // flags
	bodies map[int64][]*wanted // by body
	blob   int64               // whose frames come
	seq    int32
	body   *spool.Spool
	list   []mailstore.Import // to be stored together
	octets int64
}

// drop gives spools back.
func (t *take) drop() {
	if t.body != nil {
		t.body.Close()
	}
	for i := range t.list {
		t.list[i].Body.Close()
	}
	t.body, t.list, t.octets = nil, nil, 0
}

func (t *take) table(ctx context.Context, table Table, rows *rows) error {
	t.f.Table = table.Name
	var err error
	switch table.Name {
	case "mailbox":
		err = t.each(table, rows, []string{"account_id", "id", "name", "uidvalidity", "keywords", "deleted_at"}, t.mailbox)
	case "msg_state":
		err = t.each(table, rows, []string{"account_id", "mailbox_id", "uid", "flags"}, func(f [][]byte) error {
			if number(f[0]) == t.from {
				t.states[place{number(f[1]), number(f[2])}] = number(f[3])
			}
			return nil
		})
	case "message":
		if err = t.each(table, rows, []string{"account_id", "mailbox_id", "uid", "email_id", "blob_id", "prefix", "idate", "idate_zone", "uidl"}, t.message); err == nil {
			t.states = nil
			err = t.skipKnown(ctx)
		}
	case "blob":
		err = t.each(table, rows, []string{"id", "raw_size"}, func(f [][]byte) error {
			if number(f[1]) == 0 && len(t.bodies[number(f[0])]) > 0 {
				return t.whole(ctx, number(f[0]), nil)
			}
			return nil
		})
	case "blob_chunk":
		if err = t.each(table, rows, []string{"blob_id", "seq", "data"}, func(f [][]byte) error { return t.chunk(ctx, f) }); err == nil {
			err = t.ended(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("read table %s: %w", table.Name, err)
	}
	return nil
}

// each gives the named columns of each row.
func (t *take) each(table Table, rows *rows, columns []string, use func([][]byte) error) error {
	at := make([]int, len(columns))
	for i, name := range columns {
		var err error
		if at[i], err = table.column(name); err != nil {
			return err
		}
	}
	scan, err := newScanner(rows, len(table.Columns))
	if err != nil {
		return err
	}
	fields := make([][]byte, len(columns))
	for {
		more, err := scan.next()
		if err != nil || !more {
			return err
		}
		for i, n := range at {
			fields[i] = scan.fields[n]
		}
		if err := use(fields); err != nil {
			return err
		}
	}
}

var types = pgtype.NewMap()

func scan(oid uint32, field []byte, into any) error {
	if err := types.Scan(oid, pgtype.BinaryFormatCode, field, into); err != nil {
		return damaged("a value: %v", err)
	}
	return nil
}

func (t *take) mailbox(f [][]byte) error {
	if number(f[0]) != t.from || f[5] != nil {
		return nil
	}
	box := &folder{name: string(f[2]), uidvalidity: number(f[3])}
	t.boxes[number(f[1])] = box
	return scan(pgtype.TextArrayOID, f[4], &box.keywords)
}

func (t *take) message(f [][]byte) error {
	if number(f[0]) != t.from {
		return nil
	}
	at := place{number(f[1]), number(f[2])}
	flags, lives := t.states[at]
	email := number(f[3])
	if t.boxes[at.mailbox] == nil || !lives || len(t.o.Messages) > 0 && !slices.Contains(t.o.Messages, email) {
		return nil
	}
	w := &wanted{place: at, email: email, flags: flags, prefix: bytes.Clone(f[5]), uidl: string(f[8])}
	if err := scan(pgtype.TimestamptzOID, f[6], &w.date); err != nil {
		return err
	}
	var zone int16
	if err := scan(pgtype.Int2OID, f[7], &zone); err != nil {
		return err
	}
	w.date = w.date.In(time.FixedZone("", int(zone)*60))
	t.bodies[number(f[4])] = append(t.bodies[number(f[4])], w)
	return nil
}

// skipKnown leaves out what the account has: by EMAILID on the same site.
func (t *take) skipKnown(ctx context.Context) error {
	if !t.same {
		return nil
	}
	var ids []int64
	for _, list := range t.bodies {
		for _, w := range list {
			ids = append(ids, w.email)
		}
	}
	rows, err := t.pool.Query(ctx, `SELECT DISTINCT email_id FROM message m JOIN msg_state USING (account_id, mailbox_id, uid) JOIN mailbox b ON b.id = m.mailbox_id
		WHERE m.account_id = $1 AND m.email_id = ANY($2) AND b.deleted_at IS NULL`, t.o.To, ids)
	if err != nil {
		return fmt.Errorf("look for messages that are there: %w", err)
	}
	known := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("look for messages that are there: %w", err)
		}
		known[id] = true
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for messages that are there: %w", err)
	}
	for blob, list := range t.bodies {
		rest := slices.DeleteFunc(list, func(w *wanted) bool { return known[w.email] })
		t.f.Known += int64(len(list) - len(rest))
		if t.bodies[blob] = rest; len(rest) == 0 {
			delete(t.bodies, blob)
		}
	}
	return nil
}

// chunk takes a frame of a body: they come by body and number.
func (t *take) chunk(ctx context.Context, f [][]byte) error {
	id, seq := number(f[0]), int32(0)
	if len(f[1]) == 4 {
		seq = int32(binary.BigEndian.Uint32(f[1]))
	}
	if id != t.blob {
		if err := t.ended(ctx); err != nil {
			return err
		}
		t.blob, t.seq = id, 0
	}
	if len(t.bodies[id]) == 0 {
		return nil
	}
	if seq != t.seq {
		return damaged("frame %d of body %d where %d belongs", seq, id, t.seq)
	}
	t.seq++
	raw, err := t.unzip.DecodeAll(f[2], nil)
	if err != nil {
		return damaged("body %d: %v", id, err)
	}
	if t.body == nil {
		t.body = spool.New(t.o.SpoolDir, spool.Memory)
	}
	if _, err := t.body.Write(raw); err != nil {
		return fmt.Errorf("spool a body: %w", err)
	}
	return nil
}

// ended stores the body whose frames came.
func (t *take) ended(ctx context.Context) error {
	if t.body == nil {
		return nil
	}
	body := t.body
	t.body = nil
	defer body.Close()
	return t.whole(ctx, t.blob, body)
}

// whole takes all messages of a body; nil is an empty one.
func (t *take) whole(ctx context.Context, blob int64, body *spool.Spool) error {
	for _, w := range t.bodies[blob] {
		if err := t.add(ctx, w, body); err != nil {
			return err
		}
	}
	delete(t.bodies, blob)
	return nil
}

func (t *take) add(ctx context.Context, w *wanted, body *spool.Spool) error {
	box := t.boxes[w.mailbox]
	copied := spool.New(t.o.SpoolDir, spool.Memory)
	i := mailstore.Import{Key: t.key(w), Body: copied, Mailbox: t.name(box), InternalDate: w.date, UIDL: w.uidl, Flags: mailstore.Flags(w.flags) & mailstore.SystemFlags}
	t.list = append(t.list, i)
	item := &t.list[len(t.list)-1]
	if t.same {
		item.EmailID = w.email
	}
	for n, name := range box.keywords {
		if w.flags&(1<<(8+n)) != 0 && name != "" {
			item.Keywords = append(item.Keywords, name)
		}
	}
	if _, err := copied.Write(w.prefix); err != nil {
		return fmt.Errorf("spool a body: %w", err)
	}
	if body != nil {
		if _, err := io.Copy(copied, body.NewReader()); err != nil {
			return fmt.Errorf("spool a body: %w", err)
		}
	}
	if err := t.make(ctx, box); err != nil {
		return err
	}
	if t.octets += copied.Size(); len(t.list) >= takeMessages || t.octets >= takeOctets {
		return t.flush(ctx)
	}
	return nil
}

// key is what the account remembers the message by.
func (t *take) key(w *wanted) mailstore.ImportKey {
	sum := sha256.Sum256(fmt.Appendf(nil, "backup %x %d %d %d", t.m.Fingerprint, w.email, w.mailbox, w.uid))
	return mailstore.ImportKey(sum[:16])
}

// name is where the messages of a folder go.
func (t *take) name(f *folder) string {
	if t.o.Below == "" {
		return f.name
	}
	return t.o.Below + "/" + f.name
}

func (t *take) make(ctx context.Context, f *folder) error {
	if f.made || t.o.DryRun {
		return nil
	}
	if !strings.EqualFold(t.name(f), "INBOX") {
		if _, err := t.store.CreateMailbox(ctx, t.o.To, t.name(f), mailstore.None); err != nil && !errors.Is(err, mailstore.ErrMailboxExists) {
			return fmt.Errorf("make the folder %s: %w", t.name(f), err)
		}
	}
	f.made = true
	return nil
}

// flush stores what was gathered.
func (t *take) flush(ctx context.Context) error {
	defer t.drop()
	if t.o.DryRun {
		t.f.Messages, t.f.Bytes = t.f.Messages+int64(len(t.list)), t.f.Bytes+t.octets
		return nil
	}
	if len(t.list) == 0 {
		return nil
	}
	if t.same { // it was taken before and is gone again: it is wanted now
		keys := make([][]byte, len(t.list))
		for i := range t.list {
			keys[i] = t.list[i].Key[:]
		}
		if _, err := t.pool.Exec(ctx, `DELETE FROM import_item WHERE account_id = $1 AND key = ANY($2)`, t.o.To, keys); err != nil {
			return fmt.Errorf("prepare to restore: %w", err)
		}
	}
	out, err := t.store.Import(ctx, t.o.To, t.list)
	if err != nil {
		return fmt.Errorf("restore messages: %w", err)
	}
	var failed error
	for i, o := range out {
		switch {
		case o.Err != nil:
			failed = fmt.Errorf("restore a message in %s: %w", t.list[i].Mailbox, o.Err)
		case o.Known:
			t.f.Known++
		default:
			t.f.Messages, t.f.Bytes = t.f.Messages+1, t.f.Bytes+o.Size
		}
	}
	if t.o.Progress != nil {
		t.o.Progress(t.f)
	}
	return failed
}
