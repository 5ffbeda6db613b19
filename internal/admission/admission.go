// Package admission counts connections: in all, by client address and by
// account, over all protocols of a process. Its memory is bounded by the total.
package admission

import (
	"net/netip"
	"sync"
)

// Limits are the caps; zero means none.
type Limits struct {
	Total, PerAddress, PerAccount int
}

// Gate admits connections within its limits.
type Gate struct {
	limits  Limits
	mu      sync.Mutex
	total   int
	address map[netip.Addr]int
	account map[int64]int
}

// New makes a gate.
func New(l Limits) *Gate {
	return &Gate{limits: l, address: make(map[netip.Addr]int), account: make(map[int64]int)}
}

// Limit sets other limits, for those who come from now on.
func (g *Gate) Limit(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = l
}

// Admit counts a connection from addr, unless one of the caps is reached. The
// caller calls release, once or more, when the connection ends.
func (g *Gate) Admit(addr netip.Addr) (release func(), ok bool) {
	addr = block(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	if over(g.total, g.limits.Total) || over(g.address[addr], g.limits.PerAddress) {
		return nil, false
	}
	g.total++
	g.address[addr]++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		drop(g.address, addr)
	}), true
}

// AdmitAccount counts a session of an account that has logged in.
func (g *Gate) AdmitAccount(id int64) (release func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if over(g.account[id], g.limits.PerAccount) {
		return nil, false
	}
	g.account[id]++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		drop(g.account, id)
	}), true
}

// Open is the number of connections now.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// block is what counts as one address: an IPv6 client owns a /64.
func block(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() && !a.IsLoopback() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

func over(n, limit int) bool { return limit > 0 && n >= limit }

func drop[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}
