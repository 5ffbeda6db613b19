package e2e

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/ledger"
	"posthouse/e2e/node"
)

// balancer is what stands in front of several nodes: it gives each connection to
// the next one that takes it.
type balancer struct {
	ln      net.Listener
	targets [2]atomic.Pointer[string]
	turn    atomic.Uint32
	wg      sync.WaitGroup
}

func balance(t *testing.T, targets ...string) *balancer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{ln: ln}
	for i := range targets {
		b.targets[i].Store(&targets[i])
	}
	b.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() { b.carry(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); b.wg.Wait() })
	return b
}

func (b *balancer) carry(client net.Conn) {
	defer client.Close()
	first := int(b.turn.Add(1))
	for i := range b.targets {
		server, err := net.Dial("tcp", *b.targets[(first+i)%len(b.targets)].Load())
		if err != nil {
			continue
		}
		defer server.Close()
		var wg sync.WaitGroup
		for _, way := range [][2]net.Conn{{server, client}, {client, server}} {
			wg.Go(func() {
				io.Copy(way[0], way[1]) // either side may go
				way[0].(*net.TCPConn).CloseWrite()
			})
		}
		wg.Wait()
		return
	}
}

// TestRollingRestart restarts two nodes on one database in turn, twice, while
// mail comes in and clients wait in IDLE through a balancer. Nothing that was
// accepted is missing or there twice, no sender finds the door shut, and the
// clients come back by themselves.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	base := start(t, "--ephemeral", "--account", "rolling@example.test:"+password)
	var nodes [2]*node.Node
	var data [2]string
	run := func(i int) {
		t.Helper()
		n, err := node.Start(binary, folder(t), nil, "--data", data[i], "--database", base.Database)
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = n
	}
	for i := range nodes {
		data[i] = filepath.Join(folder(t), "data")
		run(i)
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			if err := n.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	smtp, mailbox := balance(t, nodes[0].Listen["smtp"], nodes[1].Listen["smtp"]), balance(t, nodes[0].Listen["imap"], nodes[1].Listen["imap"])

	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var sessions atomic.Int32
	for range 6 {
		readers.Go(func() {
			for ctx.Err() == nil {
				wait(ctx, mailbox.ln.Addr().String(), &sessions)
			}
		})
	}
	l := ledger.New()
	load := &ledger.Load{Ledger: l, Name: "rolling", Address: func() string { return smtp.ln.Addr().String() }, Connections: 4, Recipients: []string{"rolling@example.test"}}
	load.Start(t.Context())
	eventually(t, "sessions in IDLE", func() bool { return sessions.Load() >= 6 })
	for round := range 4 {
		at, before := l.Count(), sessions.Load()
		eventually(t, "mail accepted", func() bool { return l.Count() >= at+50 })
		i := round % 2
		if err := nodes[i].Stop(); err != nil {
			t.Fatalf("the drain: %v", err)
		}
		at = l.Count()
		eventually(t, "mail accepted by the other", func() bool { return l.Count() >= at+50 })
		eventually(t, "a client that came back", func() bool { return sessions.Load() > before })
		run(i)
		smtpAt, imapAt := nodes[i].Listen["smtp"], nodes[i].Listen["imap"]
		smtp.targets[i].Store(&smtpAt)
		mailbox.targets[i].Store(&imapAt)
	}
	load.Finish()
	stop()
	readers.Wait()
	found := l.Compare()
	if err := found.Read(mailbox.ln.Addr().String(), "rolling@example.test", password); err != nil {
		t.Fatal(err)
	}
	r := found.Report()
	t.Logf("%s; %d sessions; answers %v", r, sessions.Load(), l.Codes())
	if l.Count() < 400 || !r.Clean() || r.Duplicates > 0 {
		t.Errorf("after four restarts: %s", r)
	}
}

// wait is a client that stays in IDLE until its connection ends, and counts
// itself when it got there.
func wait(ctx context.Context, address string, sessions *atomic.Int32) {
	c, err := imapclient.DialInsecure(address, nil)
	if err != nil {
		return
	}
	defer c.Close()
	if c.Login("rolling@example.test", password).Wait() != nil {
		return
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return
	}
	idle, err := c.Idle()
	if err != nil {
		return
	}
	sessions.Add(1)
	ended := make(chan struct{})
	go func() { defer close(ended); idle.Wait() }() // an error is the end that is waited for
	select {
	case <-ended:
	case <-ctx.Done():
		c.Close()
		<-ended
	}
}
