package harm

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/e2e/node"
)

// cut is where a connection to Postgres is cut.
type cut int

const (
	never   cut = iota
	before      // COMMIT does not arrive
	racing      // COMMIT is sent, nobody waits for what becomes of it
	after       // COMMIT has been done, its answer does not arrive
	cutOver     // how many there are
)

// proxy stands between a server and Postgres, reads their protocol, and cuts
// connections around COMMIT.
type proxy struct {
	listener net.Listener
	network  string
	address  string // of Postgres
	armed    atomic.Bool
	cuts     [cutOver]atomic.Int64
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]struct{}
}

func newProxy(databaseURL string) (*proxy, error) {
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	p := &proxy{network: "tcp", address: net.JoinHostPort(c.Host, fmt.Sprint(c.Port)), conns: make(map[net.Conn]struct{})}
	if filepath.IsAbs(c.Host) {
		p.network, p.address = "unix", filepath.Join(c.Host, fmt.Sprintf(".s.PGSQL.%d", c.Port))
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	p.wg.Go(p.accept)
	return p, nil
}

// url is the database's address through the proxy.
func (p *proxy) url(databaseURL string) (string, error) {
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", c.User, p.listener.Addr(), c.Database), nil
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		backend, err := net.Dial(p.network, p.address)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[backend] = struct{}{}, struct{}{}
		p.mu.Unlock()
		w := &wire{proxy: p, client: client, backend: backend}
		p.wg.Go(w.answers)
		p.wg.Go(w.requests)
	}
}

// wire is one connection.
type wire struct {
	proxy           *proxy
	client, backend net.Conn
	mute            atomic.Bool // the client gets no more answers; the connection ends with the transaction
}

func (w *wire) close() {
	w.client.Close()
	w.backend.Close()
	w.proxy.mu.Lock()
	defer w.proxy.mu.Unlock()
	delete(w.proxy.conns, w.client)
	delete(w.proxy.conns, w.backend)
}

// requests passes on what the client says until it is time to cut.
func (w *wire) requests() {
	defer w.close()
	r := bufio.NewReader(w.client)
	// The first message has a length and no type.
	if err := copyMessage(w.backend, r, nil); err != nil {
		return
	}
	statements := make(map[string]string) // prepared, by name
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return
		}
		body, err := readBody(r)
		if err != nil {
			return
		}
		where := never
		if commits(kind, body, statements) && w.proxy.armed.Load() && rand.IntN(20) == 0 {
			where = before + cut(rand.IntN(int(cutOver-before)))
			w.proxy.cuts[where].Add(1)
		}
		if where == before {
			return
		}
		if where == after {
			w.mute.Store(true) // answers closes the connection when it is done
		}
		if err := send(w.backend, kind, body); err != nil {
			return
		}
		if where == racing {
			return
		}
	}
}

// commits says whether a message executes COMMIT, and learns the names of
// prepared statements.
func commits(kind byte, body []byte, statements map[string]string) bool {
	first, rest, _ := strings.Cut(string(body), "\x00")
	second, _, _ := strings.Cut(rest, "\x00")
	switch kind {
	case 'Q':
		return isCommit(first)
	case 'P': // Parse: name, query
		statements[first] = second
	case 'B': // Bind: portal, statement
		return isCommit(statements[second])
	}
	return false
}

func isCommit(sql string) bool {
	return strings.EqualFold(strings.Trim(sql, " \t\r\n;"), "commit")
}

// answers passes on what Postgres says; muted, it waits for the transaction to
// be over and ends the connection.
func (w *wire) answers() {
	defer w.close()
	r := bufio.NewReader(w.backend)
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return
		}
		body, err := readBody(r)
		if err != nil {
			return
		}
		if w.mute.Load() {
			if kind == 'Z' && string(body) == "I" { // ReadyForQuery, no transaction
				return
			}
			continue
		}
		if err := send(w.client, kind, body); err != nil {
			return
		}
	}
}

// readBody reads a length, which counts itself, and what it announces.
func readBody(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < 4 || n > 1<<30 {
		return nil, fmt.Errorf("a message of %d octets", n)
	}
	body := make([]byte, n-4)
	_, err := io.ReadFull(r, body)
	return body, err
}

func copyMessage(to io.Writer, from io.Reader, kind []byte) error {
	body, err := readBody(from)
	if err != nil {
		return err
	}
	_, err = to.Write(append(binary.BigEndian.AppendUint32(kind, uint32(len(body)+4)), body...))
	return err
}

func send(to io.Writer, kind byte, body []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	if _, err := to.Write(append(head, body...)); err != nil {
		return err
	}
	return nil
}

// CutCommits cuts connections between a server and its Postgres around COMMIT:
// before it arrives, while it runs, and after it was done (TRUST.md row 24).
// The rounds of the result are the cuts.
func CutCommits(ctx context.Context, o Options) (Result, error) {
	holder, err := node.Start(o.Binary, o.Folder, nil, "--data", filepath.Join(o.Folder, "holder"))
	if err != nil {
		return Result{}, err
	}
	defer func() { holder.Kill() }()
	p, err := newProxy(holder.Database)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	url, err := p.url(holder.Database)
	if err != nil {
		return Result{}, err
	}
	accounts := make([]string, 0, 4)
	for _, l := range holder.Accounts {
		accounts = append(accounts, "--account", l.Address+":"+l.Password)
	}
	x, err := begin(o, append(accounts, "--database", url)...)
	if err != nil {
		return Result{}, err
	}
	defer func() { x.node.Kill() }()
	x.fire(ctx, "cut")
	p.armed.Store(true)
	end := time.Now().Add(o.For)
	for time.Now().Before(end) || p.total() < o.Rounds {
		if err := x.work(ctx, 1); err != nil {
			return Result{}, err
		}
	}
	p.armed.Store(false)
	result, err := x.end(ctx, p.total(), true)
	if err != nil {
		return result, err
	}
	return result, holder.Stop()
}

func (p *proxy) total() int {
	n := 0
	for i := range p.cuts {
		n += int(p.cuts[i].Load())
	}
	return n
}
