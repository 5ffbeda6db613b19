package mailstore_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A cut is where cutProxy breaks a connection.
type cut int32

const (
	noCut         cut = iota
	beforeCommit      // the server never sees COMMIT
	duringCommit      // the server gets COMMIT, the client is gone at once
	afterCommit       // the server has committed, the client does not hear it
	refuseForever     // after afterCommit: nobody can ask either
)

// cutProxy stands between a pool and Postgres, reads the wire protocol, and
// breaks one connection around a COMMIT when it is armed.
type cutProxy struct {
	server string // socket of the server
	armed  atomic.Int32
	down   atomic.Bool // refuses connections
	cuts   atomic.Int32

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// newCutProxy puts a proxy before the server of pool and gives a pool through it.
func newCutProxy(t *testing.T, pool *pgxpool.Pool) (*cutProxy, *pgxpool.Pool) {
	t.Helper()
	cfg := pool.Config()
	p := &cutProxy{server: filepath.Join(cfg.ConnConfig.Host, ".s.PGSQL.5432"), conns: map[net.Conn]struct{}{}}
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	cfg.ConnConfig.Host = dir
	through, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		through.Close()
		ln.Close()
		p.closeAll()
		p.wg.Wait()
	})
	return p, through
}

func (p *cutProxy) hold(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
}

func (p *cutProxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// serve carries one connection.
func (p *cutProxy) serve(client net.Conn) {
	defer client.Close()
	if p.down.Load() {
		return
	}
	server, err := net.Dial("unix", p.server)
	if err != nil {
		return
	}
	p.hold(client)
	p.hold(server)
	var back sync.WaitGroup
	back.Go(func() { p.backward(client, server) })
	keep := p.forward(client, server)
	if !keep { // with keep the server is let finish what it has
		server.Close()
	}
	back.Wait()
	server.Close()
}

// frame reads one message: its type octet (0 for the start-up) and all of it.
func frame(r io.Reader, typed bool) (kind byte, whole []byte, err error) {
	head := make([]byte, 4)
	if typed {
		head = make([]byte, 5)
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[len(head)-4:])
	whole = append(head, make([]byte, n-4)...)
	if typed {
		kind = head[0]
	}
	_, err = io.ReadFull(r, whole[len(head):])
	return kind, whole, err
}

// forward carries what the client says; keep says that the server goes on alone.
func (p *cutProxy) forward(client, server net.Conn) (keep bool) {
	commits := map[string]bool{} // prepared statements that are COMMIT
	for typed := false; ; typed = true {
		kind, msg, err := frame(client, typed)
		if err != nil {
			return false
		}
		isCommit := false
		switch kind {
		case 'P':
			name, rest, _ := bytes.Cut(msg[5:], []byte{0})
			sql, _, _ := bytes.Cut(rest, []byte{0})
			commits[string(name)] = string(bytes.ToLower(sql)) == "commit"
		case 'B':
			_, rest, _ := bytes.Cut(msg[5:], []byte{0})
			name, _, _ := bytes.Cut(rest, []byte{0})
			isCommit = commits[string(name)]
		case 'Q':
			isCommit = bytes.HasPrefix(bytes.ToLower(msg[5:]), []byte("commit"))
		}
		if isCommit && p.armed.CompareAndSwap(int32(beforeCommit), int32(noCut)) {
			p.cuts.Add(1)
			client.Close()
			return false
		}
		if _, err := server.Write(msg); err != nil {
			return false
		}
		if isCommit && p.armed.CompareAndSwap(int32(duringCommit), int32(noCut)) {
			p.cuts.Add(1)
			if kind == 'B' { // COMMIT runs with Execute, and the pipeline ends with Sync
				for kind != 'S' {
					if kind, msg, err = frame(client, true); err != nil {
						return false
					}
					if _, err := server.Write(msg); err != nil {
						return false
					}
				}
			}
			client.Close()
			server.(*net.UnixConn).CloseWrite()
			return true
		}
	}
}

// backward carries what the server says.
func (p *cutProxy) backward(client, server net.Conn) {
	defer client.Close()
	for {
		kind, msg, err := frame(server, true)
		if err != nil {
			return
		}
		if kind == 'C' && bytes.HasPrefix(msg[5:], []byte("COMMIT")) {
			if p.armed.CompareAndSwap(int32(refuseForever), int32(noCut)) {
				p.down.Store(true)
				p.cuts.Add(1)
				p.closeAll()
				return
			}
			if p.armed.CompareAndSwap(int32(afterCommit), int32(noCut)) {
				p.cuts.Add(1)
				return
			}
		}
		if _, err := client.Write(msg); err != nil {
			io.Copy(io.Discard, server)
			return
		}
	}
}
