package directory

import (
	"context"
	"crypto/rand"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

func (d *Directory) wakeNotices() {
	select {
	case d.notices <- struct{}{}:
	default: // it will look anyway
	}
}

// notifier is Hooks.Notify.
type notifier func(ctx context.Context, to mail.Address, message []byte, inTx func(context.Context, pgx.Tx) error) error

// sendNotices tells postmasters of blocked accounts, whichever node blocked
// them, until ctx ends.
func (d *Directory) sendNotices(ctx context.Context, notify notifier) {
	for {
		select {
		case <-d.notices:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			more, err := d.sendNotice(ctx, notify)
			if err != nil && ctx.Err() == nil {
				d.log.Error("a postmaster could not be told of a blocked account", "event", "sending.notice", "err", err)
			}
			if !more {
				break
			}
		}
	}
}

// blockedAccount is one that a postmaster is to be told of.
type blockedAccount struct {
	id      int64
	address mail.Address
	since   time.Time
	why     string
}

// sendNotice claims one notice, for as long as a failure is left alone, and
// sends it: what tells the postmaster and what says so are one transaction.
func (d *Directory) sendNotice(ctx context.Context, notify notifier) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var b blockedAccount
	var address string
	err = d.pool.QueryRow(ctx, `UPDATE sending_policy p SET notice_at = now() + make_interval(secs => $1) FROM account a
		WHERE a.id = p.account_id AND p.account_id = (SELECT account_id FROM sending_policy WHERE notice_at <= now() ORDER BY notice_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING a.id, a.address, p.blocked_at, p.blocked_why`, noticeRetry.Seconds()).Scan(&b.id, &address, &b.since, &b.why)
	if err != nil {
		return false, noRows(err, nil)
	}
	b.address = fromKey(address)
	to := mail.Address{Local: "postmaster", Domain: b.address.Domain}
	err = notify(ctx, to, d.composeNotice(to, b), func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE sending_policy SET notice_at = NULL WHERE account_id = $1", b.id)
		return err
	})
	if err != nil {
		return true, fmt.Errorf("notice about %s: %w", b.address, err)
	}
	return true, nil
}

// composeNotice writes the message: what was seen, what was done, and the
// command that undoes it. It is marked as RFC 3834 asks of what no person wrote.
func (d *Directory) composeNotice(to mail.Address, b blockedAccount) []byte {
	host := d.opts.Hostname
	if host == "" {
		host = to.Domain
	}
	text := fmt.Sprintf(`The mail server %s has blocked the sending of mail by

    %s

since %s, because it behaved as if somebody had stolen
its password: %s.

Nothing was removed, and the account can still log in and read its mail.
What it sends is refused with a message that asks its owner to write to
you. Mail that it sent before may still wait in the queue.

What to do:

 1. Look at what it sent:

        posthouse trace find --account %[2]s
        posthouse queue list --account %[2]s

    If that is not its owner's mail, keep it from leaving:

        posthouse queue bounce --account %[2]s

 2. Have its owner look for malware and choose another password, or
    set one. This ends every open session:

        posthouse account passwd %[2]s

 3. Let it send again:

        posthouse account unblock %[2]s

If this was its owner's own mail, step 3 is all. More room for many
recipients gives, for example:

        posthouse account limits %[2]s --hourly 1000 --daily 10000
`, host, b.address, clock(b.since), wrapAt(b.why, 70))
	var m strings.Builder
	for _, f := range [][2]string{
		{"From", "Mail server <" + mail.Address{Local: "postmaster", Domain: to.Domain}.String() + ">"},
		{"To", "<" + to.String() + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", "Sending blocked: "+b.address.String())},
		{"Date", time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"Message-ID", "<" + strings.ToLower(rand.Text()) + "@" + host + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "8bit"},
	} {
		m.WriteString(f[0] + ": " + f[1] + "\r\n")
	}
	m.WriteString("\r\n" + strings.ReplaceAll(text, "\n", "\r\n"))
	return []byte(m.String())
}

// wrapAt breaks a text into lines of at most so many octets, at spaces.
func wrapAt(s string, width int) string {
	var b strings.Builder
	at := 0
	for i, w := range strings.Fields(s) {
		if i > 0 && at+1+len(w) > width {
			b.WriteByte('\n')
			at = 0
		} else if i > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += len(w)
	}
	return b.String()
}
