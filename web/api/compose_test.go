package api

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"

	"posthouse/internal/spool"
)

// checkComposed reads a request, composes its message and reads that with
// go-message.
func checkComposed(t *testing.T, body []byte, name, subject, text, field, value, filename string, content []byte) {
	in := spool.New("", 1<<20)
	in.Write(body)
	root, err := readJSON(in, 1<<20)
	if _, refused := errors.AsType[*problem](err); refused {
		return
	}
	must(t, err)
	r := &reader{body: in, limits: Limits{}.withDefaults()}
	d := r.draft(root, nil)
	if r.err() != nil {
		return
	}
	var b bytes.Buffer
	c := &composer{draft: d, id: "id", hostname: "mx.example.test", date: time.Now()}
	must(t, c.write(&b))
	for line := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("line %q", line)
		}
		for i := range len(line) {
			if line[i] >= 0x80 {
				t.Fatalf("not ASCII: %q", line)
			}
		}
	}
	m, err := gomail.CreateReader(&b)
	if err != nil && !message.IsUnknownCharset(err) {
		t.Fatal(err)
	}
	if got, err := m.Header.Subject(); err != nil || got != subject {
		t.Errorf("subject %q, want %q: %v", got, subject, err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Address != "alice@example.test" || from[0].Name != name {
		t.Errorf("from %v, want %q: %v", from, name, err)
	}
	if got, err := m.Header.Text(field); err != nil || got != value {
		t.Errorf("%s: %q, want %q: %v", field, got, value, err)
	}
	seen := map[string]int{}
	for f := m.Header.Fields(); f.Next(); {
		seen[strings.ToLower(f.Key())]++
	}
	wantFields := []string{"date", "from", "to", "message-id", "mime-version", "content-type", strings.ToLower(field)}
	if subject != "" {
		wantFields = append(wantFields, "subject")
	}
	for _, k := range wantFields {
		if seen[k] != 1 {
			t.Errorf("%d fields %s", seen[k], k)
		}
		delete(seen, k)
	}
	if len(seen) > 0 {
		t.Errorf("fields nobody asked for: %v", seen)
	}
	first, err := m.NextPart()
	must(t, err)
	got, err := io.ReadAll(first.Body)
	must(t, err)
	want := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n", "\r\n")
	if strings.TrimSuffix(string(got), "\r\n") != strings.TrimSuffix(want, "\r\n") && utf8.ValidString(text) {
		t.Errorf("text %q, want %q", got, want)
	}
	var last *gomail.Part
	for {
		p, err := m.NextPart()
		if err == io.EOF {
			break
		}
		must(t, err)
		last = p
		if head, ok := p.Header.(*gomail.AttachmentHeader); ok {
			data, err := io.ReadAll(p.Body)
			must(t, err)
			name, err := head.Filename()
			if err != nil || name != filename || !bytes.Equal(data, content) {
				t.Errorf("attachment %q, want %q; %x, want %x: %v", name, filename, data, content, err)
			}
		}
	}
	if _, ok := last.Header.(*gomail.AttachmentHeader); !ok {
		t.Error("no attachment")
	}
}
