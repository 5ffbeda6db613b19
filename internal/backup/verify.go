package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Count is a table in a backup.
type Count struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
}

// Verify reads the whole file: every checksum and digest, and that the rows are
// rows. ErrDamaged.
func (s *Source) Verify(ctx context.Context, progress func(Figures)) (*Manifest, []Count, Figures, error) {
	begin := time.Now()
	var f Figures
	r, m, err := s.read()
	if err != nil {
		return nil, nil, f, err
	}
	defer r.close()
	for _, a := range m.Accounts {
		f.Accounts, f.Messages = f.Accounts+1, f.Messages+a.Messages
	}
	var counts []Count
	_, err = r.tables(func(t Table, rows *rows) error {
		f.Table = t.Name
		scan, err := newScanner(rows, len(t.Columns))
		if err != nil {
			return err
		}
		n := int64(0)
		for ; ; n++ {
			more, err := scan.next()
			if err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
			if !more {
				break
			}
			if n%1000 == 0 {
				if f.File = r.n; progress != nil {
					progress(f)
				}
				if err := ctx.Err(); err != nil {
					return err
				}
			}
		}
		end, err := rows.finish()
		if err != nil {
			return err
		}
		if end.Rows != n {
			return damaged("table %s has %d rows, not %d", t.Name, n, end.Rows)
		}
		f.Rows, f.Bytes = f.Rows+n, f.Bytes+end.Bytes
		counts = append(counts, Count{t.Name, n, end.Bytes})
		return nil
	})
	f.Took, f.File, f.Table = time.Since(begin), s.Size, ""
	return m, counts, f, err
}

// tables gives each table to use, and reads on to the good end of the file.
// What use leaves of a table is read and checked too.
func (r *reader) tables(use func(Table, *rows) error) ([]Sequence, error) {
	var sequences []Sequence
	for {
		kind, payload, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return sequences, nil
		case err != nil:
			return nil, err
		}
		switch kind {
		case kindTable:
			var t Table
			if err := r.decode(payload, &t); err != nil {
				return nil, err
			}
			rows := r.rows()
			if err := use(t, rows); err != nil {
				return nil, err
			}
			if _, err := rows.finish(); err != nil {
				return nil, err
			}
		case kindSequences:
			if err := r.decode(payload, &sequences); err != nil {
				return nil, err
			}
		case kindEnd:
		default:
			return nil, damaged("a frame of kind %q", kind)
		}
	}
}
