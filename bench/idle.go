package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/flate"

	"posthouse/internal/inflate"
)

// benchIdle opens n sessions (default 1,000) of each kind (plain, tls,
// compressed: TLS and COMPRESS), lets them IDLE in INBOX, divides the growth of
// the server's memory (PSS of its processes, the database's included), and with
// --exists measures how soon after SMTP's 250 each session hears of a message.
// The sessions are spread over loopback addresses and accounts; the server's
// caps on connections are raised, for who lists 10,000 of them.
func benchIdle(o options) error {
	if o.n == 0 {
		o.n = 1000
	}
	if err := moreFiles(o.n + 500); err != nil {
		return err
	}
	all, err := startIdle(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	t := newTable("dovecot")
	for _, s := range all {
		for kind := range strings.SplitSeq(o.kinds, ",") {
			if err := idleRound(s, t, o, kind); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	t.print()
	return nil
}

// moreFiles raises the limit of open files, which the server inherits.
func moreFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = max(limit.Cur, limit.Max)
	if limit.Max < uint64(n) {
		limit.Cur, limit.Max = uint64(n), uint64(n)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("%d open files: %w", n, err)
	}
	return nil
}

// startIdle is start with caps that n sessions fit under.
func startIdle(o options) ([]*server, error) {
	if o.only == "dovecot" {
		return start(o)
	}
	dir, err := os.MkdirTemp("", "posthouse-idle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "posthouse.toml")
	caps := fmt.Sprintf("[limits]\nconnections = %d\nconnections_per_account = %d\n", o.n+1000, o.n)
	if err := os.WriteFile(file, []byte(caps), 0o644); err != nil {
		return nil, err
	}
	p, err := startPosthouse(o.binary, "--config", file)
	if err != nil {
		return nil, err
	}
	all := []*server{p}
	if o.only == "posthouse" {
		return all, nil
	}
	d, err := startDovecot()
	if errors.Is(err, errNoComparison) {
		fmt.Println("measuring Posthouse alone:", err)
		return all, nil
	}
	if err != nil {
		stopAll(all)
		return nil, err
	}
	return append(all, d), nil
}

var errNotOffered = errors.New("not offered")

func idleRound(s *server, t *table, o options, kind string) error {
	warm, err := openIdle(s, kind, 0)
	if errors.Is(err, errNotOffered) {
		fmt.Printf("%s does not compress\n", s.name)
		return nil
	}
	if err != nil {
		return err
	}
	defer warm.conn.Close() // it idles
	before := s.settled()
	sessions := make([]*imapConn, o.n)
	defer func() {
		for _, c := range sessions {
			if c != nil {
				c.conn.Close()
			}
		}
	}()
	var opening sync.WaitGroup
	failed := make(chan error, 8)
	for worker := range cap(failed) {
		opening.Go(func() {
			for i := worker; i < o.n; i += cap(failed) {
				if sessions[i], err = openIdle(s, kind, i); err != nil {
					failed <- fmt.Errorf("session %d: %w", i, err)
					return
				}
			}
		})
	}
	opening.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	opened := s.pss()
	after := s.settled()
	t.add(s.name, fmt.Sprintf("memory per idle %s session of %d", kind, o.n), "KiB", float64(after-before)/float64(o.n))
	t.add(s.name, fmt.Sprintf("the same when the last one was opened (%s)", kind), "KiB", float64(opened-before)/float64(o.n))
	fmt.Printf("%s: %d KiB, with %d %s sessions %d KiB\n", s.name, before, o.n, kind, after)
	if !o.exists {
		return nil
	}
	return existsRound(s, t, sessions, kind)
}

// settled is the server's memory when it has been left alone for a while:
// buffers, stacks and garbage of what it did go within half a minute, database connections that are too many after it.
func (s *server) settled() int64 {
	time.Sleep(time.Minute)
	return s.pss()
}

// openIdle is a session that idles in its account's INBOX.
func openIdle(s *server, kind string, i int) (*imapConn, error) {
	addr := s.imaps
	if kind == "plain" {
		addr = s.imap
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%200))}}
	conn, err := from.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c, err := newIMAP(conn, kind != "plain", address(i%accounts))
	if err != nil {
		return nil, err
	}
	if kind == "compressed" {
		if _, err := c.do("COMPRESS DEFLATE"); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotOffered, err)
		}
		c.r = bufio.NewReader(inflate.NewReader(c.conn))
		c.w = bufio.NewWriter(squeezer{c.conn})
	}
	if _, err := c.do("SELECT INBOX"); err != nil {
		return nil, err
	}
	fmt.Fprintf(c.w, "i IDLE\r\n")
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	line, err := c.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "+") {
		return nil, fmt.Errorf("IDLE: %q, %v", line, err)
	}
	return c, c.conn.SetReadDeadline(time.Time{})
}

// squeezer compresses each write, and keeps nothing of it.
type squeezer struct{ w io.Writer }

func (s squeezer) Write(p []byte) (int, error) {
	return len(p), flate.StatelessDeflate(s.w, p, false, nil)
}

// existsRound delivers 200 messages one by one, over all accounts, and waits
// for each until all sessions of its account have heard of it.
func existsRound(s *server, t *table, sessions []*imapConn, kind string) error {
	heard := make([]chan time.Time, accounts)
	for i := range heard {
		heard[i] = make(chan time.Time, len(sessions))
	}
	for i, c := range sessions {
		go func() { // it ends when the session is closed
			for {
				line, err := c.r.ReadString('\n')
				if err != nil {
					return
				}
				if strings.HasSuffix(line, "EXISTS\r\n") {
					heard[i%accounts] <- time.Now()
				}
			}
		}()
	}
	sender, err := dialSMTP(s.smtp)
	if err != nil {
		return err
	}
	defer sender.close()
	mails := newCorpus(7)
	var waits []float64
	for round := range 200 {
		account := round % min(accounts, len(sessions))
		if err := sender.send(address(account), mails.message(4000)); err != nil {
			return err
		}
		answered := time.Now()
		for range (len(sessions) - account + accounts - 1) / accounts {
			select {
			case at := <-heard[account]:
				waits = append(waits, max(0, float64(at.Sub(answered).Microseconds())/1000))
			case <-time.After(time.Minute):
				return fmt.Errorf("message %d: a session did not hear of it", round)
			}
		}
	}
	slices.Sort(waits)
	for _, p := range []int{50, 99, 100} {
		t.add(s.name, fmt.Sprintf("250 to EXISTS, %d idle %s, p%d", len(sessions), kind, p), "ms", waits[(len(waits)-1)*p/100])
	}
	return nil
}
