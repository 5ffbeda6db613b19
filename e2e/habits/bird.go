package habits

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"posthouse/e2e/node"
)

// kind is how a connection learns of changes. Thunderbird uses CONDSTORE where
// that is switched on, and no QRESYNC; some of ours do, so that all are compared.
type kind int

const (
	plain kind = iota
	condstore
	qresync
)

// bird is one of Thunderbird's connections.
type bird struct {
	id      int
	kind    kind
	r       *rand.Rand
	l       *Ledger
	n       *node.Node
	account node.Login

	wire    *wire
	caps    map[string]bool
	utf8    bool // UTF8=ACCEPT is on
	v       *view
	before  *folder           // that was open, while another is being opened
	known   map[*folder]*view // what it remembers of folders that it had open
	idling  string            // the tag of an IDLE that goes on
	log     []string          // the last commands and responses
	pressed bool              // COMPRESS is on
}

// headers is the fixed subset that Thunderbird lists folders by.
const headers = "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To"

// connect logs in as Thunderbird does.
func (b *bird) connect() error {
	config, err := b.n.TLS()
	if err != nil {
		return err
	}
	if b.wire, err = dial(b.n.Listen["imaps"], config); err != nil {
		return err
	}
	if r := b.wire.next(); r.err != nil || !strings.HasPrefix(r.text, "* OK ") {
		return fmt.Errorf("greeting %q: %w", r.text, r.err)
	}
	b.v, b.before, b.idling, b.utf8, b.pressed = nil, nil, "", false, false
	b.l.did("connect")
	for _, command := range []string{
		fmt.Sprintf("LOGIN %q %q", b.account.Address, b.account.Password),
		"CAPABILITY",
		`ID ("name" "Thunderbird" "version" "140.0")`,
	} {
		if _, err := b.do(command); err != nil {
			return err
		}
	}
	if b.caps["COMPRESS=DEFLATE"] {
		if _, err := b.do("COMPRESS DEFLATE"); err != nil {
			return err
		}
		if err := b.wire.compress(); err != nil {
			return err
		}
		b.pressed = true
		b.l.did("compress")
	}
	b.wire.listen()
	return b.introduce()
}

// introduce is what follows COMPRESS: the features, the tree.
func (b *bird) introduce() error {
	commands := []string{"NAMESPACE"}
	switch b.kind {
	case condstore:
		commands = append(commands, "ENABLE CONDSTORE")
	case qresync:
		commands = append(commands, "ENABLE QRESYNC")
	}
	if b.id%2 == 1 && b.caps["UTF8=ACCEPT"] {
		commands = append(commands, "ENABLE UTF8=ACCEPT")
	}
	commands = append(commands, `LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)`, `LIST "" INBOX`, `LSUB "" "*"`, `LIST "" "%"`)
	if b.caps["QUOTA"] {
		commands = append(commands, `GETQUOTAROOT "INBOX"`)
	}
	if b.caps["ACL"] {
		commands = append(commands, `MYRIGHTS "INBOX"`)
	}
	for _, command := range commands {
		if _, err := b.do(command); err != nil {
			return err
		}
	}
	b.utf8 = b.id%2 == 1 && b.caps["UTF8=ACCEPT"]
	return nil
}

// do runs a command; what is untagged goes to the view.
func (b *bird) do(command string, also ...func(reply) error) (string, error) {
	if err := b.wake(); err != nil {
		return "", err
	}
	b.note("C: " + command)
	text, err := b.wire.do(command, func(r reply) error { return b.take(r, also...) })
	b.note("S: " + text)
	return text, err
}

