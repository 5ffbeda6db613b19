package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"posthouse/mailstore"
)

type mailUndeleteCmd struct {
	Account string    `arg:"" help:"The account."`
	Folder  []string  `help:"Only this mailbox; may be repeated. All by default." placeholder:"NAME"`
	Since   sinceFlag `help:"Only what was deleted since then: 2h, 3d, 2006-01-02 or 2006-01-02T15:04:05." placeholder:"WHEN"`
	UID     []string  `name:"uid" help:"Only these messages: 4,7-9, as --list shows them. Needs one --folder." placeholder:"UIDS"`
	List    bool      `help:"Show what could be brought back, and change nothing."`
	changeFlags
	listFlags
}

// Help says what the command promises.
func (c *mailUndeleteCmd) Help() string {
	return `Deleted messages stay for 14 days, outside of the quota. They come back into the folder they were deleted from, with their flags, as new messages to mail programs. What was moved to another folder, Trash for example, was not deleted: it is there.`
}

// deletedView is a deleted message as the command shows it.
type deletedView struct {
	Folder  string    `json:"folder"`
	UID     uint32    `json:"uid"`
	Deleted time.Time `json:"deleted"`
	Date    time.Time `json:"date"`
	Size    int64     `json:"size"`
	From    string    `json:"from"`
	Subject string    `json:"subject"`
}

func (c *mailUndeleteCmd) Run(ctx context.Context, con *console) error {
	uids, err := c.uids()
	if err != nil {
		return err
	}
	s, account, ctx, done, err := con.mailbox(ctx, c.Account)
	if err != nil {
		return err
	}
	defer done()
	folders := c.Folder
	if len(folders) == 0 {
		boxes, err := s.store.Mailboxes(ctx, account)
		if err != nil {
			return err
		}
		for _, m := range boxes {
			folders = append(folders, m.Name)
		}
	}
	if c.List || c.DryRun {
		return c.list(ctx, con, s, account, folders, uids)
	}
	return c.undelete(ctx, con, s, account, folders, uids)
}

// undelete brings the messages back.
func (c *mailUndeleteCmd) undelete(ctx context.Context, con *console, s *site, account mailstore.AccountID, folders []string, uids *mailstore.UIDSet) error {
	type result struct {
		Folder   string `json:"folder"`
		Messages int    `json:"messages"`
	}
	results, total := []result{}, 0
	for _, name := range folders {
		placed, err := s.store.Undelete(ctx, account, name, uids, c.Since.t)
		if err != nil {
			return transferError(fmt.Errorf("folder %q, after %d messages came back: %w", name, total+len(placed), err), c.Account)
		}
		if total += len(placed); len(placed) > 0 {
			results = append(results, result{name, len(placed)})
		}
	}
	if c.JSON {
		return con.json(results)
	}
	for _, r := range results {
		if err := con.say("%s: %d messages came back", r.Folder, r.Messages); err != nil {
			return err
		}
	}
	if total == 0 {
		return con.say("there is nothing to bring back")
	}
	return nil
}

// list shows what could be brought back.
func (c *mailUndeleteCmd) list(ctx context.Context, con *console, s *site, account mailstore.AccountID, folders []string, uids *mailstore.UIDSet) error {
	views := []deletedView{}
	for _, name := range folders {
		err := s.store.Expunged(ctx, account, name, c.Since.t, func(e mailstore.Expunged) error {
			if uids == nil || uids.Contains(e.UID) {
				views = append(views, deletedView{name, uint32(e.UID), e.At.UTC(), e.Date, e.Size, e.From, e.Subject})
			}
			return nil
		})
		if err != nil {
			return transferError(fmt.Errorf("folder %q: %w", name, err), c.Account)
		}
	}
	if c.JSON {
		return con.json(views)
	}
	if c.DryRun && !c.List {
		return con.say("would bring back %d messages (dry run, nothing changed)", len(views))
	}
	rows := make([][]string, len(views))
	for i, v := range views {
		rows[i] = []string{v.Folder, strconv.FormatUint(uint64(v.UID), 10), v.Deleted.Format(time.DateTime), strconv.FormatInt(v.Size, 10), or(v.From, "-"), or(v.Subject, "-")}
	}
	return con.table("FOLDER UID DELETED SIZE FROM SUBJECT", rows)
}

// uids reads --uid; nil is all.
func (c *mailUndeleteCmd) uids() (*mailstore.UIDSet, error) {
	if len(c.UID) == 0 {
		return nil, nil
	}
	if len(c.Folder) != 1 {
		return nil, fail(exitUsage, "--uid counts within one folder: give one --folder")
	}
	var set mailstore.UIDSet
	for _, part := range strings.Split(strings.Join(c.UID, ","), ",") {
		lo, hi, ranged := strings.Cut(strings.Replace(part, ":", "-", 1), "-")
		if !ranged {
			hi = lo
		}
		first, err1 := strconv.ParseUint(lo, 10, 32)
		last, err2 := strconv.ParseUint(hi, 10, 32)
		if err1 != nil || err2 != nil || first == 0 || last < first {
			return nil, fail(exitUsage, "--uid %q is no set of UIDs: write 4 or 4,7-9", part)
		}
		set.AddRange(mailstore.UID(first), mailstore.UID(last))
	}
	return &set, nil
}

// sinceFlag is a point in time: a span before now, or a date.
type sinceFlag struct{ t time.Time }

func (f *sinceFlag) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			f.t = time.Now().AddDate(0, 0, -n)
			return nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		f.t = time.Now().Add(-d)
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			f.t = t
			return nil
		}
	}
	return fmt.Errorf("%q is no point in time: write 2h, 3d, 2006-01-02 or 2006-01-02T15:04:05", s)
}
