package pop3

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/transcript"
	"posthouse/mailstore"
)

// asSent is what a client must receive, undotted: each line with CRLF.
func asSent(message string) string {
	var b strings.Builder
	for message != "" {
		line, rest, found := strings.Cut(message, "\n")
		b.WriteString(line)
		if !found || !strings.HasSuffix(line, "\r") {
			b.WriteString("\r")
		}
		b.WriteString("\n")
		message = rest
	}
	return b.String()
}

// topOf is what TOP must send of a message that is as sent.
func topOf(message string, lines int) string {
	header, body, found := strings.Cut(message, "\r\n\r\n")
	if strings.HasPrefix(message, "\r\n") {
		header, body, found = "", message[2:], true
	} else {
		header += "\r\n"
	}
	if !found {
		return message
	}
	out := header + "\r\n"
	for ; lines > 0 && body != ""; lines-- {
		line, rest, _ := strings.Cut(body, "\r\n")
		out += line + "\r\n"
		body = rest
	}
	return out
}

// response reads a multi-line response's text, its dots taken off.
func response(c *transcript.Conn) string {
	var b strings.Builder
	for {
		line := c.Line()
		if line == "." {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
		b.WriteString("\r\n")
	}
}

// Octet counts are those of what is sent, whatever line ends are stored, and
// the dots come out right (TRUST row 1: a lone dot ends nothing).
func TestOctets(t *testing.T) {
	s := newSite(t)
	messages := []string{
		"Subject: crlf\r\n\r\nbody\r\n",
		"Subject: lf\n\nbody\n.\nmore\n",
		"Subject: mixed\r\n\nbody\n.\r\n..\nmore",
		"Subject: no end\r\n\r\nbody",
		"Subject: cr\r\n\r\na\rb\r\r\n\rc\r",
		"Subject: dot at the end\r\n\r\n.",
		"Subject: header only",
		"\r\nno header\r\n",
		"\n",
		".",
		"",
		"Subject: nul and 8-bit\r\n\r\n\x00\xff\xfe\r\n",
		"Subject: long line\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n." + strings.Repeat("y", 40_000),
		"Subject: frames\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 30)+"\r\n.\r\n", 2000),
		"Subject: LF frames\n\n" + strings.Repeat(strings.Repeat("0123456789", 30)+"\n.\n", 2000),
	}
	var total int
	for _, m := range messages {
		s.deliver(m)
		total += len(asSent(m))
	}
	prefix := "Return-Path: <x@example.org>\r\n"
	s.deliver("\nSubject: body\n", func(t *mailstore.Target) { t.Prefix = []byte(prefix) })
	messages = append(messages, prefix+"\nSubject: body\n")
	total += len(asSent(messages[len(messages)-1]))

	c := s.login()
	c.Play(fmt.Sprintf("C: STAT\nS: +OK %d %d", len(messages), total))
	for i, m := range messages {
		want := asSent(m)
		c.Play(fmt.Sprintf("C: LIST %d\nS: +OK %d %d\nC: RETR %d\nS: +OK %d octets", i+1, i+1, len(want), i+1, len(want)))
		if got := response(c); got != want {
			t.Errorf("RETR %d: %.100q (%d octets), want %.100q (%d)", i+1, got, len(got), want, len(want))
		}
		for _, n := range []int{0, 1, 2, 5000} {
			c.Play(fmt.Sprintf("C: TOP %d %d\nS: +OK Top of message follows", i+1, n))
			if got, want := response(c), topOf(want, n); got != want {
				t.Errorf("TOP %d %d: %.100q, want %.100q", i+1, n, got, want)
			}
		}
	}
	for i := len(messages) - 1; i >= 0; i-- { // against the order in which bodies are read ahead
		c.Play(fmt.Sprintf("C: RETR %d\nS: +OK %d octets", i+1, len(asSent(messages[i]))))
		if got := response(c); got != asSent(messages[i]) {
			t.Errorf("RETR %d, backwards: %.100q", i+1, got)
		}
	}
	c.Play("C: QUIT\nS: +OK «*»\nEOF")
}

// The stuffer does not care how its input is cut, and counts what it sends.
func TestStufferPieces(t *testing.T) {
	alphabet := []byte("\r\r\n\n\n.a")
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		m := make([]byte, rnd.IntN(12))
		for i := range m {
			m[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		st := stuffer{w: w, left: -1, header: true, start: true}
		for rest := m; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			if err := st.write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := st.finish(); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		want := asSent(string(m))
		stuffed := strings.ReplaceAll("\n"+want, "\n.", "\n..")[1:] + ".\r\n"
		if out.String() != stuffed || st.octets != int64(len(want)) {
			t.Fatalf("%q: sent %q (%d octets), want %q (%d)", m, out.String(), st.octets, stuffed, len(want))
		}
	}
}

// A client that takes its mail slowly, or not at all, keeps no database
// connection, and is closed when it takes nothing.
func TestSlowReader(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Timeouts.Write = 2 * time.Second })
	s.deliver("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 1000)+"\r\n", 20_000))
	before := s.pool.Stat().AcquiredConns()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(nc, "USER %s\r\nPASS %s\r\nRETR 1\r\n", aliceName, password)
	r := bufio.NewReaderSize(nc, 1024)
	for range 4 { // greeting, two answers, +OK
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	// It reads no more. The server's write blocks, and fails after a while.
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(s.log.String(), "event=pop3.end") {
		if n := s.pool.Stat().AcquiredConns(); n > before+1 { // the lease's renewal may be at work
			t.Fatalf("%d connections are taken", n-before)
		}
		if time.Now().After(deadline) {
			t.Fatal("the session goes on")
		}
		time.Sleep(20 * time.Millisecond) // polling, with a deadline
	}
	if log := s.log.String(); !strings.Contains(log, "end=gone retrieved=0") {
		t.Error(log)
	}
	s.login().Play("C: STAT\nS: +OK 1 «*»\nC: QUIT\nS: +OK «*»\nEOF") // free at once
}

// A message whose octets are lost half-way is never ended like a whole one.
func TestCutShort(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 2000))
	s.deliver("Subject: small\r\n\r\n")
	var kept []byte
	if err := s.pool.QueryRow(t.Context(), "SELECT data FROM blob_chunk WHERE seq = 3").Scan(&kept); err != nil {
		t.Fatal(err)
	}
	s.exec("UPDATE blob_chunk SET data = 'rubbish' WHERE seq = 3")
	c := s.login()
	c.Play("C: RETR 1\nS: +OK 2000016 octets")
	c.EOF(true)
	for _, line := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(line, "xxxx") {
			t.Error("the log has the message")
		}
	}
	s.exec("UPDATE blob_chunk SET seq = seq + 100 WHERE seq = 0")
	c = s.login()
	c.Play(`
		C: RETR 1
		S: -ERR [SYS/PERM] The message is no longer there
		C: RETR 2
		S: -ERR [SYS/PERM] The message is no longer there
		C: QUIT
		S: +OK Bye, 2 messages left
		EOF`)
	s.exec("UPDATE blob_chunk SET seq = seq - 100 WHERE seq >= 100")
	s.exec("UPDATE blob_chunk SET data = $1 WHERE seq = 3", kept)
}

func BenchmarkRetr(b *testing.B) {
	s := newSite(b)
	const n = 500
	message := "Subject: x\r\n\r\n" + strings.Repeat("some words of a line that is as long as lines are\r\n", 240) // 12 KB
	for range n {
		s.deliver(message)
	}
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	r := bufio.NewReaderSize(nc, 64<<10)
	line := func() []byte {
		l, err := r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	fmt.Fprintf(nc, "USER %s\r\nPASS %s\r\n", aliceName, password)
	line()
	line()
	line()
	b.SetBytes(int64(len(message)))
	i := 0
	for b.Loop() {
		fmt.Fprintf(nc, "RETR %d\r\n", i%n+1)
		for string(line()) != ".\r\n" {
		}
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "RETR/s")
}
