package ledger

import "testing"

// TestLedgerSees is the control of every experiment: the ledger sees what is
// lost, doubled, changed and strange, each once.
func TestLedgerSees(t *testing.T) {
	l := New()
	texts := make(map[string][]byte)
	for _, id := range []string{"fine", "lost", "doubled", "mangled", "refused", "unknown", "unheard"} {
		texts[id] = l.Message(id, "bob@example.org")
		switch id {
		case "refused":
			l.Told(id, Refused, 451)
		case "unknown", "unheard":
			l.Told(id, Unknown, 0)
		default:
			l.Told(id, Accepted, 250)
		}
	}
	f := l.Compare()
	header := []byte("Received: from here\r\n")
	for _, id := range []string{"fine", "doubled", "doubled", "unheard"} {
		f.Message("bob@example.org", append(header, texts[id]...))
	}
	f.Message("bob@example.org", append(texts["mangled"], '!'))
	f.Message("bob@example.org", []byte("From: nobody\r\n\r\n"))
	want := Report{Accepted: 4, Copies: 6, Lost: 1, Duplicates: 1, Mangled: 1, Strange: 1, Refused: 1, Unknown: 2}
	got := f.Report()
	got.Example = ""
	if got != want || got.Clean() {
		t.Errorf("got %s, want %s", got, want)
	}
}
