package mailstore

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"posthouse/internal/message"
)

// FuzzPack compares what a pack says with a look at each text by itself.
func FuzzPack(f *testing.F) {
	f.Add("one\ntwo\n\nthree", "o", "subject")
	f.Add("X-Tag: x-tag\nx-tag: y", "TAG", "x-tag")
	f.Add("a: a\na: aa\naa: a", "a", "a")
	f.Add("éÉ ſ K\nß", "É", "")
	f.Fuzz(func(t *testing.T, lines, needle, field string) {
		var texts []packText
		var blobs []int64
		for i, line := range strings.Split(lines, "\n") {
			if i == packTexts {
				break
			}
			head := message.AppendHeaderText(nil, []byte(strings.ReplaceAll(line, "|", "\r\n")+"\r\n"))
			texts = append(texts, packText{int64(100 + i), head, []byte(message.Fold(line))})
			blobs = append(blobs, int64(100+i))
		}
		leaves := []textLeaf{newTextLeaf(node{op: SearchBody, needle: message.Fold(needle)}), newTextLeaf(node{op: SearchText, needle: message.Fold(needle)}),
			newTextLeaf(node{op: SearchHeader, field: field, needle: message.Fold(needle)})}
		if len(leaves[0].needle) == 0 {
			return // decided without a look
		}
		var docs []docEntry
		for i, b := range blobs {
			docs = append(docs, docEntry{b, UID(i + 1)})
		}
		m := newMatcher(leaves, newDocTable(docs))
		p := encodePack(7, texts)
		back, err := decodePack(&p)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(texts) {
			t.Fatalf("%v came back as %v, %v", texts, back, err)
		}
		work, free := make(chan *pack, 1), make(chan *pack, 1)
		work <- &p
		close(work)
		r := m.lookAll(work, free, inHeaders(leaves), inBodies(leaves))
		if r.err != nil {
			t.Fatal(r.err)
		}
		for _, h := range r.hits {
			m.masks[h.place] |= h.mask
		}
		for i, text := range texts {
			want := uint64(0)
			if bytes.Contains(text.body, leaves[0].needle) {
				want |= 3
			}
			if bytes.Contains(text.header, leaves[0].needle) {
				want |= 2
			}
			if message.HeaderHasField(text.header, field, message.Fold(needle)) {
				want |= 4
			}
			if got := m.masks[m.docs.place(blobs[i], -1)]; got != want {
				t.Errorf("text %d %v: %b, want %b", i, text, got, want)
			}
		}
	})
}

// TestLookAllPanics: no session contains a panic in these goroutines.
func TestLookAllPanics(t *testing.T) {
	p := encodePack(1, []packText{{100, []byte("\x01subject: one"), []byte("two")}})
	m := &matcher{leaves: []textLeaf{newTextLeaf(node{op: SearchBody, needle: "two"})}} // without documents
	work, free := make(chan *pack, 1), make(chan *pack, 1)
	work <- &p
	close(work)
	if r := m.lookAll(work, free, 0, 1); r.err == nil || len(free) != 1 {
		t.Errorf("%v, %d packs given back", r.err, len(free))
	}
}
