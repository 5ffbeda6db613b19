package imapd

import (
	"fmt"
	"slices"
	"strings"
)

// connect logs in at one of the nodes and opens a mailbox.
func (w *watcher) connect() error {
	user := aliceName
	if w.visitor {
		user = bobName
	}
	w.p = w.nodes[w.r.IntN(len(w.nodes))].loginAs(user)
	if w.qresync {
		w.p.run("C: e ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: e OK …")
	} else if w.condstore {
		w.p.run("C: e ENABLE CONDSTORE\nS: * ENABLED CONDSTORE\nS: e OK …")
	}
	w.box = nil
	if err := w.ask(); err != nil {
		return err
	}
	return w.open()
}

// open selects one of the mailboxes; a QRESYNC client that knows it asks only for
// what is new, in one of the forms of RFC 7162 §3.2.5.
func (w *watcher) open() error {
	if err := w.leave(); err != nil {
		return err
	}
	name := []string{"INBOX", "Archive"}[w.r.IntN(2)]
	param := ""
	w.opening, w.count, w.whole, w.high, w.fresh = false, -1, true, 0, nil
	if old := w.held[name]; old != nil && w.qresync {
		w.box, w.opening = old, true
		param = fmt.Sprintf(" (QRESYNC (%s %d", old.validity, old.safe)
		known := old.uidSetOf()
		form := w.r.IntN(3)
		if form > 0 && !known.IsEmpty() {
			param += " " + known.String()
			w.whole = false
			if form > 1 {
				param += fmt.Sprintf(" (1:%d %s)", known.Len(), known)
			}
		}
		param += "))"
	} else {
		w.box = &folder{name: name}
	}
	if w.qresync {
		w.held[name] = w.box
	}
	if _, err := w.do("SELECT " + w.named(name) + param); err != nil {
		return err
	}
	if err := w.opened(); err != nil {
		return err
	}
	return w.known()
}

// named is the name under which the user knows a mailbox.
func (w *watcher) named(name string) string {
	switch {
	case !w.visitor:
		return name
	case name == "INBOX":
		return aliceBox
	}
	return `"Other Users/` + aliceName + "/" + name + `"`
}

// do sends a command and takes what comes, up to the tagged answer.
func (w *watcher) do(command string) (answer string, err error) {
	w.command = command
	w.log = append(w.log, "C: "+command)
	w.p.send("t " + command + "\r\n")
	if command == "IDLE" {
		w.p.send("DONE\r\n")
	}
	for {
		line := w.p.read()
		if strings.HasPrefix(line, "t ") {
			w.log = append(w.log, line)
			if m := highest.FindStringSubmatch(line); m != nil {
				w.high = max(w.high, atoi(m[1]))
			}
			if strings.HasPrefix(line, "t BAD") || strings.HasPrefix(line, "t NO") && !strings.Contains(line, "EXPUNGEISSUED") && !strings.Contains(line, "MODIFIED") {
				return line, fmt.Errorf("%s: %s", command, line)
			}
			return line, nil
		}
		if err := w.take(line); err != nil {
			return line, fmt.Errorf("%s: %s: %w", command, line, err)
		}
	}
}

// known asks for what the client does not know yet of messages that it was told
// exist; then it is safe to come back with the highest mod-sequence seen.
func (w *watcher) known() error {
	for range 20 {
		i := slices.IndexFunc(w.box.msgs, func(m shown) bool { return m.uid == 0 })
		if i < 0 {
			if !byNumber(w.command) {
				w.box.safe = max(w.box.safe, w.high)
			}
			return nil
		}
		from := uint32(1)
		if i > 0 {
			from = w.box.msgs[i-1].uid + 1
		}
		if _, err := w.do(fmt.Sprintf("UID FETCH %d:* (FLAGS%s)", from, w.modSeq())); err != nil {
			return err
		}
	}
	return fmt.Errorf("there is no end to messages without UID")
}

func (w *watcher) modSeq() string {
	if w.condstore {
		return " MODSEQ"
	}
	return ""
}

// settleAll is what a session does at a checkpoint.
func (w *watcher) settleAll() error {
	for range 2 {
		if _, err := w.do("NOOP"); err != nil {
			return err
		}
		if err := w.known(); err != nil {
			return err
		}
	}
	return nil
}

// step is one random command, and what a client does after it.
func (w *watcher) step() error {
	err := w.random()
	w.change = nil
	if err == nil {
		err = w.known()
	}
	return err
}

