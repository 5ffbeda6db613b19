package habits

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// deeds are what a connection does in its open folder, with weights.
var deeds = []struct {
	weight int
	do     func(b *bird) error
}{
	{20, (*bird).read}, {12, (*bird).mark}, {6, (*bird).junk}, {10, (*bird).move}, {4, (*bird).copy},
	{8, (*bird).trash}, {5, (*bird).compact}, {8, (*bird).sent}, {3, (*bird).look}, {3, (*bird).check},
	{14, (*bird).change}, {12, (*bird).wait}, {5, (*bird).grow}, {2, (*bird).quit},
}

// act does one deed, and goes on after a farewell that was due: the folder was
// deleted by another connection.
func (b *bird) act() error {
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	k, i := b.r.IntN(total), 0
	for ; k >= deeds[i].weight; i++ {
		k -= deeds[i].weight
	}
	err := deeds[i].do(b)
	if err == nil || !b.folderGone() || !errors.Is(err, errBye) && !isRefused(err) {
		return err
	}
	b.l.did("folder deleted")
	return b.again()
}

func isRefused(err error) bool {
	_, is := errors.AsType[*refused](err)
	return is
}

// folderGone reports whether the open folder was deleted. While another is being
// opened it still is that one: the farewell may have been on its way.
func (b *bird) folderGone() bool {
	f := b.before
	if b.v != nil {
		f = b.v.folder
	}
	if f == nil {
		return false
	}
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	return f.gone
}

// again connects anew and opens some folder.
func (b *bird) again() error {
	b.wire.close()
	if b.v != nil {
		b.known[b.v.folder] = b.v
	}
	if err := b.connect(); err != nil {
		return err
	}
	return b.change()
}

func (b *bird) quit() error {
	if _, err := b.do("LOGOUT"); err != nil {
		return err
	}
	b.l.did("logout")
	return b.again()
}

// change opens another folder.
func (b *bird) change() error {
	b.l.tree.RLock()
	defer b.l.tree.RUnlock()
	return b.open(b.l.any(b.r))
}

// wait stays in IDLE for a moment.
func (b *bird) wait() error {
	if err := b.idle(); err != nil {
		return err
	}
	return b.listen(time.Duration(b.r.IntN(400)) * time.Millisecond)
}

// check asks for news.
func (b *bird) check() error {
	if _, err := b.do("NOOP"); err != nil {
		return err
	}
	b.l.did("noop")
	return b.sync()
}

// claim takes letters that this connection was told of, which must be all that
// others have done away with.
func (b *bird) claim(n int, suits func(m *letter) bool) ([]*letter, error) {
	list := b.l.claim(b.r, b.v.folder, n, suits)
	if len(list) == 0 {
		return nil, nil
	}
	if err := b.check(); err != nil {
		b.l.release(list)
		return nil, err
	}
	for _, m := range list {
		if !slices.ContainsFunc(b.v.msgs, func(s shown) bool { return s.uid == m.uid }) && !b.folderGone() {
			return nil, fmt.Errorf("%s: the connection was not told of UID %d, which the ledger has", b.v.folder.name, m.uid)
		}
	}
	return list, nil
}

func anyLetter(*letter) bool { return true }

// uids writes a set for a command.
func uids(list []*letter) string {
	var words []string
	for _, m := range list {
		words = append(words, fmt.Sprint(m.uid))
	}
	return strings.Join(words, ",")
}

// store changes flags of claimed letters.
func (b *bird) store(list []*letter, op, flags string) error {
	if _, err := b.do(fmt.Sprintf("UID STORE %s %sFLAGS (%s)", uids(list), op, flags)); err != nil {
		return err
	}
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, m := range list {
		for f := range strings.FieldsSeq(flags) {
			m.flags[f] = op == "+"
		}
	}
	return nil
}

