package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/e2e/child"
	"posthouse/e2e/peer"
	"posthouse/internal/test/dnstest"
)

const (
	relaySenders = 8
	relayDomains = 8
)

// benchRelay relays the same mails through Posthouse and through Postfix to
// smtp-sink, 8 senders at once, and counts from the first acceptance to the
// sink's last. Posthouse asks DNS and signs with DKIM as always, with two keys;
// a second one, whose keys have not begun to sign, is the one that does what Postfix does,
// which is told the way, and does not sign. Each sender logs in before.
func benchRelay(o options) error {
	if o.n == 0 {
		o.n = 1500
	}
	sink, err := startSink()
	if err != nil {
		return err
	}
	defer sink.stop()
	var all []*server
	defer func() { stopAll(all) }()
	if o.only != "postfix" {
		for _, signs := range []bool{true, false} {
			p, err := startSending(o.binary, sink, signs)
			if err != nil {
				return err
			}
			all = append(all, p)
		}
	}
	if o.only != "posthouse" {
		p, err := startPostfix(sink)
		if errors.Is(err, peer.ErrMissing) {
			fmt.Println("measuring Posthouse alone:", err)
		} else if err != nil {
			return err
		} else {
			all = append(all, p)
		}
	}
	t := newTable("postfix")
	for round := range o.rounds {
		mails := makeMails(uint64(round), o.n)
		for i := range mails {
			mails[i] = fromLine.ReplaceAll(mails[i], []byte("From: <"+address(i%relaySenders)+">\r\n"))
		}
		for _, s := range all {
			if err := relayRound(s, sink, t, mails); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	t.print()
	return nil
}

// fromLine is the From field of the corpus: an account may write only its own.
var fromLine = regexp.MustCompile(`(?m)^From: .*\r\n`)

func relayRound(s *server, sink *sink, t *table, mails [][]byte) error {
	senders, err := dialSenders(s)
	if err != nil {
		return err
	}
	before, cpu, own := sink.taken(), s.cpu(), cpuOf(s.root, 2)
	began, err := submitAll(senders, mails)
	if err != nil {
		return err
	}
	accepted := time.Now()
	ended, err := sink.await(before + int64(len(mails)))
	if err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	perMessage := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(len(mails)) }
	for _, label := range map[string][]string{"posthouse": {"signed: "}, unsigned: {"unsigned: "}, "postfix": {"signed: ", "unsigned: "}}[s.name] {
		column := s.name
		if column == unsigned {
			column = "posthouse"
		}
		t.add(column, label+"first 250 to the last one", "messages/s", float64(len(mails))/ended.Sub(began).Seconds())
		t.add(column, label+"accepted", "messages/s", float64(len(mails))/accepted.Sub(began).Seconds())
		t.add(column, label+"CPU per message", "ms", perMessage(s.cpu()-cpu))
		if s.database != "" {
			t.add(column, label+"of it outside Postgres", "ms", perMessage(cpuOf(s.root, 2)-own))
		}
	}
	return nil
}

// unsigned is the name of the Posthouse that has no keys.
const unsigned = "posthouse, unsigned"

// dialSenders logs 8 senders in, each as another account.
func dialSenders(s *server) (senders []*smtpConn, err error) {
	for i := range relaySenders {
		c, err := dialSubmission(s, address(i))
		if err != nil {
			for _, c := range senders {
				c.close()
			}
			return nil, err
		}
		senders = append(senders, c)
	}
	return senders, nil
}

// submitAll submits the mails, each by the sender that it is from and to one
// address of the domains in turn, and tells when the first was accepted.
func submitAll(senders []*smtpConn, mails [][]byte) (began time.Time, err error) {
	var first sync.Once
	errs := make(chan error, len(senders))
	var wg sync.WaitGroup
	for k, c := range senders {
		wg.Go(func() {
			defer c.close()
			for i := k; i < len(mails); i += len(senders) {
				// by rows, so that each sender writes to all domains
				if err := c.send(fmt.Sprintf("bob%d@d%d.example.org", i, (i/len(senders)+k)%relayDomains), mails[i]); err != nil {
					errs <- err
					return
				}
				first.Do(func() { began = time.Now() })
			}
		})
	}
	wg.Wait()
	close(errs)
	return began, <-errs
}

// dialSubmission logs in at Posthouse; Postfix knows its neighbours.
func dialSubmission(s *server, user string) (*smtpConn, error) {
	c, err := dialSMTP(s.submission)
	if err != nil {
		return nil, err
	}
	c.from = user
	if s.database == "" {
		return c, nil
	}
	return c, c.say("235", "AUTH PLAIN %s\r\n", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// startSending runs a Posthouse that relays to the sink, with keys or without.
func startSending(binary string, s *sink, signs bool) (*server, error) {
	dns, err := dnstest.Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	dns.Add("mx.example.org. A 127.0.0.1", "*.example.org. MX 10 mx.example.org.")
	p, err := startPosthouse(binary, "--deliver", "--dns", dns.Addr().String(), "--relay-port", strconv.Itoa(s.port))
	if err != nil {
		dns.Close()
		return nil, err
	}
	stop := p.stop
	p.stop = func() {
		stop()
		dns.Close()
	}
	if !signs {
		p.name = unsigned
		if err := putOffKeys(p); err != nil {
			p.stop()
			return nil, err
		}
	}
	return p, nil
}

// putOffKeys puts the turn of the DKIM keys off before the server has used one:
// there is no command that leaves a domain without.
func putOffKeys(p *server) error {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, p.database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, `UPDATE dkim_key SET signs_at = now() + interval '1 day'`); err != nil {
		return fmt.Errorf("put off the keys: %w", err)
	}
	return nil
}

// startPostfix runs a Postfix that relays to the sink, which is one destination
// to it: it may take as many connections there as it would to eight.
func startPostfix(s *sink) (*server, error) {
	dir, err := os.MkdirTemp("", "postfix-bench-")
	if err != nil {
		return nil, err
	}
	remove := atEnd(func() { os.RemoveAll(dir) })
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	p, err := peer.Postfix(peer.Options{
		Folder: dir, Listen: loopback(port), Hostname: "mail.example.test", Routes: map[string]string{"": loopback(s.port)},
		Settings: []string{"default_destination_concurrency_limit = 100", "initial_destination_concurrency = 20"},
	})
	if err != nil {
		remove()
		return nil, err
	}
	return &server{name: "postfix", submission: p.Address, root: p.PID(), stop: func() {
		p.Stop()
		remove()
	}}, nil
}

// sink is Postfix's smtp-sink, which counts what it takes.
type sink struct {
	port    int
	process *child.Process
	count   atomic.Int64
	last    atomic.Int64 // time of the last message, nanoseconds
}

func startSink() (*sink, error) {
	program, err := exec.LookPath("smtp-sink")
	if err != nil {
		return nil, errors.New("smtp-sink is missing (apt-get install postfix)")
	}
	s := &sink{}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-c", "-u", "nobody", loopback(s.port), "1000")
	if os.Getuid() != 0 {
		cmd = exec.Command(program, "-c", loopback(s.port), "1000")
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	s.process, err = child.Start(cmd)
	in.Close()
	if err != nil {
		return nil, err
	}
	go s.watch(out)
	return s, waitFor(loopback(s.port))
}

func (s *sink) stop() { s.process.Stop() }

var messages = regexp.MustCompile(`mesg=(\d+)`)

// watch reads the counters that the sink prints, and ends with it.
func (s *sink) watch(out *os.File) {
	defer out.Close()
	buf := make([]byte, 64<<10)
	for kept := 0; ; {
		n, err := out.Read(buf[kept:])
		if err != nil {
			return
		}
		text := buf[:kept+n]
		if all := messages.FindAllSubmatch(text, -1); all != nil {
			count, _ := strconv.ParseInt(string(all[len(all)-1][1]), 10, 64)
			if count > s.count.Load() {
				s.last.Store(time.Now().UnixNano())
				s.count.Store(count)
			}
		}
		kept = copy(buf, text[max(0, bytes.LastIndexByte(text, '\r')):])
	}
}

func (s *sink) taken() int64 { return s.count.Load() }

// await waits until the sink has taken so many, and tells when that was.
func (s *sink) await(n int64) (time.Time, error) {
	for deadline := time.Now().Add(5 * time.Minute); s.count.Load() < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return time.Time{}, fmt.Errorf("the sink has %d messages of %d after five minutes", s.count.Load(), n)
		}
	}
	return time.Unix(0, s.last.Load()), nil
}