func (w *watcher) random() (err error) {
	n := len(w.box.msgs)
	other := w.named(map[string]string{"INBOX": "Archive", "Archive": "INBOX"}[w.box.name])
	k := w.r.IntN(100)
	switch {
	case k < 5: // the connection breaks
		w.p.c.Close()
		return w.connect()
	case k < 12:
		return w.open()
	case k < 25 || n == 0:
		_, err = w.do([]string{"APPEND " + w.named("INBOX") + " (\\Seen k1) {14+}\r\nSubject: x\r\n\r\n", "APPEND " + w.named("Archive") + " {14+}\r\nSubject: x\r\n\r\n"}[w.r.IntN(2)])
	case k < 32:
		_, err = w.do("NOOP")
	case k < 37:
		_, err = w.do("IDLE")
	case k < 65:
		err = w.store()
	case k < 72:
		_, err = w.do([]string{"EXPUNGE", "UID EXPUNGE 1:*"}[w.r.IntN(2)])
	case k < 78:
		_, err = w.do(fmt.Sprintf("UID COPY %d %s", w.uid(), other))
	case k < 84:
		_, err = w.do(w.numbered("MOVE", other))
	case k < 88:
		_, err = w.do(w.byUID() + "SEARCH SEEN")
	case k < 92:
		_, err = w.do(w.byUID() + "FETCH 1:* (UID FLAGS" + w.modSeq() + ")")
	case w.condstore:
		vanished := ""
		if w.qresync && w.r.IntN(2) == 0 {
			vanished = " VANISHED"
		}
		_, err = w.do(fmt.Sprintf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d%s)", w.box.safe, vanished))
	default:
		_, err = w.do("UID FETCH 1:* FLAGS")
	}
	return err
}

func (w *watcher) uid() uint32 { return w.box.msgs[w.r.IntN(len(w.box.msgs))].uid }

// byUID is what a command begins with that could name messages by number.
func (w *watcher) byUID() string {
	if w.notice == atOnce {
		return "UID "
	}
	return ""
}

// numbered is a command on some message, by number or UID.
func (w *watcher) numbered(verb, rest string) string {
	if i := w.r.IntN(len(w.box.msgs)); w.r.IntN(2) == 0 && w.notice != atOnce {
		return fmt.Sprintf("%s %d %s", verb, i+1, rest)
	}
	return fmt.Sprintf("UID %s %d %s", verb, w.uid(), rest)
}

// store changes flags. A client that asks for silence knows what it did.
func (w *watcher) store() error {
	op := []string{"", "+", "-"}[w.r.IntN(3)]
	flags := []string{`\Seen`, `\Deleted`, `\Flagged k1`, `k2`, fmt.Sprintf("s%d", w.r.IntN(5))}[w.r.IntN(5)]
	// What was on its way when a silent STORE was sent came before it, which only
	// MODSEQ tells.
	silent := w.r.IntN(2) == 0 && (w.notice == noNotice || w.condstore)
	change := func(old string) string {
		words := strings.Fields(old)
		switch op {
		case "":
			words = strings.Fields(flags)
		case "+":
			words = append(words, strings.Fields(flags)...)
		default:
			words = slices.DeleteFunc(words, func(f string) bool { return slices.Contains(strings.Fields(flags), f) })
		}
		return sortedFlags(strings.Join(words, " "))
	}
	lo := w.r.IntN(len(w.box.msgs))
	hi := min(lo+w.r.IntN(3), len(w.box.msgs)-1)
	command := fmt.Sprintf("STORE %d:%d ", lo+1, hi+1)
	if w.r.IntN(2) == 0 || w.notice == atOnce {
		command = fmt.Sprintf("UID STORE %d:%d ", w.box.msgs[lo].uid, w.box.msgs[hi].uid)
	}
	if w.condstore && w.r.IntN(2) == 0 {
		command += fmt.Sprintf("(UNCHANGEDSINCE %d) ", w.box.msgs[lo].modseq)
	}
	command += op + "FLAGS"
	if silent {
		command += ".SILENT"
		w.change = change
		if !w.condstore {
			for i := lo; i <= hi; i++ {
				w.box.msgs[i].flags = change(w.box.msgs[i].flags)
			}
		}
	}
	_, err := w.do(command + " (" + flags + ")")
	return err
}
