package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"posthouse/mailstore"
)

// FuzzMbox writes two messages and reads them back: whatever is in them, there
// are two, with their flags, and a text without fields of an mbox is the same.
func FuzzMbox(f *testing.F) {
	for _, s := range []string{
		"Subject: a\r\n\r\nFrom me\r\n>From you\r\n\r\nFrom alice@example.test Mon Feb  3 04:05:06 2020\r\nx\r\n",
		"", "\r\n", "\r\n\r\n", "no header", "a: b", "a: b\r\n\r\n\r\n", " folded\r\n\r\n", ">", ">>>>From ", "From x Mon Feb  3 04:05:06 2020\r\n",
		"a: b\r\n\r\nFrom x Mon Feb  3 04:05:06 2020\r\n", "Status: R\r\n\r\n", "a:\r\n b\r\n\r\n\r\nbare\rcr\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var file bytes.Buffer
		w := bufio.NewWriter(&file)
		second := "Subject: second\r\n\r\nlast\r\n"
		for i, s := range []string{text, second} {
			w.WriteString("From MAILER-DAEMON Mon Feb  3 04:05:06 2020\n")
			o := &Outgoing{}
			if i == 1 {
				o.Flags = mailstore.FlagSeen | mailstore.FlagFlagged
			}
			q := &fromQuoter{w: w, start: true, fields: mboxFields(o)}
			lf := &toLF{w: q}
			for _, part := range []string{s[:len(s)/2], s[len(s)/2:]} {
				if _, err := io.WriteString(lf, part); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(lf.Close(), q.Close()); err != nil {
				t.Fatal(err)
			}
			w.WriteString("\n")
		}
		w.Flush()
		r := &mboxReader{in: bufio.NewReader(&file)}
		sink := &Sink{im: &importer{}}
		var got []string
		for {
			m, err := r.next(sink)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Body == nil {
				got = append(got, "expunged")
				continue
			}
			b, err := io.ReadAll(m.Body.NewReader())
			if err != nil {
				t.Fatal(err)
			}
			m.Body.Close()
			got = append(got, string(b))
			if len(got) == 2 && m.Flags != mailstore.FlagSeen|mailstore.FlagFlagged {
				t.Errorf("flags %b", m.Flags)
			}
		}
		if len(got) != 2 || got[1] != second {
			t.Fatalf("%q became %q in\n%s", text, got, file.String())
		}
		lower := strings.ToLower(text)
		if strings.Contains(lower, "status") || strings.Contains(lower, "x-") || strings.Contains(lower, "content-length") {
			return // fields of an mbox are taken out
		}
		want := normal(text)
		if strings.Contains(strings.ReplaceAll(want, "\r\n", ""), "\r") {
			return // a CR alone, before the end of a line, cannot be told from that
		}
		header, _, ended := strings.Cut("\r\n"+want, "\r\n\r\n")
		if !ended || strings.Contains(header, "From ") {
			return // the empty line between messages ends the header; From lines are quoted in it, and stay so
		}
		if got[0] != want {
			t.Errorf("%q became %q, want %q", text, got[0], want)
		}
	})
}

// normal is what an mbox keeps of a message: its lines end in CRLF, the last one too.
func normal(s string) string {
	var b strings.Builder
	(&toCRLF{w: &b}).Write([]byte(s))
	s = b.String()
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\r\n"
	}
	return s
}
