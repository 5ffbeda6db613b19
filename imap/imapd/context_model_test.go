package imapd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// follower applies ADDTO and REMOVEFROM as RFC 5267 §4.3.2 has a client do it.
type follower struct {
	tag  string
	uids []int
}

func (f *follower) hear(t *testing.T, line string) {
	rest, ok := strings.CutPrefix(line, `* ESEARCH (TAG "`+f.tag+`") UID `)
	if !ok {
		return
	}
	word, pairs, _ := strings.Cut(strings.TrimSuffix(rest, ")"), " (")
	fields := strings.Fields(pairs)
	for ; len(fields) >= 2; fields = fields[2:] {
		at, err := strconv.Atoi(fields[0])
		if err != nil || at != 0 {
			t.Fatalf("%s: position %s", line, fields[0])
		}
		set := expand(t, fields[1])
		switch {
		case word == "ADDTO":
			f.uids = append(f.uids, set...)
			slices.Sort(f.uids)
		default:
			f.uids = slices.DeleteFunc(f.uids, func(uid int) bool { return slices.Contains(set, uid) })
		}
	}
}

// expand gives the numbers of a set, in its order.
func expand(t *testing.T, set string) (out []int) {
	for part := range strings.SplitSeq(set, ",") {
		lo, hi, isRange := strings.Cut(part, ":")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(hi)
		}
		if err != nil {
			t.Fatalf("a set: %q", set)
		}
		for ; a <= b; a++ {
			out = append(out, a)
		}
	}
	return out
}

// TestContextModel: what a client makes of the updates is what it would be told if
// it asked again, whatever happens in between.
func TestContextModel(t *testing.T) {
	s := newSite(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	p, other := s.open("INBOX"), s.open("INBOX")
	search := &follower{tag: "c"}
	ask := func(p *peer, command string) (answer string) {
		p.send("x " + command + "\r\n")
		for {
			line := p.read()
			if strings.HasPrefix(line, "x ") {
				if !strings.HasPrefix(line, "x OK") {
					t.Fatalf("%s: %s", command, line)
				}
				return answer
			}
			search.hear(t, line)
			if strings.HasPrefix(line, `* ESEARCH (TAG "x")`) {
				answer = line
			}
		}
	}
	p.run(`
		C: c UID SEARCH RETURN (UPDATE) UNSEEN NOT KEYWORD hidden
		S~: c OK …
	`)
	for round := range 40 {
		for range 1 + rnd.IntN(4) {
			uid := 1 + rnd.IntN(3*round+2)
			by := []*peer{p, other}[rnd.IntN(2)]
			switch rnd.IntN(6) {
			case 0, 1:
				for range 1 + rnd.IntN(3) {
					s.deliver("INBOX", fmt.Sprintf("Subject: Re: %c\nDate: %d Jan 2001 00:00:00 +0000\n\n", 'a'+rune(rnd.IntN(4)), 1+rnd.IntN(28)))
				}
			case 2:
				ask(by, fmt.Sprintf(`UID STORE %d:%d +FLAGS.SILENT (\Seen)`, uid, uid+rnd.IntN(4)))
			case 3:
				ask(by, fmt.Sprintf(`UID STORE %d:%d -FLAGS (\Seen hidden)`, uid, uid+rnd.IntN(4)))
			case 4:
				ask(by, fmt.Sprintf(`UID STORE %d +FLAGS (hidden)`, uid))
			case 5:
				ask(by, fmt.Sprintf(`UID STORE %d:%d +FLAGS.SILENT (\Deleted)`, uid, uid+rnd.IntN(3)))
				ask(by, "EXPUNGE")
			}
		}
		ask(p, "NOOP")
		answer := ask(p, "UID SEARCH RETURN (ALL) UNSEEN NOT KEYWORD hidden")
		var want []int
		if _, set, ok := strings.Cut(answer, " ALL "); ok {
			want = expand(t, set)
		}
		if !slices.Equal(search.uids, want) {
			t.Fatalf("round %d: the client has %v, the server %v", round, search.uids, want)
		}
	}
	if len(search.uids) < 5 {
		t.Errorf("%d messages are left: nothing was tried", len(search.uids))
	}
}
