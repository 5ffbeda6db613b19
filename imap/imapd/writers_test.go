package imapd

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// model is a mailbox as a client keeps it from untagged responses: the UID of
// each sequence number (0: not asked for yet) and its flags.
type model struct {
	uids  []uint32
	flags []string
}

var (
	numberLine = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|FETCH)(.*)$`)
	uidItem    = regexp.MustCompile(`UID (\d+)`)
	flagsItem  = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
)

// apply takes one untagged response over, and reports what cannot be.
func (m *model) apply(line string) error {
	f := numberLine.FindStringSubmatch(line)
	if f == nil {
		return nil
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return err
	}
	switch f[2] {
	case "EXISTS":
		if n < len(m.uids) {
			return fmt.Errorf("%s, but there were %d", line, len(m.uids))
		}
		m.uids = append(m.uids, make([]uint32, n-len(m.uids))...)
		m.flags = append(m.flags, make([]string, n-len(m.flags))...)
		return nil
	}
	if n < 1 || n > len(m.uids) {
		return fmt.Errorf("%s, but there are %d", line, len(m.uids))
	}
	if f[2] == "EXPUNGE" {
		m.uids = slices.Delete(m.uids, n-1, n)
		m.flags = slices.Delete(m.flags, n-1, n)
		return nil
	}
	if u := uidItem.FindStringSubmatch(f[3]); u != nil {
		uid, err := strconv.ParseUint(u[1], 10, 32)
		if err != nil {
			return err
		}
		if old := m.uids[n-1]; old != 0 && old != uint32(uid) {
			return fmt.Errorf("%s, but it was UID %d", line, old)
		}
		m.uids[n-1] = uint32(uid)
	}
	if fl := flagsItem.FindStringSubmatch(f[3]); fl != nil {
		words := strings.Fields(fl[1])
		words = slices.DeleteFunc(words, func(w string) bool { return w == `\Recent` })
		slices.Sort(words)
		m.flags[n-1] = strings.Join(words, " ")
	}
	return nil
}

// do sends a command and applies what comes, up to the tagged answer.
func (m *model) do(p *peer, command string) (answer string, err error) {
	p.send("t " + command + "\r\n")
	for {
		line := p.read()
		if strings.HasPrefix(line, "t ") {
			return line, nil
		}
		if strings.HasSuffix(line, "EXPUNGE") && (strings.HasPrefix(command, "FETCH") || strings.HasPrefix(command, "STORE")) {
			return line, fmt.Errorf("%s during %s", line, command)
		}
		if err := m.apply(line); err != nil {
			return line, fmt.Errorf("%s: %w", command, err)
		}
	}
}

// TestTRUST27Writers: sixteen sessions write one mailbox with APPEND, STORE,
// EXPUNGE, MOVE and COPY. UIDs rise and are never given twice, and what each
// session was told adds up to the same mailbox.
func TestTRUST27Writers(t *testing.T) {
	const writers, rounds = 16, 25
	s := newSite(t)
	var mu sync.Mutex
	given := map[string]bool{}
	models := make([]*model, writers)
	peers := make([]*peer, writers)
	for i := range writers {
		peers[i], models[i] = s.open("INBOX"), &model{}
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			p, m := peers[i], models[i]
			r := rand.New(rand.NewPCG(uint64(i), 27))
			last := 0
			for range rounds {
				command := "NOOP"
				one := 1
				if n := len(m.uids); n > 0 {
					one = 1 + r.IntN(n)
				}
				switch k := r.IntN(10); {
				case k < 4 || len(m.uids) == 0:
					command = "APPEND INBOX (\\Seen) {14+}\r\nSubject: x\r\n\r\n"
				case k < 6:
					command = fmt.Sprintf("STORE %d +FLAGS (k%d \\Flagged)", one, r.IntN(4))
				case k < 7:
					command = fmt.Sprintf("STORE %d +FLAGS.SILENT (\\Deleted)", one)
				case k < 8:
					command = "EXPUNGE"
				case k < 9:
					command = fmt.Sprintf("MOVE %d Archive", one)
				default:
					command = fmt.Sprintf("COPY %d INBOX", one)
				}
				answer, err := m.do(p, command)
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
				if !strings.HasPrefix(answer, "t OK") && !strings.HasPrefix(answer, "t NO [EXPUNGEISSUED]") {
					t.Errorf("session %d: %s: %s", i, command, answer)
					return
				}
				f := strings.FieldsFunc(answer, func(c rune) bool { return c == ' ' || c == ']' })
				if strings.Contains(answer, "APPENDUID") {
					uid, err := strconv.Atoi(f[4])
					if err != nil || uid <= last {
						t.Errorf("session %d: UID %s after %d", i, f[4], last)
					}
					last = uid
					mu.Lock()
					if given[f[4]] {
						t.Errorf("UID %s was given twice", f[4])
					}
					given[f[4]] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if len(given) < writers { // the floor: it must have done work
		t.Fatalf("only %d messages were appended", len(given))
	}
	var first *model
	for i, m := range models {
		for _, command := range []string{"NOOP", "NOOP", "FETCH 1:* (UID)", "NOOP"} {
			if _, err := m.do(peers[i], command); err != nil {
				t.Errorf("session %d: %v", i, err)
			}
		}
		fresh := &model{}
		p := s.login()
		for _, command := range []string{"EXAMINE INBOX", "FETCH 1:* (UID FLAGS)"} {
			if _, err := fresh.do(p, command); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(m.uids, fresh.uids) {
			t.Errorf("session %d has\n%v, not\n%v", i, m.uids, fresh.uids)
		}
		if first == nil {
			first = fresh
		} else if !slices.Equal(first.uids, fresh.uids) || !slices.Equal(first.flags, fresh.flags) {
			t.Errorf("two fresh sessions disagree")
		}
		// Flags are told only for what changed while the session looked; ask for
		// the rest, then they must agree.
		if _, err := m.do(peers[i], "FETCH 1:* (FLAGS)"); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.flags, fresh.flags) {
			t.Errorf("session %d has flags\n%q, not\n%q", i, m.flags, fresh.flags)
		}
		if !slices.IsSorted(m.uids) {
			t.Errorf("UIDs do not rise: %v", m.uids)
		}
	}
}