// read shows a letter: fetched in pieces of 64 KiB, compared, marked as read.
func (b *bird) read() error {
	list, err := b.claim(1, func(m *letter) bool { return !m.flags[`\Seen`] || b.r.IntN(5) == 0 })
	if err != nil || len(list) == 0 {
		return err
	}
	defer b.l.release(list)
	m := list[0]
	text, err := b.pieces(m.uid)
	if err != nil {
		return err
	}
	if hash, ok := sum(text); !ok || hash != m.sum {
		return fmt.Errorf("%s: UID %d is not %s as it was sent: %d octets came", b.v.folder.name, m.uid, m.mark, len(text))
	}
	b.l.did("read")
	return b.store(list, "+", `\Seen`)
}

const piece = 65536

func (b *bird) pieces(uid uint32) (text []byte, err error) {
	for size := -1; size < 0 || len(text) < size; {
		before := len(text)
		command := fmt.Sprintf("UID FETCH %d (UID RFC822.SIZE BODY.PEEK[]<%d.%d>)", uid, before, piece)
		if _, err := b.do(command, func(r reply) error {
			if s := sizeItem.FindStringSubmatch(r.text); s != nil && len(r.literals) == 1 {
				size = int(numeral(s[1]))
				text = append(text, r.literals[0]...)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if len(text) == before || len(text)-before != min(piece, size-before) {
			return nil, fmt.Errorf("%s: %d octets came, RFC822.SIZE says %d", command, len(text)-before, size)
		}
		b.l.did("piece")
	}
	return text, nil
}

// mark sets or clears a flag or keyword of some letters.
func (b *bird) mark() error {
	flag := []string{`\Seen`, `\Flagged`, `\Answered`, "$label1", "$Forwarded", "$MDNSent"}[b.r.IntN(6)]
	list, err := b.claim(1+b.r.IntN(8), anyLetter)
	if err != nil || len(list) == 0 {
		return err
	}
	defer b.l.release(list)
	b.l.did("mark")
	return b.store(list, []string{"+", "-"}[b.r.IntN(2)], flag)
}

// junk marks letters as junk.
func (b *bird) junk() error {
	list, err := b.claim(1+b.r.IntN(3), func(m *letter) bool { return !m.flags["Junk"] })
	if err != nil || len(list) == 0 {
		return err
	}
	defer b.l.release(list)
	for _, change := range [][2]string{{"-", "NonJunk"}, {"+", "Junk"}} {
		if err := b.store(list, change[0], change[1]); err != nil {
			return err
		}
	}
	b.l.did("junk")
	return nil
}

var copyUID = regexp.MustCompile(`\[COPYUID (\d+) (\S+) (\S+)\]`)

// move moves letters to another folder.
func (b *bird) move() error { return b.transfer("MOVE", nil) }

// copy copies them.
func (b *bird) copy() error { return b.transfer("COPY", nil) }

// trash deletes as Thunderbird does: letters are moved to Trash.
func (b *bird) trash() error { return b.transfer("MOVE", b.l.folder("Trash")) }

func (b *bird) transfer(verb string, to *folder) error {
	from := b.v.folder
	if from == to {
		return nil
	}
	list, err := b.claim(1+b.r.IntN(5), func(m *letter) bool { return to == nil || to.letters[m.mark] == nil })
	if err != nil || len(list) == 0 {
		return err
	}
	defer b.l.release(list)
	b.l.tree.RLock()
	defer b.l.tree.RUnlock()
	if to == nil {
		to = b.l.lacks(b.r, list, from)
	}
	if to == nil || !b.reserve(list, to) {
		return nil
	}
	code := ""
	take := func(r reply) error {
		if copyUID.MatchString(r.text) {
			code = r.text
		}
		return nil
	}
	text, err := b.do(fmt.Sprintf("UID %s %s %s", verb, uids(list), b.name(to)), take)
	if err != nil {
		b.arrived(list, to, nil)
		return err
	}
	m := copyUID.FindStringSubmatch(text + code)
	if m == nil {
		return fmt.Errorf("%s without COPYUID: %s", verb, text)
	}
	source, target := expand(m[2]), expand(m[3])
	if len(source) != len(list) || len(target) != len(list) {
		return fmt.Errorf("%s of %s: %s", verb, uids(list), m[0])
	}
	placed := make(map[uint32]uint32, len(list))
	for i := range source {
		placed[source[i]] = target[i]
	}
	b.arrived(list, to, placed)
	if verb == "MOVE" {
		b.l.drop(from, list)
	}
	b.l.did(strings.ToLower(verb))
	return nil
}

// reserve keeps the places of letters in another folder, so that nobody else
// brings the same there; they are claimed until they have arrived.
func (b *bird) reserve(list []*letter, to *folder) bool {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, m := range list {
		if to.letters[m.mark] != nil || to.gone {
			return false
		}
	}
	for _, m := range list {
		flags := map[string]bool{}
		for f, on := range m.flags {
			flags[f] = on
		}
		to.letters[m.mark] = &letter{mark: m.mark, sum: m.sum, flags: flags, claimed: true}
	}
	return true
}

// arrived gives reserved letters their UIDs; nil: they did not arrive.
func (b *bird) arrived(list []*letter, to *folder, placed map[uint32]uint32) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for _, m := range list {
		if placed == nil {
			delete(to.letters, m.mark)
			continue
		}
		to.letters[m.mark].uid, to.letters[m.mark].claimed = placed[m.uid], false
	}
}

// drop takes letters out of a folder.
func (l *Ledger) drop(f *folder, list []*letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range list {
		delete(f.letters, m.mark)
	}
}

// expand gives the numbers of a set.
func expand(set string) (out []uint32) {
	for part := range strings.SplitSeq(set, ",") {
		lo, hi, span := strings.Cut(part, ":")
		if !span {
			hi = lo
		}
		for n := numeral(lo); n <= numeral(hi); n++ {
			out = append(out, uint32(n))
		}
	}
	return out
}

// compact deletes letters for good: marked, then expunged.
func (b *bird) compact() error {
	f := b.v.folder
	if f.name != "Trash" && f.name != "Junk" && b.r.IntN(3) > 0 {
		return nil
	}
	f.deleting.Lock()
	defer f.deleting.Unlock()
	list, err := b.claim(1+b.r.IntN(10), anyLetter)
	if err != nil || len(list) == 0 {
		return err
	}
	defer b.l.release(list)
	if _, err = b.do(fmt.Sprintf(`UID STORE %s +FLAGS (\Deleted \Seen)`, uids(list))); err == nil {
		command := "EXPUNGE"
		if b.r.IntN(3) == 0 {
			command = "UID EXPUNGE " + uids(list)
		}
		_, err = b.do(command)
	}
	if err != nil {
		return err
	}
	b.l.drop(f, list)
	b.l.did("compact")
	return nil
}

var appendUID = regexp.MustCompile(`\[APPENDUID \d+ (\d+)\]`)

// sent copies a letter to Sent.
func (b *bird) sent() error {
	if b.l.full() {
		return nil
	}
	mark := b.l.mark("sent")
	text := compose(b.r, mark, b.account.Address)
	b.l.tree.RLock()
	defer b.l.tree.RUnlock()
	to := b.l.folder("Sent")
	answer, err := b.do(fmt.Sprintf("APPEND %s (\\Seen) {%d+}\r\n%s", b.name(to), len(text), text))
	if err != nil {
		return err
	}
	m := appendUID.FindStringSubmatch(answer)
	if m == nil {
		return fmt.Errorf("APPEND without APPENDUID: %s", answer)
	}
	b.l.put(to, mark, text, uint32(numeral(m[1])), `\Seen`)
	b.l.did("append")
	return nil
}

// look asks for the counts of a folder, and searches the open one.
func (b *bird) look() error {
	b.l.tree.RLock()
	defer b.l.tree.RUnlock()
	for _, command := range []string{
		fmt.Sprintf("STATUS %s (UIDNEXT MESSAGES UNSEEN RECENT)", b.name(b.l.any(b.r))),
		fmt.Sprintf("UID SEARCH UNDELETED HEADER Message-ID <sent-%d%s>", b.r.IntN(100), domain),
		`UID SEARCH NOT DELETED BODY "once more"`,
	} {
		if _, err := b.do(command); err != nil {
			return err
		}
	}
	b.l.did("look")
	return nil
}
