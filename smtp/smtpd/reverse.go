package smtpd

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"posthouse/internal/mail"
)

// Names of clients, by the DNS, for the Received field. They are asked for while
// the client still talks, so that nobody waits for them, but for a message that
// comes faster than the DNS.
const (
	reversePatience = 2 * time.Second
	reverseKept     = 10 * time.Minute
	reverseMost     = 4096 // names in memory
)

// names is a small cache of what addresses are called.
type names struct {
	ask func(context.Context, netip.Addr) string
	mu  sync.Mutex
	of  map[netip.Addr]*name
}

// name is one of them, on its way until known is closed.
type name struct {
	text  string
	until time.Time
	known chan struct{}
}

// get gives the name of an address, perhaps still on its way. run starts a
// goroutine that somebody waits for, or says that it may not.
func (n *names) get(addr netip.Addr, ctx context.Context, run func(func()) bool) *name {
	if n.ask == nil || !addr.IsValid() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.of[addr]; e != nil && time.Now().Before(e.until) {
		return e
	}
	if len(n.of) >= reverseMost {
		clear(n.of)
	}
	e := &name{until: time.Now().Add(reverseKept), known: make(chan struct{})}
	if !run(func() {
		defer close(e.known)
		ctx, cancel := context.WithTimeout(ctx, reversePatience)
		defer cancel()
		if text := n.ask(ctx, addr); isHelo(text) {
			e.text = text
		}
	}) {
		return nil
	}
	n.of[addr] = e
	return e
}

// String waits for the name, which takes reversePatience at most. It is empty
// for an address without one.
func (n *name) String() string {
	if n == nil {
		return ""
	}
	<-n.known
	return n.text
}

// soFar is the name if it is known already.
func (n *name) soFar() string {
	if n != nil {
		select {
		case <-n.known:
			return n.text
		default:
		}
	}
	return ""
}

// welcomed asks Config.Welcome about a client, and answers one that is not.
func (c *conn) welcomed() bool {
	if c.mode != MX || c.srv.cfg.Welcome == nil || !c.client.Remote.IsValid() {
		return true
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.Welcome)
	defer cancel()
	err := c.srv.cfg.Welcome(ctx, c.client.Remote)
	e, ok := errors.AsType[*mail.Error](err)
	if !ok {
		if err != nil { // a list that does not answer lists nobody
			c.log.Warn("the client could not be looked up", "event", "smtp.welcome", "error", err.Error())
		}
		return true
	}
	reply := smtpError(e)
	code := "421"
	if reply.Code >= 500 {
		code = "554" // RFC 5321 §3.1: the one refusal that may stand in place of the banner
	}
	c.reject("unwelcome", code, e.Enhanced.String()+" "+reply.Message)
	return false
}
