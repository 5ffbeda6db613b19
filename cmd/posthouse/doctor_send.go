package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/doctor"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/mda"
	"posthouse/smtp/queue"
)

type doctorSendCmd struct {
	To       string        `arg:"" help:"Who gets the message." placeholder:"ADDRESS"`
	From     string        `required:"" help:"The account that sends it." placeholder:"ADDRESS"`
	Patience time.Duration `help:"How long to follow it." default:"2m"`
	passwordFlag
	listFlags
}

func (c *doctorSendCmd) Help() string {
	return `Sends a short message from an account and says what becomes of it, until it lies in
a mailbox, another server took it, or it came back. With --password-stdin it is
submitted as a mail program would, over TLS with a login, else it is put into the
queue directly, signed all the same. It ends with 0 when the message arrived, 10
when it still waits, 11 when it failed.`
}

// letter is the message of one run.
type letter struct {
	from, to mail.Address
	id       string // Message-ID, without brackets
	text     string
}

func newLetter(from, to mail.Address) letter {
	id := "doctor-" + strings.ToLower(rand.Text()) + "@" + from.Domain
	return letter{from, to, id, strings.Join([]string{
		"From: <" + from.String() + ">", "To: <" + to.String() + ">", "Subject: A message to try the way",
		"Date: " + time.Now().Format(time.RFC1123Z), "Message-ID: <" + id + ">", "Auto-Submitted: auto-generated",
		"MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii", "",
		"This message was sent by `posthouse doctor send` to see which way it takes.",
		"Its header tells: Received fields, the TLS that was used, and what the", "receiver thinks of the signature (Authentication-Results).", "",
	}, "\r\n")}
}

func (c *doctorSendCmd) Run(ctx context.Context, con *console) error {
	from, err := parseAddress(c.From)
	if err != nil {
		return err
	}
	to, err := parseAddress(c.To)
	if err != nil {
		return err
	}
	password := ""
	if c.PasswordStdin {
		if password, err = c.read(con, c.From); err != nil {
			return err
		}
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	account, err := s.directory.Account(ctx, from)
	if err != nil {
		return explain(err, "account", c.From)
	}
	log, err := s.trace()
	if err != nil {
		return err
	}
	defer log.Close()
	l := newLetter(from, to)
	id := ""
	if c.PasswordStdin {
		id, err = c.submit(ctx, con, s, l, password, log)
	} else {
		id, err = s.post(ctx, l, account.ID, log)
	}
	if err != nil {
		return err
	}
	return c.follow(ctx, con, s, log, id)
}

// post puts the message into mailbox and queue, as submission does behind its
// dialogue.
func (s *site) post(ctx context.Context, l letter, account int64, record *events.Log) (string, error) {
	body := spool.New("", len(l.text)+1)
	defer body.Close()
	if _, err := body.Write([]byte(l.text)); err != nil {
		return "", err
	}
	signed, err := s.keys.Sign(ctx, l.from, body, body.Size())
	if err != nil {
		return "", fmt.Errorf("sign the message: %w", err)
	}
	in := &mail.Incoming{ID: mail.NewID(), Account: account, Signed: signed, Arrived: time.Now(),
		Envelope: mail.Envelope{From: l.from, Recipients: []mail.Recipient{{Address: l.to}}}}
	m := mda.New(mda.Config{Directory: s.directory, Store: s.store, Hostname: s.config.Hostname, SpoolDir: os.TempDir(), Events: record,
		Queue: queue.New(queue.Config{Pool: s.pool, Store: s.store, Hostname: s.config.Hostname, Key: s.directory.RouteKey, Log: slog.Default()}), Log: slog.Default()})
	return in.ID, m.DeliverIn(ctx, in, body, nil)
}

// submit sends it as a mail program does, and finds the id that it got.
func (c *doctorSendCmd) submit(ctx context.Context, con *console, s *site, l letter, password string, log *events.Log) (string, error) {
	nodes, err := runningNodes(s.config.Data)
	if err != nil {
		return "", err
	}
	if len(nodes) == 0 {
		return "", fail(exitFailed, "no server runs on %s: start it, or leave --password-stdin out", s.config.Data)
	}
	// The server is asked on this machine, whatever its certificate says.
	talk := &doctor.Talk{Protocol: doctor.SMTP, Host: s.config.Hostname}
	defer talk.Close()
	if !c.JSON {
		talk.Hear = (&dialogue{con: con}).hear
	}
	addr, implicit := nodes[0].Listen[config.Submissions], true
	if addr == "" {
		addr, implicit = nodes[0].Listen[config.Submission], false
	}
	if err := talk.Open(ctx, onThisMachine(addr), implicit); err != nil {
		return "", fail(exitFailed, "submission at %s: %w", addr, err)
	}
	if err := talk.Submit(ctx, implicit, c.From, password, l.from.String(), l.to.String(), l.text); err != nil {
		return "", fail(exitErrors, "the server does not take the message: %w", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		found, err := log.Messages(ctx, events.Query{HeaderID: l.id, Limit: 1})
		if err != nil {
			return "", err
		}
		if len(found) == 1 {
			return found[0].ID, nil
		}
		if time.Now().After(deadline) {
			return "", fail(exitFailed, "the server took the message, and the record does not know it")
		}
		if err := pause(ctx, followEvery); err != nil {
			return "", err
		}
	}
}

// onThisMachine is where a listener answers that is bound to every address.
func onThisMachine(addr string) string {
	if port, ok := strings.CutPrefix(addr, "[::]:"); ok {
		return "localhost:" + port
	}
	if port, ok := strings.CutPrefix(addr, "0.0.0.0:"); ok {
		return "127.0.0.1:" + port
	}
	return addr
}

const followEvery = 300 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ends are the events behind which nothing comes.
var ends = []events.Kind{events.Stored, events.Captured, events.Delivered, events.Bounced, events.Suppressed, events.Refused}

// follow prints each event of the message as it comes, up to its end.
func (c *doctorSendCmd) follow(ctx context.Context, con *console, s *site, log *events.Log, id string) error {
	if !c.JSON {
		if err := con.say("* message %s", id); err != nil {
			return err
		}
	}
	seen := make(map[int64]bool)
	for deadline := time.Now().Add(c.Patience); ; {
		list, err := log.Events(ctx, id)
		if err != nil {
			return err
		}
		for _, e := range list {
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			if err := c.tell(con, &e); err != nil {
				return err
			}
			if slices.Contains(ends, e.Kind) {
				return c.end(e.Kind)
			}
		}
		if time.Now().After(deadline) {
			break
		}
		if err := pause(ctx, followEvery); err != nil {
			return err
		}
	}
	waiting, err := s.waiting(ctx, id)
	if err != nil {
		return err
	}
	text := "nothing is known of it any more"
	if len(waiting) > 0 {
		text = waitsFor(&waiting[0], time.Now()) + "; " + waiting[0].Reason
	}
	nodes, err := runningNodes(s.config.Data)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		text += "; no server runs here that would send it"
	}
	return fail(exitWarnings, "%s; `posthouse trace show %s` tells later", text, id)
}

func (c *doctorSendCmd) tell(con *console, e *events.Event) error {
	if c.JSON {
		return con.json(e)
	}
	return con.say("* %s  %s", e.At.Local().Format(time.TimeOnly), e.Describe())
}

// end is the exit code of how it ended.
func (c *doctorSendCmd) end(kind events.Kind) error {
	switch kind {
	case events.Bounced, events.Refused, events.Suppressed:
		return fail(exitErrors, "%w", errors.New("the message did not arrive"))
	}
	return nil
}
