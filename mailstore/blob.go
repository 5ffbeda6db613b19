package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"posthouse/internal/spool"
)

// frameSize is how much of a raw message one zstd frame holds, in octets. Any
// range can be read by fetching the frames that it touches.
const frameSize = 256 << 10

// framesAtOnce bounds what a large body takes in memory while it is stored.
const framesAtOnce = 4

// The encoder and decoder are shared; each has one state per processor.
var (
	encoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(frameSize), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true)))
	decoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(2*frameSize)))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options that do not go together: no input leads here
	}
	return v
}

// frames is how many frames a body of size octets has.
func frames(size int64) int { return int((size + frameSize - 1) / frameSize) }

// encodeFrame compresses one frame of a body.
func encodeFrame(body *spool.Spool, n int) ([]byte, error) {
	size := min(frameSize, body.Size()-int64(n)*frameSize)
	raw, ok := body.Bytes()
	if ok {
		raw = raw[int64(n)*frameSize:][:size]
	} else {
		raw = make([]byte, size)
		if _, err := body.ReadAt(raw, int64(n)*frameSize); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read a spooled body: %w", err)
		}
	}
	return encoder.EncodeAll(raw, make([]byte, 0, size/2+64)), nil
}

// insertBlob: codec 1 is independent zstd frames.
const insertBlob = `INSERT INTO blob (id, raw_size, codec, n_chunks, sha256) VALUES ($1, $2, 1, $3, $4)`

// storeBlob inserts a body of any size inside tx, with bounded memory.
func storeBlob(ctx context.Context, tx pgx.Tx, id int64, body *spool.Spool, sum [32]byte) error {
	n := frames(body.Size())
	if _, err := tx.Exec(ctx, insertBlob, id, body.Size(), n, sum[:]); err != nil {
		return err
	}
	for first := 0; first < n; first += framesAtOnce {
		var b pgx.Batch
		for i := first; i < min(first+framesAtOnce, n); i++ {
			z, err := encodeFrame(body, i)
			if err != nil {
				return err
			}
			b.Queue(`INSERT INTO blob_chunk (blob_id, seq, data) VALUES ($1, $2, $3)`, id, i, z)
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
	}
	return nil
}

// HoldBlob makes sure inside tx that a stored body stays until tx has added a
// reference of its own (a row in queue_message). ErrGone.
func (s *Store) HoldBlob(ctx context.Context, tx pgx.Tx, blob int64) error {
	var id int64
	err := tx.QueryRow(ctx, `SELECT id FROM blob WHERE id = $1 FOR KEY SHARE`, blob).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrGone
	}
	return dbError("hold a body", err)
}

// ReleaseBlobs says, in a batch of the transaction that did it, that references
// to bodies were removed: those that nothing refers to any more are collected. A
// row that is there already is updated, that is locked: else the collector could
// take it, still see the reference that this transaction removes, and forget the
// body.
func ReleaseBlobs(b *pgx.Batch, blobs ...int64) { b.Queue(sqlRelease, blobs) }

const sqlRelease = `INSERT INTO blob_gc (blob_id, after) SELECT DISTINCT b, now() FROM unnest($1::bigint[]) b
	ORDER BY b ON CONFLICT (blob_id) DO UPDATE SET after = excluded.after`
