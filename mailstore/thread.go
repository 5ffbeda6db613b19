package mailstore

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"posthouse/internal/message"
)

// maxThreadRefs bounds how many message-ids of one message are looked at: its
// own, the first of its References (the root), and the last ones.
const maxThreadRefs = 32

// threadKey is the key of a thread_ref row.
type threadKey struct {
	account AccountID
	hash    [16]byte
}

// threadHashes gives the hashes of a message's own id and of those it refers to.
func threadHashes(p *message.Parsed) [][16]byte {
	refs := p.References
	if len(refs) > maxThreadRefs-1 {
		refs = slices.Concat(refs[:1], refs[len(refs)-maxThreadRefs+2:])
	}
	out := make([][16]byte, 0, len(refs)+1)
	for _, id := range append([]string{p.MessageID}, refs...) {
		if id != "" {
			sum := sha256.Sum256([]byte(id))
			out = append(out, [16]byte(sum[:16]))
		}
	}
	slices.SortFunc(out, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out)
}

// threads are the thread_ref rows known to one transaction, and those to add.
type threads struct {
	known map[threadKey]int64
	added []threadKey
}

// assign gives the thread of a message: the oldest that any of its ids belongs
// to, else fresh. All its ids that were unknown belong to it from now on;
// threads that meet never merge.
func (t *threads) assign(acct AccountID, hashes [][16]byte, fresh int64) int64 {
	thread := fresh
	for _, h := range hashes {
		if id, ok := t.known[threadKey{acct, h}]; ok {
			thread = min(thread, id)
		}
	}
	for _, h := range hashes {
		key := threadKey{acct, h}
		if _, ok := t.known[key]; !ok {
			t.known[key] = thread
			t.added = append(t.added, key)
		}
	}
	return thread
}

// rows gives the rows to add, sorted: whoever inserts them does it in this
// order, so that two that insert the same ones wait and never deadlock.
func (t *threads) rows() (accounts []int64, hashes [][]byte, ids []int64) {
	slices.SortFunc(t.added, func(a, b threadKey) int {
		if a.account != b.account {
			return int(a.account - b.account)
		}
		return bytes.Compare(a.hash[:], b.hash[:])
	})
	for _, key := range t.added {
		accounts = append(accounts, int64(key.account))
		hashes = append(hashes, bytes.Clone(key.hash[:]))
		ids = append(ids, t.known[key])
	}
	return accounts, hashes, ids
}
