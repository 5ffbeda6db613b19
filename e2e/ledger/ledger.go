// Package ledger holds, outside of the server and of Postgres, what clients
// were told about each message they sent, and compares it with what is found
// afterwards. A message that was accepted must be there exactly once for each
// recipient; one whose reply was lost is sent again, as every mail server does,
// and must still be there once.
package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
)

// Outcome is what a client was told about an attempt.
type Outcome int

const (
	Accepted Outcome = iota // 250 after the data
	Refused                 // 4xx or 5xx
	Unknown                 // the connection ended before the reply
)

// entry is one message.
type entry struct {
	sum        [sha256.Size]byte
	recipients []string
	accepted   bool
	tries      [3]int // by Outcome
}

// Ledger is safe for concurrent use.
type Ledger struct {
	// From is the sender of the messages; set it before the first.
	From string

	mu      sync.Mutex
	entries map[string]*entry
	refused int
	codes   map[int]int
}

// New makes an empty ledger.
func New() *Ledger {
	return &Ledger{From: "ledger@example.org", entries: make(map[string]*entry), codes: make(map[int]int)}
}

// mark begins every message; what stands before it was added by the server.
const mark = "X-Ledger: "

// Message makes a message and opens its entry. The text is incompressible in
// part, some lines start with dots, and sizes vary from 1 to 40 KB.
func (l *Ledger) Message(id string, recipients ...string) []byte {
	rng := rand.New(rand.NewPCG(uint64(len(id)), hash(id)))
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\r\nFrom: <%s>\r\nTo: <%s>\r\nSubject: entry %s\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s@ledger.example.org>\r\n\r\n",
		mark, id, l.From, strings.Join(recipients, ">, <"), id, id)
	for lines := 16 + rng.IntN(600); lines > 0; lines-- {
		if rng.IntN(10) == 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, "%016x %016x %016x\r\n", rng.Uint64(), rng.Uint64(), rng.Uint64())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[id] = &entry{sum: sha256.Sum256(b.Bytes()), recipients: recipients}
	return b.Bytes()
}

func hash(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	var n uint64
	for _, c := range sum[:8] {
		n = n<<8 | uint64(c)
	}
	return n
}

// Told records what a client was told about an attempt; code is that of the
// reply which refused it, 0 when the connection ended.
func (l *Ledger) Told(id string, o Outcome, code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o == Refused {
		l.refused++
		l.codes[code]++
	}
	e := l.entries[id]
	e.tries[o]++
	e.accepted = e.accepted || o == Accepted
}

// Count is how many messages have been accepted.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.entries {
		if e.accepted {
			n++
		}
	}
	return n
}

// Refusals is how many attempts have been refused.
func (l *Ledger) Refusals() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// Codes counts the refusals by reply code.
func (l *Ledger) Codes() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.codes)
}

// Report is the comparison of a ledger with what was found.
type Report struct {
	Accepted   int // messages answered with 250
	Copies     int // found, over all recipients
	Lost       int // copies that were accepted and are missing
	Duplicates int // copies beyond the first
	Mangled    int // copies whose octets differ from those sent
	Strange    int // messages that are in no ledger
	Refused    int // attempts answered 4xx or 5xx
	Unknown    int // attempts whose reply was lost
	Example    string
}

func (r Report) String() string {
	s := fmt.Sprintf("accepted %d, copies found %d, lost %d, duplicates %d, mangled %d, strange %d; attempts refused %d, replies lost %d",
		r.Accepted, r.Copies, r.Lost, r.Duplicates, r.Mangled, r.Strange, r.Refused, r.Unknown)
	if r.Example != "" {
		s += "; for example " + r.Example
	}
	return s
}

// Clean says that nothing is wrong.
func (r Report) Clean() bool {
	return r.Lost == 0 && r.Duplicates == 0 && r.Mangled == 0 && r.Strange == 0
}

// Found is what is in the mailboxes: by address, the messages as served.
type Found struct {
	counts map[string]map[string]int // address, id
	report Report
	ledger *Ledger
}

// Compare begins a comparison; the clients have ended.
func (l *Ledger) Compare() *Found {
	return &Found{counts: make(map[string]map[string]int), ledger: l}
}

// Message records one message as it was served to address.
func (f *Found) Message(address string, body []byte) {
	f.report.Copies++
	start := bytes.Index(body, []byte(mark))
	if start < 0 {
		f.report.Strange++
		return
	}
	sent := body[start:]
	line, _, _ := bytes.Cut(sent[len(mark):], []byte("\r\n"))
	id := string(line)
	f.ledger.mu.Lock() // clients may still be sending
	e := f.ledger.entries[id]
	f.ledger.mu.Unlock()
	switch {
	case e == nil:
		f.report.Strange++
		f.report.Example = id
		return
	case sha256.Sum256(sent) != e.sum:
		f.report.Mangled++
		f.report.Example = id
	}
	if f.counts[address] == nil {
		f.counts[address] = make(map[string]int)
	}
	f.counts[address][id]++
}

// Report ends the comparison.
func (f *Found) Report() Report {
	r := f.report
	for id, e := range f.ledger.entries {
		if e.accepted {
			r.Accepted++
		}
		r.Refused += e.tries[Refused]
		r.Unknown += e.tries[Unknown]
		for _, address := range e.recipients {
			n := f.counts[address][id]
			if n == 0 && e.accepted {
				r.Lost++
			}
			if n > 1 {
				r.Duplicates += n - 1
			}
			if (n == 0 && e.accepted || n > 1) && r.Example == "" {
				r.Example = fmt.Sprintf("%s to %s: %d copies after %d accepted, %d refused, %d unknown",
					id, address, n, e.tries[Accepted], e.tries[Refused], e.tries[Unknown])
			}
		}
	}
	return r
}
