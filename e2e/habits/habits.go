package habits

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/smtp"
	"slices"
	"strings"
	"sync"
	"time"

	"posthouse/e2e/node"
)

// Options of a run.
type Options struct {
	Binary string        // the program
	Folder string        // for its data and log; removed by the caller
	For    time.Duration // how long the connections work
	Round  time.Duration // between two checkpoints; 0: 5 s
	Seed   uint64        // of what they do; 0: by the clock
	Log    func(format string, args ...any)
}

// Result is what was done and compared.
type Result struct {
	Seed    uint64
	Rounds  int
	Deeds   map[string]int
	Letters int // there at the end
	Folders int
	Proven  int // octets compared, by the checking connection
	Lies    int // put into the ledger and noticed
	Pressed int // connections that had COMPRESS on, at the end
}

func (r Result) String() string {
	var deeds []string
	for _, kind := range slices.Sorted(maps.Keys(r.Deeds)) {
		deeds = append(deeds, fmt.Sprintf("%s %d", kind, r.Deeds[kind]))
	}
	return fmt.Sprintf("%d rounds (seed %d), %d letters in %d folders, %d compared octet by octet, %d lies noticed, %d connections compressed; %s",
		r.Rounds, r.Seed, r.Letters, r.Folders, r.Proven, r.Lies, r.Pressed, strings.Join(deeds, ", "))
}

// Floor says what was done too little of to prove anything.
func (r Result) Floor() error {
	for kind, least := range map[string]int{"connect": connections, "select": 10, "headers": 10, "read": 10, "piece": 20, "mark": 10,
		"move": 10, "copy": 2, "compact": 2, "append": 5, "arrived": 10, "create": 3, "rename": 1, "idle": 5, "told by idle": 1, "noop": 10} {
		if r.Deeds[kind] < least {
			return fmt.Errorf("%q was done %d times, %d were due", kind, r.Deeds[kind], least)
		}
	}
	if r.Rounds < 2 || r.Proven < 20 || r.Lies == 0 {
		return errors.New("too little was compared")
	}
	return nil
}

// connections are as many as Thunderbird opens to one account.
const connections = 5

// harness is a run.
type harness struct {
	Options
	n       *node.Node
	account node.Login
	l       *Ledger
	birds   []*bird
	result  Result
}

// Run runs the program with five connections for a while. The error says what
// was wrong with the server, and what its connection was told before.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Round == 0 {
		o.Round = 5 * time.Second
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	h := &harness{Options: o, l: newLedger(), account: node.Login{Address: "bird@localhost", Password: "correct horse battery"}}
	h.result.Seed = o.Seed
	n, err := node.Start(o.Binary, o.Folder, nil, "--ephemeral", "--account", h.account.Address+":"+h.account.Password)
	if err != nil {
		return h.result, err
	}
	h.n = n
	err = h.run(ctx)
	for _, b := range h.birds {
		if b.wire != nil {
			b.wire.close()
		}
	}
	if err = errors.Join(err, n.Stop()); err != nil {
		err = fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	return h.result, err
}

func (h *harness) run(ctx context.Context) error {
	for _, name := range []string{"INBOX", "Sent", "Drafts", "Trash", "Junk", "Archive"} {
		h.l.add(name, name)
	}
	h.l.folders["INBOX"].sub = true
	for i := range connections {
		b := &bird{id: i, kind: kind(i % 3), r: rand.New(rand.NewPCG(h.Seed, uint64(i))), l: h.l, n: h.n, account: h.account, known: map[*folder]*view{}}
		h.birds = append(h.birds, b)
		if err := b.connect(); err != nil {
			return b.blame(err)
		}
		if err := b.open(h.l.folder([]string{"INBOX", "INBOX", "Sent", "Trash", "Junk"}[i])); err != nil {
			return b.blame(err)
		}
	}
	for end := time.Now().Add(h.For); time.Now().Before(end) && ctx.Err() == nil; h.result.Rounds++ {
		if err := h.work(ctx, min(h.Round, time.Until(end))); err != nil {
			return err
		}
		proven, err := check(h.n, h.account, h.l, h.result.Rounds%10 == 9)
		if err != nil {
			return fmt.Errorf("round %d, the checking connection: %w", h.result.Rounds, err)
		}
		h.result.Proven += proven
		for _, b := range h.birds {
			if err := b.settle(); err != nil {
				return fmt.Errorf("round %d: %w", h.result.Rounds, b.blame(err))
			}
		}
		if h.Log != nil && h.result.Rounds%12 == 11 {
			h.sum()
			h.Log("%s", h.result)
		}
	}
	if _, err := check(h.n, h.account, h.l, true); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	h.sum()
	return h.lie()
}

// sum fills in the result.
func (h *harness) sum() {
	h.result.Deeds, h.result.Letters, h.result.Folders, h.result.Pressed = maps.Clone(h.l.deeds), 0, len(h.l.folders), 0
	for _, f := range h.l.folders {
		h.result.Letters += len(f.letters)
	}
	for _, b := range h.birds {
		if b.pressed {
			h.result.Pressed++
		}
	}
}

// blame tells which connection failed, and what it was told.
func (b *bird) blame(err error) error {
	return fmt.Errorf("connection %d (kind %d): %w\n%s", b.id, b.kind, err, strings.Join(b.log, "\n"))
}

// work has all work at once for d. Some end in IDLE.
func (h *harness) work(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(h.birds)+1)
	for i, b := range h.birds {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = b.act()
			}
			if errs[i] == nil && b.folderGone() {
				errs[i] = b.again()
			}
			if errs[i] == nil && b.r.IntN(2) == 0 {
				errs[i] = b.idle()
			}
			if errs[i] != nil {
				errs[i] = b.blame(errs[i])
				cancel()
			}
		})
	}
	wg.Go(func() { errs[len(h.birds)] = h.post(ctx) })
	wg.Wait()
	return errors.Join(errs...)
}

// post has mail arrive.
func (h *harness) post(ctx context.Context) error {
	r := rand.New(rand.NewPCG(h.Seed, uint64(1000+h.result.Rounds)))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(r.IntN(400)) * time.Millisecond):
		}
		if h.l.full() {
			continue
		}
		mark := h.l.mark("mail")
		text := compose(r, mark, h.account.Address)
		if err := h.mail(text); err != nil {
			return fmt.Errorf("SMTP: %w", err)
		}
		h.l.put(h.l.folder("INBOX"), mark, text, 0)
		h.l.did("arrived")
	}
}

// mail sends one letter by SMTP.
func (h *harness) mail(text []byte) error {
	conn, err := net.DialTimeout("tcp", h.n.Listen["smtp"], patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := c.Mail("someone@example.org"); err != nil {
		return err
	}
	if err := c.Rcpt(h.account.Address); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}