func (b *bird) take(r reply, also ...func(reply) error) error {
	b.note(r.text)
	if caps, ok := strings.CutPrefix(r.text, "* CAPABILITY "); ok {
		b.caps = map[string]bool{}
		for c := range strings.FieldsSeq(caps) {
			b.caps[c] = true
		}
	}
	if b.v != nil {
		if err := b.v.take(r); err != nil {
			return err
		}
	}
	for _, f := range also {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

// note keeps the last lines, for the report of a failure.
func (b *bird) note(line string) {
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	if b.log = append(b.log, line); len(b.log) > 80 {
		b.log = b.log[1:]
	}
}

// name writes a folder's name as this connection must.
func (b *bird) name(f *folder) string {
	if b.utf8 {
		return `"` + f.name + `"`
	}
	return `"` + f.encoded + `"`
}

// open selects a folder, unless it is selected. The tree is held.
func (b *bird) open(f *folder) error {
	if b.v != nil && b.v.folder == f {
		return nil
	}
	if err := b.wake(); err != nil { // what it tells is of the folder before
		return err
	}
	old := b.known[f]
	if b.v != nil {
		b.known[b.v.folder] = b.v
		b.before, b.v = b.v.folder, nil
	}
	next := &view{folder: f, due: -1}
	command := "SELECT " + b.name(f)
	switch {
	case b.kind == qresync && old != nil && len(old.msgs) > 0:
		next.msgs, next.vanished = slices.DeleteFunc(slices.Clone(old.msgs), unknown), true
		command += fmt.Sprintf(" (QRESYNC (%d %d))", old.validity, old.modSeq)
	case b.kind == condstore:
		command += " (CONDSTORE)"
	}
	b.l.did("select")
	taking := false // what comes before CLOSED is of the folder before
	_, err := b.do(command, func(r reply) error {
		taking = taking || !strings.Contains(r.text, "[CLOSED]") && (strings.HasPrefix(r.text, "* FLAGS") || exists.MatchString(r.text))
		if taking {
			return next.take(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if next.vanished {
		if err := next.resync(); err != nil {
			return err
		}
	}
	b.before, b.v = nil, next
	if err := b.same(old); err != nil {
		return err
	}
	if b.kind == condstore && old != nil {
		return b.changedSince(old)
	}
	return b.sync()
}

// same checks what must not change from one SELECT to the next.
func (b *bird) same(old *view) error {
	f := b.v.folder
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	if f.validity == 0 {
		f.validity = b.v.validity
	}
	if f.validity != b.v.validity {
		return fmt.Errorf("%s: UIDVALIDITY %d, and was %d", f.name, b.v.validity, f.validity)
	}
	if old != nil && (b.v.uidNext < old.uidNext || b.v.modSeq < old.modSeq) {
		return fmt.Errorf("%s: UIDNEXT %d and HIGHESTMODSEQ %d, and were %d and %d", f.name, b.v.uidNext, b.v.modSeq, old.uidNext, old.modSeq)
	}
	return nil
}

// changedSince brings what is remembered up to date, as Thunderbird does with
// CONDSTORE: nothing is asked when nothing changed, and everything when the
// number is another than expected.
func (b *bird) changedSince(old *view) error {
	fresh := b.v
	if fresh.modSeq == old.modSeq && len(fresh.msgs) == len(old.msgs) && !slices.ContainsFunc(old.msgs, unknown) {
		fresh.msgs = slices.Clone(old.msgs)
		b.l.did("unchanged")
		return nil
	}
	merged := &view{folder: fresh.folder, msgs: slices.DeleteFunc(slices.Clone(old.msgs), unknown), vanished: true}
	moved := false // more happened meanwhile: all must be asked for again
	take := func(r reply) error {
		if fetchReply.MatchString(r.text) {
			return merged.take(r)
		}
		moved = moved || exists.MatchString(r.text) || expunge.MatchString(r.text)
		return nil
	}
	if _, err := b.do(fmt.Sprintf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)", old.modSeq), take); err != nil {
		return err
	}
	if !moved && len(merged.msgs) == len(fresh.msgs) {
		fresh.msgs = merged.msgs
		b.l.did("changedsince")
	}
	return b.sync()
}

func unknown(m shown) bool { return m.uid == 0 || m.flags == "?" }

// sync asks for what the client does not know of the open folder, and learns
// which letters those are.
func (b *bird) sync() error {
	for range 100 {
		i := slices.IndexFunc(b.v.msgs, unknown)
		if i < 0 {
			return nil
		}
		from := uint32(1)
		if i > 0 {
			from = b.v.msgs[i-1].uid + 1
		}
		if _, err := b.do(fmt.Sprintf("UID FETCH %d:* (FLAGS)", from)); err != nil {
			return err
		}
		if _, err := b.do(fmt.Sprintf("UID FETCH %d:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (%s)])", from, headers), b.learn); err != nil {
			return err
		}
		b.l.did("headers")
	}
	return fmt.Errorf("%s: no end to messages without UID", b.v.folder.name)
}

// learn takes the UIDs of letters from a FETCH of headers.
func (b *bird) learn(r reply) error {
	m := fetchReply.FindStringSubmatch(r.text)
	if m == nil || len(r.literals) == 0 {
		return nil
	}
	uid, mark := uidItem.FindStringSubmatch(m[2]), marked.FindSubmatch(r.literals[0])
	if uid == nil || mark == nil {
		return fmt.Errorf("%s: a FETCH of headers without UID or Message-ID: %s", b.v.folder.name, r.text)
	}
	return b.l.learnt(b.v.folder, string(mark[1]), uint32(numeral(uid[1])))
}

// idle begins IDLE; it goes on until the next command.
func (b *bird) idle() error {
	if b.idling != "" {
		return nil
	}
	b.wire.tags++
	b.idling = fmt.Sprint(b.wire.tags)
	b.note("C: IDLE")
	if err := b.wire.send(b.idling + " IDLE\r\n"); err != nil {
		return err
	}
	b.l.did("idle")
	return nil
}

// listen takes what IDLE tells for a while.
func (b *bird) listen(d time.Duration) error {
	over := time.After(d)
	for {
		select {
		case r, ok := <-b.wire.replies:
			if err := b.heard(r, ok); err != nil {
				return err
			}
		case <-over:
			return nil
		}
	}
}

func (b *bird) heard(r reply, ok bool) error {
	if !ok || r.err != nil {
		return errors.Join(errors.New("the connection ended in IDLE"), r.err)
	}
	if strings.HasPrefix(r.text, "* BYE") {
		return fmt.Errorf("%w in IDLE: %s", errBye, r.text)
	}
	return b.take(r)
}

// wake ends an IDLE.
func (b *bird) wake() error {
	if b.idling == "" {
		return nil
	}
	tag := b.idling
	b.idling = ""
	if err := b.wire.send("DONE\r\n"); err != nil {
		return err
	}
	b.note("C: DONE")
	_, err := b.wire.finish(tag, "IDLE", func(r reply) error { return b.take(r) })
	return err
}

// settle has the view be the ledger's: one in IDLE must be told without asking
// for it, any other by a NOOP. Nobody works meanwhile.
func (b *bird) settle() error {
	if b.idling == "" {
		if _, err := b.do("NOOP"); err != nil {
			return err
		}
		if err := b.sync(); err != nil {
			return err
		}
		return b.v.compare(b.l)
	}
	deadline := time.After(patience)
	for {
		// UIDs and flags of what came meanwhile are not told by IDLE: only how many.
		err := b.v.counts(b.l)
		if err == nil {
			break
		}
		select {
		case r, ok := <-b.wire.replies:
			if err := b.heard(r, ok); err != nil {
				return err
			}
		case <-deadline:
			return fmt.Errorf("in IDLE: %w", err)
		}
	}
	b.l.did("told by idle")
	if slices.ContainsFunc(b.v.msgs, unknown) {
		if err := b.sync(); err != nil {
			return err
		}
	}
	return b.v.compare(b.l)
}
