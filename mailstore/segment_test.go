package mailstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/message"
)

func TestEachWord(t *testing.T) {
	long := strings.Repeat("X", maxWord+1)
	for _, test := range []struct {
		text, words string
		long        bool
	}{
		{"plain words, and more", "PLAIN WORDS AND MORE", false},
		{"under_score re-use it's 3.14 ½", "UNDER_SCORE RE USE IT S 3 14 1 2", false},
		{"café É", "CAFE\u0301 E\u0301", false},
		{"日本語 日", "日本 本語 日", false},
		{"ガギ abc漢字def 한국어", "カ\u3099 \u3099キ キ\u3099 ABC 漢字 DEF 한국 국어", false},
		{"ラーメン", "ラー ーメ メン", false},
		{"👍 ok👍ok ...", "OK OK", false},
		{"a" + long + " b " + long[1:], "B " + long[1:], true},
		{"", "", false},
	} {
		var words []string
		if long := eachWord([]byte(message.Fold(test.text)), func(w []byte) { words = append(words, string(w)) }); long != test.long {
			t.Errorf("%q: long is %v", test.text, long)
		}
		if got := strings.Join(words, " "); got != test.words {
			t.Errorf("%q: %q, want %q", test.text, got, test.words)
		}
	}
}

func TestPieces(t *testing.T) {
	for _, test := range []struct {
		needle, want string // first and last as ^ and $
		exact        bool
	}{
		{"word", "WORD", true},
		{"a_1", "A_1", true},
		{"two words", "TWO$ ^WORDS", false},
		{" word", "^WORD", false},
		{"word.", "WORD$", false},
		{"a b c", "A$ ^B$ ^C", false},
		{"日", "日", true},
		{"日本", "^日本$", true},
		{"日本語", "^日本$ ^本語$", false},
		{"x日本", "X$ ^日本$", false},
		{"x日", "X$ ^日", false},
		{"x日y", "X$ ^日$ ^Y", false},
		{"👍", "", false},
		{" ", "", false},
	} {
		list, exact := pieces(message.Fold(test.needle))
		var got []string
		for _, p := range list {
			text := p.text
			if p.first {
				text = "^" + text
			}
			if p.last {
				text += "$"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != test.want || exact != test.exact {
			t.Errorf("%q: %q, exact %v", test.needle, got, exact)
		}
	}
}

// segmentOf builds a segment of texts, a few to a pack, as it comes back from
// the database, and its post.
func segmentOf(t testing.TB, firstNo int64, texts [][]byte, blobs []int64) (*segment, []byte) {
	t.Helper()
	b := newSegmentBuilder(firstNo)
	no := firstNo
	for len(texts) > 0 {
		n := min(len(texts), 1+int(no)%3)
		packed := append(bytes.Join(texts[:n], []byte{0}), 0)
		if err := b.add(no, blobs[:n], packed, packed); err != nil {
			t.Fatal(err)
		}
		texts, blobs, no = texts[n:], blobs[n:], no+int64(n)
	}
	s, row := b.finish(no)
	return stored(t, s, row)
}

// stored gives what reading the row gives, which has to be s.
func stored(t testing.TB, s *segment, row *segmentRow) (*segment, []byte) {
	t.Helper()
	back := &segment{id: s.id, firstNo: s.firstNo, span: s.span}
	if err := decodeSegment(back, row); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(back) != fmt.Sprint(s) {
		t.Fatalf("segment came back as\n%v\nnot\n%v", back, s)
	}
	return back, row.post
}

// checkNeedle compares what a segment says about a needle, in headers and in
// bodies, with its texts, which are both.
func checkNeedle(t *testing.T, s *segment, post []byte, texts map[int64][]byte, needle string) (hits int) {
	t.Helper()
	for _, head := range []bool{false, true} {
		plan := wordPlan{head: head}
		if plan.pieces, plan.exact = piecesOf(needle); len(plan.pieces) > 0 {
			hits += checkPlan(t, s, post, texts, needle, plan)
		} else if needle != "" {
			t.Errorf("segments say nothing about %q", needle)
		}
	}
	return hits
}

func checkPlan(t *testing.T, s *segment, post []byte, texts map[int64][]byte, needle string, plan wordPlan) (hits int) {
	t.Helper()
	h := s.find([]wordPlan{plan})
	for i := range h.ranges {
		r := &h.ranges[i]
		r.post = post[s.blocks[r.first].post:s.blocks[r.end].post]
	}
	found, err := h.texts(h.words)
	if err != nil {
		t.Fatal(err)
	}
	for o, blob := range s.blobs {
		in, want := found.has(int32(o)), bytes.Contains(texts[blob], []byte(needle))
		doubtful := slices.Contains(s.long, int32(o))
		if in {
			hits++
		}
		if want && !in && !doubtful || in && !want && plan.exact {
			t.Errorf("%q in %q: %v, pieces %v, exact %v", needle, texts[blob], in, plan.pieces, plan.exact)
		}
	}
	return hits
}

// checkMerge merges segments and compares the outcome with one that is built of
// the same texts.
func checkMerge(t *testing.T, parts []*segment, posts [][]byte, texts map[int64][]byte, dead map[int64]bool) (*segment, []byte) {
	t.Helper()
	merged, row, err := mergeSegments(parts, posts, func(_, blob int64) bool { return dead[blob] })
	if err != nil {
		t.Fatal(err)
	}
	b := newSegmentBuilder(parts[0].firstNo)
	for _, p := range parts {
		for i, pk := range p.packs {
			var blobs []int64
			var packed []byte
			for _, blob := range p.blobs[pk.first:p.packEnd(i)] {
				if !dead[blob] {
					blobs, packed = append(blobs, blob), append(append(packed, texts[blob]...), 0)
				}
			}
			if len(blobs) == 0 {
				continue
			}
			if err := b.add(pk.no, blobs, packed, packed); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := parts[len(parts)-1]
	want, wantRow := b.finish(last.firstNo + last.span)
	if fmt.Sprint(merged) != fmt.Sprint(want) || fmt.Sprint(row) != fmt.Sprint(wantRow) {
		t.Fatalf("merged %v, built %v", merged, want)
	}
	return stored(t, merged, row)
}

// FuzzSegment compares segments, and what becomes of them when they are merged
// and compacted, with a look at each text.
func FuzzSegment(f *testing.F) {
	f.Add("one two|two three|it's re-use|under_score", "two")
	f.Add("日本語 テスト|中文 漢字|abc漢字def|日|本", "日")
	f.Add("日本語|本語日本|日x本", "日本語")
	f.Add("한국어 ไทย|ภาษาไทย|ガギグ", "ไทย")
	f.Add("café cafe\u0301|ﬁne|ſpecial", "É")
	f.Add("👍 ok|ok👍|👍👍", "k👍")
	f.Add(strings.Repeat("x", 200)+"|"+strings.Repeat("x", 128)+"|x y", strings.Repeat("x", 128))
	f.Add("a b|a  b|ab|b a", " b")
	f.Add("of the|of  the|often, the|soof theory|off the", "f th")
	f.Add("foo-bar|foo - bar|a@b.c|za@b.cz|a@b", "a@b.c")
	f.Add("----------------------------------------x|a----|"+strings.Repeat("=-", 40), strings.Repeat("-", 18)+"x")
	f.Add("——————————————— a|"+strings.Repeat("…—", 30)+"b|x", strings.Repeat("—…", 6))
	f.Add(strings.Repeat("- ", 3000)+"|-", "- -")
	f.Add("\xff\xfe broken|\xe6\x97", "\xe6")
	f.Fuzz(func(t *testing.T, lines, needle string) {
		if len(lines) > 4<<10 {
			return
		}
		needle = message.Fold(needle)
		texts := map[int64][]byte{}
		var all [][]byte
		var blobs []int64
		for i, line := range strings.Split(lines, "|") {
			text := []byte(message.Fold(line))
			if i%7 == 6 && len(text) > 1 {
				text = text[:len(text)-1] // as texts beyond their limit end
			}
			all, blobs = append(all, text), append(blobs, int64(1000-i*i))
			texts[int64(1000-i*i)] = text
		}
		var parts []*segment
		var posts [][]byte
		no := int64(5)
		for i := 0; i < len(all); i += 3 {
			end := min(i+3, len(all))
			s, post := segmentOf(t, no, all[i:end], blobs[i:end])
			checkNeedle(t, s, post, texts, needle)
			parts, posts, no = append(parts, s), append(posts, post), no+int64(end-i)
		}
		s, post := checkMerge(t, parts, posts, texts, nil)
		checkNeedle(t, s, post, texts, needle)
		dead := map[int64]bool{}
		for i, blob := range blobs {
			dead[blob] = (i*i+len(needle))%3 == 0
		}
		s, post = checkMerge(t, []*segment{s}, [][]byte{post}, texts, dead)
		checkNeedle(t, s, post, texts, needle)
	})
}

// TestSegmentRandom does the same with more texts: bitmaps, many blocks.
func TestSegmentRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	alphabet := []rune("eeeetaoin_0 .,--日本語ไท한😀é")
	text := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteRune(alphabet[r.IntN(len(alphabet))])
		}
		return message.Fold(b.String())
	}
	texts := map[int64][]byte{}
	var parts []*segment
	var posts [][]byte
	no := int64(0)
	for range 4 {
		var all [][]byte
		var blobs []int64
		for range 150 {
			blob := int64(len(texts) + 1)
			texts[blob] = []byte(text(r.IntN(200)))
			all, blobs = append(all, texts[blob]), append(blobs, blob)
		}
		s, post := segmentOf(t, no, all, blobs)
		parts, posts, no = append(parts, s), append(posts, post), no+s.span
	}
	dead := map[int64]bool{}
	for blob := range texts {
		dead[blob] = r.IntN(4) == 0
	}
	merged, post := checkMerge(t, parts, posts, texts, nil)
	compacted, rest := checkMerge(t, []*segment{merged}, [][]byte{post}, texts, dead)
	hits := 0
	for range 600 {
		needle := text(1 + r.IntN(5))
		hits += checkNeedle(t, parts[0], posts[0], texts, needle)
		hits += checkNeedle(t, merged, post, texts, needle)
		hits += checkNeedle(t, compacted, rest, texts, needle)
	}
	if hits < 1000 {
		t.Errorf("%d hits", hits)
	}
}

// FuzzSegmentDecode reads damaged rows: an error, never a panic.
func FuzzSegmentDecode(f *testing.F) {
	b := newSegmentBuilder(0)
	if err := b.add(0, []int64{7, 9}, []byte("ONE TWO\x00TWO THREE\x00"), []byte("\x01HEAD: ONE\x00\x00")); err != nil {
		f.Fatal(err)
	}
	_, row := b.finish(2)
	f.Add(row.ids, []byte("\x00ONE\x00THREE\x00TWO\x00"), row.skips, row.post)
	f.Fuzz(func(t *testing.T, ids, vocab, skips, post []byte) {
		s := &segment{}
		if decodeSegment(s, &segmentRow{ids, vocabEncoder.EncodeAll(vocab, nil), skips, post}) != nil {
			return
		}
		for _, needle := range []string{"O", "TWO", " ONE", "ONE ", "A B"} {
			plan, fuzzy := wordPlan{}, wordPlan{head: true}
			plan.pieces, _ = piecesOf(needle)
			fuzzy.pieces = []piece{{fuzzy: newFuzzyWord("THERE")}}
			h := s.find([]wordPlan{plan, fuzzy})
			for i := range h.ranges {
				h.ranges[i].post = post
			}
			if _, err := h.texts(h.words); err != nil {
				continue
			}
		}
		if _, _, err := mergeSegments([]*segment{s}, [][]byte{post}, nil); err != nil {
			return
		}
	})
}

// TestMergeAt lets segments of uneven sizes come: they stay few, and what is
// merged stays in proportion.
func TestMergeAt(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var list []mergeable
	var total, written int64
	most := 0
	for range 3000 {
		span := int64(1 + r.IntN(1500))
		total += span
		list = append(list, mergeable{span: span})
		for at, n := mergeAt(list, 16); n > 0; at, n = mergeAt(list, 16) {
			var merged mergeable
			for _, m := range list[at : at+n] {
				merged.span += m.span
			}
			written += merged.span
			list = append(append(list[:at:at], merged), list[at+n:]...)
		}
		most = max(most, len(list))
	}
	if most > int(total/(maxSegmentSpan/4))+3*16 {
		t.Errorf("%d segments of %d texts", most, total)
	}
	if written > 4*total {
		t.Errorf("%d texts merged of %d", written, total)
	}
	if _, n := mergeAt([]mergeable{{octets: mergeOctets}, {octets: 1}}, 2); n > 0 {
		t.Error("a merge of too many octets")
	}
	var large []mergeable
	for range 20 {
		large = append(large, mergeable{span: 1000, octets: mergeOctets / 10})
	}
	if at, n := mergeAt(large, 16); at != 0 || n != 10 {
		t.Errorf("%d large segments are merged at %d", n, at)
	}
}
