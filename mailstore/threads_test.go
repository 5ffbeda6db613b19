package mailstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"posthouse/internal/message"
	"posthouse/mailstore"
)

// linked are the keys of message i, which refers to others, the oldest first.
func linked(i int, refs ...int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "Message-ID: <%d@x>\r\nReferences:", i)
	for _, ref := range refs {
		fmt.Fprintf(&b, " <%d@x>", ref)
	}
	return message.ThreadKeys([]byte(b.String() + "\r\n\r\n"))
}

// TestThreadsDeep: 20,000 messages in one line are threaded without a stack, and
// in steps that grow with their number, in whatever order they came.
func TestThreadsDeep(t *testing.T) {
	const n = 20_000
	forward, backward := make([][]byte, n), make([][]byte, n)
	for i := range n {
		var refs []int
		for k := max(0, i-10); k < i; k++ {
			refs = append(refs, k)
		}
		forward[i], backward[n-1-i] = linked(i, refs...), linked(i, refs...)
	}
	for name, keys := range map[string][][]byte{"forward": forward, "backward": backward} {
		threads, steps := mailstore.ThreadHeaders(keys, "")
		if strings.Count(threads, "(") != 1 || len(strings.Fields(threads)) != n {
			t.Errorf("%s: %d threads of %d messages", name, strings.Count(threads, "("), len(strings.Fields(threads)))
		}
		if steps > 20*n {
			t.Errorf("%s: %d steps", name, steps)
		}
	}
	// Made to be slow: each message moves the end of a long line below its other end.
	var hostile [][]byte
	for i := range n {
		hostile = append(hostile, linked(i, i-1))
	}
	for i := range n {
		hostile = append(hostile, linked(n+i, n/2, n-1-i%100, 0, n+i+1))
	}
	threads, steps := mailstore.ThreadHeaders(hostile, "one")
	if steps > 100*6*n+1 {
		t.Errorf("hostile: %d steps", steps)
	}
	wellFormed(t, threads, len(hostile))
}

// wellFormed holds that each message stands in the threads once.
func wellFormed(t *testing.T, threads string, n int) {
	t.Helper()
	depth, seen := 0, make([]bool, n+1)
	for i := 0; i < len(threads); i++ {
		switch c := threads[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case unicode.IsDigit(rune(c)):
			end := i
			for end < len(threads) && unicode.IsDigit(rune(threads[end])) {
				end++
			}
			k, err := strconv.Atoi(threads[i:end])
			if err != nil || k < 1 || k > n || seen[k] {
				t.Errorf("message %s is there twice, or not at all: %.500s", threads[i:end], threads)
				return
			}
			seen[k], i = true, end-1
		}
		if depth < 0 {
			t.Errorf("parentheses: %.500s", threads)
			return
		}
	}
	if depth != 0 || strings.Contains(threads, "()") || strings.Contains(threads, "( ") || strings.Contains(threads, "((") && !strings.Contains(threads, ")(") {
		t.Errorf("parentheses: %.500s", threads)
	}
	for k := 1; k <= n; k++ {
		if !seen[k] {
			t.Errorf("message %d is missing: %.500s", k, threads)
			return
		}
	}
}

// FuzzThreads: whatever messages refer to, each is threaded once.
func FuzzThreads(f *testing.F) {
	f.Add([]byte("\x01\x02\x03\x00\x02\x01\x00\x03\x03\x00"), true)
	f.Add([]byte("\x01\x00\x02\x01\x00\x03\x02\x01\x00\x01\x03\x00"), false)
	f.Fuzz(func(t *testing.T, data []byte, oneSubject bool) {
		var keys [][]byte
		for chunk := range strings.SplitSeq(string(data[:min(len(data), 500)]), "\x00") {
			var refs []int
			for _, c := range []byte(chunk) {
				refs = append(refs, int(c%16))
			}
			if len(refs) == 0 {
				keys = append(keys, message.ThreadKeys(nil))
				continue
			}
			keys = append(keys, linked(refs[0], refs[1:]...))
		}
		subject := ""
		if oneSubject {
			subject = "ONE"
		}
		threads, _ := mailstore.ThreadHeaders(keys, subject)
		wellFormed(t, threads, len(keys))
	})
}
