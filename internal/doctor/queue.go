package doctor

import (
	"context"
	"time"

	"posthouse/smtp/queue"
)

const (
	oldMail   = 4 * time.Hour
	olderMail = 48 * time.Hour
	deepQueue = 5000
)

// queue looks at the mail that waits to leave.
func (p *Patient) queue(ctx context.Context, f *findings) {
	if p.Database == nil {
		return
	}
	q := queue.New(queue.Config{Pool: p.Database.Pool})
	messages, recipients, err := q.Depth(ctx)
	if err != nil {
		f.add(Error, "queue", "", "it cannot be read: %v", err)
		return
	}
	if messages == 0 {
		f.ok("queue", "nothing waits")
		return
	}
	list, err := q.List(ctx, queue.Filter{})
	if err != nil {
		f.add(Error, "queue", "", "it cannot be read: %v", err)
		return
	}
	level, text := OK, ""
	if messages > deepQueue {
		level, text = Warning, ": that is many"
	}
	f.add(level, "queue", "posthouse queue list", "%d messages for %d recipients wait%s", messages, recipients, text)
	held := 0
	var oldest *queue.Entry
	for i, e := range list {
		if e.Held {
			held++
		} else if oldest == nil && e.State != "scheduled" {
			oldest = &list[i] // they come in order of age
		}
	}
	if held > 0 {
		f.add(Warning, "queue", "posthouse queue release", "%d messages are held", held)
	}
	if oldest == nil {
		return
	}
	age := time.Since(oldest.Created)
	mend := "posthouse trace show " + oldest.Ref
	switch {
	case age > olderMail:
		f.add(Warning, "queue", mend, "one waits for %s, the last answer was %q", age.Round(time.Hour), oldest.Reason)
	case age > oldMail:
		f.add(Note, "queue", mend, "one waits for %s, the last answer was %q", age.Round(time.Hour), oldest.Reason)
	}
}
