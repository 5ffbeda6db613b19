package imapd

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"posthouse/mailstore"
)

// notice is what a session of the model asked NOTIFY for (RFC 5465).
type notice uint8

const (
	noNotice notice = iota
	atOnce          // selected: messages may go at any time, so the client names none by number (§5.3)
	delayed         // selected-delayed
)

var statusLine = regexp.MustCompile(`^\* STATUS (.+) \((.*)\)$`)

// ask sends NOTIFY. From now on the client knows how many messages are in the
// mailbox that it has not selected.
func (w *watcher) ask() error {
	w.counts = map[string]map[string]uint64{}
	if w.notice == noNotice {
		return nil
	}
	selected := map[notice]string{atOnce: "selected", delayed: "selected-delayed"}[w.notice]
	items := []string{"", " (UID FLAGS)"}[w.r.IntN(2)]
	_, err := w.do(fmt.Sprintf("NOTIFY SET STATUS (%s (MessageNew%s MessageExpunge FlagChange)) (mailboxes (%s %s) (MessageNew MessageExpunge FlagChange))",
		selected, items, w.named("INBOX"), w.named("Archive")))
	if err == nil && len(w.counts) != 2 {
		err = fmt.Errorf("NOTIFY SET STATUS told of %d mailboxes", len(w.counts))
	}
	return err
}

// leave closes the selected mailbox: what comes before the OK is still about it.
func (w *watcher) leave() error {
	if w.notice == noNotice || w.box == nil {
		return nil
	}
	delete(w.counts, w.box.name)
	if _, err := w.do("UNSELECT"); err != nil {
		return err
	}
	if of := w.count1(w.box.name); of["UIDNEXT"] == 0 { // nothing was counted since
		of["MESSAGES"] = uint64(len(w.box.msgs))
	}
	// Of what came on the way the client may know some UIDs and not those before.
	if i := slices.IndexFunc(w.box.msgs, func(m shown) bool { return m.uid == 0 }); i >= 0 {
		w.box.msgs = w.box.msgs[:i]
	}
	return nil
}

func (w *watcher) count1(name string) map[string]uint64 {
	if w.counts[name] == nil {
		w.counts[name] = map[string]uint64{}
	}
	return w.counts[name]
}

// takeStatus takes counts of the mailbox that is not selected.
func (w *watcher) takeStatus(name, items string) error {
	for _, own := range []string{"INBOX", "Archive"} {
		if strings.Trim(w.named(own), `"`) != strings.Trim(name, `"`) {
			continue
		}
		opening := strings.HasPrefix(w.command, "SELECT") || strings.HasPrefix(w.command, "UNSELECT")
		if w.box != nil && w.box.name == own && !opening {
			return fmt.Errorf("STATUS of the selected mailbox in %s", w.command)
		}
		of, words := w.count1(own), strings.Fields(items)
		for i := 0; i+1 < len(words); i += 2 {
			of[words[i]] = atoi(words[i+1])
		}
		return nil
	}
	return fmt.Errorf("STATUS of %s, which nobody asked for", name)
}

// compareOther waits until the client knows the counts of the mailbox that it has
// not selected: another node's news take a moment.
func (w *watcher) compareOther(ctx context.Context, s *site) error {
	if w.notice == noNotice {
		return nil
	}
	name := map[string]string{"INBOX": "Archive", "Archive": "INBOX"}[w.box.name]
	now := map[string]*int64{"MESSAGES": new(int64), "UIDNEXT": new(int64), "UNSEEN": new(int64), "HIGHESTMODSEQ": new(int64), "UIDVALIDITY": new(int64)}
	if err := s.pool.QueryRow(ctx, `SELECT m.uidnext, m.modseq, m.uidvalidity, count(n.uid), count(n.uid) FILTER (WHERE n.flags & $3::bigint = 0)
		FROM mailbox m LEFT JOIN msg_now n ON n.account_id = m.account_id AND n.mailbox_id = m.id
		WHERE m.account_id = $1 AND m.name = $2 AND m.deleted_at IS NULL GROUP BY m.id`, s.alice, name, int64(mailstore.FlagSeen)).
		Scan(now["UIDNEXT"], now["HIGHESTMODSEQ"], now["UIDVALIDITY"], now["MESSAGES"], now["UNSEEN"]); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		wrong := ""
		for item, n := range w.count1(name) {
			if want, known := now[item]; known && uint64(*want) != n {
				wrong += fmt.Sprintf(" %s is %d, not %d", item, *want, n)
			}
		}
		if wrong == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s, told by STATUS as %v:%s", name, maps.Clone(w.counts[name]), wrong)
		}
		if _, err := w.do("NOOP"); err != nil {
			return err
		}
	}
}
