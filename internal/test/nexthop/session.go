package nexthop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Session is one connection. On may read its fields; a test reads them by the
// methods, or when the session has ended.
type Session struct {
	N      int    // of this connection, from 1
	Remote string // the client's address and port
	Helo   string // what stood behind EHLO, HELO or LHLO
	User   string // who logged in

	Transactions int // MAIL commands that were accepted
	Rcpts        int // RCPT commands in this transaction, this one included
	TLS          *tls.ConnectionState

	hop      *Hop
	nc       net.Conn
	r        *bufio.Reader
	message  *Message
	chunking bool // a BDAT of this message has come
	commands []Command
	ended    bool
}

// Command is one line of a client.
type Command struct {
	Line string
	// Pipelined says that more lay ready behind this line when it was read:
	// the client did not wait for the reply.
	Pipelined bool
	TLS       bool
}

// Commands are the lines of the client so far, AUTH's secrets included, without
// content.
func (s *Session) Commands() []Command {
	s.hop.mu.Lock()
	defer s.hop.mu.Unlock()
	return append([]Command{}, s.commands...)
}

// Lines are the texts of Commands.
func (s *Session) Lines() []string {
	var lines []string
	for _, c := range s.Commands() {
		lines = append(lines, c.Line)
	}
	return lines
}

// Ended says that the connection is closed.
func (s *Session) Ended() bool {
	s.hop.mu.Lock()
	defer s.hop.mu.Unlock()
	return s.ended
}

// serve speaks with the client until either leaves.
func (s *Session) serve(nc net.Conn) {
	s.nc = nc
	if s.hop.script.Implicit && !s.handshake() {
		return
	}
	s.r = bufio.NewReaderSize(s.nc, 1<<16)
	if !s.say("CONNECT", "", "220 "+s.hop.script.Name+" ESMTP") {
		return
	}
	for {
		line, err := s.line()
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(line, " ")
		if !s.command(strings.ToUpper(verb), arg) {
			return
		}
	}
}

// line reads one command.
func (s *Session) line() (string, error) {
	line, err := s.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if !s.hop.script.Forget {
		s.hop.mu.Lock()
		s.commands = append(s.commands, Command{Line: line, Pipelined: s.r.Buffered() > 0, TLS: s.TLS != nil})
		s.hop.change()
		s.hop.mu.Unlock()
	}
	return line, nil
}

// scripted is the reply that the script gives at a stage, empty for the usual.
func (s *Session) scripted(verb, arg string) string {
	if on := s.hop.script.On; on != nil {
		if reply := on(s, verb, arg); reply != "" {
			return reply
		}
	}
	return s.hop.script.Replies[verb]
}

// forAddress is scripted for a stage that has replies by address.
func (s *Session) forAddress(verb, arg, address string, replies map[string]string) string {
	if on := s.hop.script.On; on != nil {
		if reply := on(s, verb, arg); reply != "" {
			return reply
		}
	}
	if reply := replies[strings.ToLower(address)]; reply != "" {
		return reply
	}
	return s.hop.script.Replies[verb]
}

// say sends what the script has for a stage, or else the usual reply, and says
// whether the session goes on.
func (s *Session) say(verb, arg, usual string) bool {
	reply := s.scripted(verb, arg)
	if reply == "" {
		reply = usual
	}
	return s.send(reply)
}

// send sends a reply and does what its end stands for.
func (s *Session) send(reply string) bool {
	text, way := ending(reply)
	if (way == "" || text != "" && way == Close) && !strings.HasSuffix(text, "\n") {
		text += "\r\n"
	}
	switch way {
	case Drip:
		s.drip(text)
		return false
	case Endless:
		s.repeat(text, "250-and so on\r\n")
		return false
	case Flood:
		s.repeat(text, strings.Repeat("x", 4096))
		return false
	}
	if _, err := io.WriteString(s.nc, text); err != nil {
		return false
	}
	switch way {
	case Close:
		return false
	case Stall:
		// Octets are read for the only purpose of seeing the client leave.
		_, _ = io.Copy(io.Discard, s.nc)
		return false
	}
	return true
}

// ending parts a reply's text from the way in which it ends.
func ending(reply string) (text, way string) {
	for _, way := range []string{Close, Stall, Endless, Flood, Drip} {
		if text, ok := strings.CutSuffix(reply, way); ok {
			return text, way
		}
	}
	return reply, ""
}

func (s *Session) repeat(first, text string) {
	if _, err := io.WriteString(s.nc, first); err != nil {
		return
	}
	for {
		if _, err := io.WriteString(s.nc, text); err != nil {
			return
		}
	}
}

func (s *Session) drip(text string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-s.hop.done:
			return
		}
		if _, err := io.WriteString(s.nc, text[i%len(text):][:1]); err != nil {
			return
		}
	}
}

// handshake makes the connection a TLS one.
func (s *Session) handshake() bool {
	if reply := s.scripted("TLS", ""); reply != "" {
		if _, way := ending(reply); way == "" {
			reply += Close
		}
		return s.send(reply)
	}
	conn := tls.Server(s.nc, s.hop.script.TLS)
	if conn.Handshake() != nil {
		return false
	}
	state := conn.ConnectionState()
	s.hop.mu.Lock()
	s.TLS = &state
	s.hop.mu.Unlock()
	s.nc = conn
	return true
}

// hello is the usual reply to EHLO or LHLO.
func (s *Session) hello() string {
	script := s.hop.script
	lines := append([]string{script.Name + " greets " + s.Helo}, script.Keywords...)
	if script.TLS != nil && !script.Strip && s.TLS == nil {
		lines = append(lines, "STARTTLS")
	}
	if script.Auth != nil {
		lines = append(lines, "AUTH "+script.Mechanism)
	}
	var b strings.Builder
	for i, l := range lines {
		mark := "-"
		if i == len(lines)-1 {
			mark = " "
		}
		fmt.Fprintf(&b, "250%s%s\r\n", mark, l)
	}
	return b.String()
}
