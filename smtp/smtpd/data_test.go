package smtpd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"posthouse/internal/mail"
)

// TestEndOfData is TRUST.md rows 1 and 2: what other servers take for the end
// of data is never one here, and what stands behind it never a command.
func TestEndOfData(t *testing.T) {
	smuggled := "MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\r\n", "\r\r\n.\r\n", "\r\n.\r\r\n",
		"\r\n.\n\r\n", "\n\r.\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\x00\n.\r\n", "\r\n.\r\x00\n", "\n.\x00\n", "\x00\n.\r\n", "\r\n.\r\x00",
		" .\r\n", "\r\n .\r\n", "\r\n. \r\n", "\r\n..\r\n", "\v.\r\n", "\f\r\n\f.\r\n", "\u0085.\u0085", "\u2028.\u2028",
	} {
		for _, lead := range []string{"", "line", strings.Repeat("long ", 2000)} {
			s := start(t, MX, nil)
			c := s.dial()
			c.play(data)
			c.raw("Subject: x\r\n\r\n" + lead + end + smuggled)
			c.conn.(interface{ CloseWrite() error }).CloseWrite()
			rest, _ := io.ReadAll(c.r) // a reset is as good as an end
			replies := strings.Split(strings.TrimSpace(string(rest)), "\r\n")
			if len(replies) > 2 || strings.Contains(string(rest), "354") || s.count() > 1 {
				t.Errorf("end %q after %.10q: %d messages, replies %q", end, lead, s.count(), replies)
			}
			for _, b := range s.bodies() {
				if strings.ContainsAny(strings.ReplaceAll(b, "\r\n", ""), "\r\n\x00") || !strings.HasSuffix(b, "smuggled\r\n") {
					t.Errorf("end %q: delivered %q", end, b)
				}
			}
			if s.count() == 0 && !strings.Contains(replies[0], "550 5.6.0") {
				t.Errorf("end %q after %.10q: refused with %q", end, lead, replies)
			}
		}
	}
}

// TestBareLineEndsAnsweredAtOnce: somebody at netcat hears why.
func TestBareLineEndsAnsweredAtOnce(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.line()
	c.raw("HELO me\nMAIL FROM:<>\nRCPT TO:<alice@example.test>\nDATA\n")
	c.play("S: 250 *\nS: 250 *\nS: 250 *\nS: 354 *")
	c.raw("hello\n.\n")
	c.play("S: 550 5.6.0 *\nEOF")
}

func TestNULInData(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(data)
	c.raw("a\x00b\r\n.\r\n")
	c.play("S: 550 5.6.0 *\nC: NOOP\nS: 250 *")
	c.quit()
	if s.count() != 0 {
		t.Error("delivered")
	}
}

// TestVerbatim: every octet arrives, dots and pieces of lines included.
func TestVerbatim(t *testing.T) {
	s := start(t, MX, nil)
	for _, text := range []string{
		"", "\r\n", ".\r\n", "..\r\n.\r\n...\r\n", "\xff\xfe\x80 8-bit\r\n", strings.Repeat("x", 4094) + "\r\n", strings.Repeat("x", 4095) + "\r\n",
		strings.Repeat("x", 4096) + "\r\n", strings.Repeat("x", 8191) + "\r\n.\r\n", strings.Repeat(".\r\n", 5000), strings.Repeat("y", 1<<20-2) + "\r\n",
	} {
		before := s.count()
		c := s.dial()
		c.play(data)
		w := bufio.NewWriter(c.conn)
		for _, l := range strings.SplitAfter(text, "\n") {
			if strings.HasPrefix(l, ".") {
				w.WriteByte('.')
			}
			w.WriteString(l)
		}
		w.WriteString(".\r\n")
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		c.play("S: 250 *")
		c.quit()
		if b := s.bodies(); len(b) != before+1 || b[before] != text {
			t.Errorf("%.20q, %d octets: changed", text, len(text))
		}
	}
}

// TestSizeLimit: exactly the limit is taken, one octet more is not, and the
// session stays in step.
func TestSizeLimit(t *testing.T) {
	const limit = 10000
	s := start(t, MX, func(c *Config) { c.Limits.Message = limit; c.Limits.Memory = 100 })
	c := s.dial()
	c.play("S: 220 *\nEHLO")
	for _, x := range []struct {
		size int
		want string
	}{{limit, "250 2.0.0 *"}, {limit + 1, "552 5.3.4 *"}, {limit, "250 2.0.0 *"}, {2 * limit, "552 5.3.4 *"}} {
		c.play("C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *\nC: DATA\nS: 354 *")
		lines := x.size/9 - 1 // of 9 octets, once the dot is off
		c.raw(repeat("..345678\r\n", lines) + repeat("z", x.size-9*lines-2) + "\r\n.\r\n")
		c.play("S: " + x.want)
	}
	for _, x := range []struct {
		size int
		want string
	}{{limit, "250 2.0.0 *"}, {limit + 1, "552 5.3.4 *"}} {
		c.play("C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *")
		c.raw(fmt.Sprintf("BDAT %d LAST\r\n", x.size) + repeat("z", x.size-2) + "\r\n")
		c.play("S: " + x.want)
	}
	c.play("C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *")
	c.raw("BDAT 9000\r\n" + repeat("z", 9000) + "BDAT 1001 LAST\r\n" + repeat("z", 999) + "\r\nBDAT 3 LAST\r\nxyz")
	c.play("S: 250 2.0.0 *\nS: 552 5.3.4 *\nS: 503 5.5.1 *\nC: NOOP\nS: 250 *")
	c.quit()
	if s.count() != 3 {
		t.Errorf("%d messages", s.count())
	}
}

// TestEndless: a client that goes on beyond twice the limit is cut off.
func TestEndless(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Message = 10000 })
	c := s.dial()
	c.play(data)
	go func() {
		for range 1000 {
			if _, err := io.WriteString(c.conn, repeat("endless\r\n", 1000)); err != nil {
				return
			}
		}
	}()
	c.play("S: 552 5.3.4 *")
	eventually(t, "the session ends", func() bool { s.srv.mu.Lock(); defer s.srv.mu.Unlock(); return len(s.srv.conns) == 0 })
}

func TestLongLine(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Line = 5000 })
	c := s.dial()
	c.play(data)
	c.raw(repeat("x", 4998) + "\r\n" + repeat("x", 4999) + "\r\n.\r\n")
	c.play("S: 550 5.6.0 Line of more than 5000 octets\nC: NOOP\nS: 250 *")
	c.quit()
}

func TestLoop(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Hops = 3 })
	for hops, want := range map[int]string{3: "250 2.0.0 *", 4: "554 5.4.6 *"} {
		c := s.dial()
		c.play(data)
		c.raw(repeat("RECEIVED: by x;\r\n\tsome day\r\n", hops) + "\r\n" + repeat("Received: quoted\r\n", 9) + ".\r\n")
		c.play("S: " + want)
		c.quit()
	}
}

func TestChunks(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(begin)
	c.raw("BDAT 12\r\nSubject: x\r\nBDAT 0\r\nBDAT 2\r\n\r\nBDAT 8 last\r\n.\r\nRSET\n")
	c.play("S: 250 2.0.0 *\nS: 250 2.0.0 *\nS: 250 2.0.0 *\nS: 550 5.6.0 *") // RSET LF: a bare LF
	c.play(strings.TrimPrefix(begin, "\nS: 220 mx.example.test ESMTP Posthouse\n"))
	c.raw("BDAT 16\r\nSubject: x\r\n\r\n.\r")
	c.play("S: 250 *\nC: MAIL FROM:<>\nS: 503 *\nC: RCPT TO:<bob@example.test>\nS: 503 *\nC: DATA\nS: 503 *\nC: NOOP\nS: 250 *")
	c.raw("BDAT 1 LAST\r\n\n")
	c.play("S: 250 2.0.0 Ok: stored as *")
	c.quit()
	if b := s.bodies(); len(b) != 1 || b[0] != "Subject: x\r\n\r\n.\r\n" {
		t.Errorf("delivered %q", b)
	}
}

func TestChunksBroken(t *testing.T) {
	for _, cmd := range []string{"BDAT", "BDAT x", "BDAT -1", "BDAT 5 LAST now", "BDAT 5 FIRST", "BDAT 0x10", "BDAT 99999999999999"} {
		s := start(t, MX, nil)
		c := s.dial()
		c.play(begin)
		c.raw(cmd + "\r\nRSET\r\nRSET\r\n")
		if l := c.line(); l[0] != '5' {
			t.Errorf("%s: %q", cmd, l)
		}
		c.eof()
	}
	s := start(t, MX, nil)
	c := s.dial()
	c.play(begin)
	c.raw("BDAT 100 LAST\r\nonly this")
	c.conn.Close()
	eventually(t, "the session ends", func() bool { s.srv.mu.Lock(); defer s.srv.mu.Unlock(); return len(s.srv.conns) == 0 })
	if s.count() != 0 {
		t.Errorf("half a chunk was delivered: %q", s.bodies())
	}
	c = s.dial()
	c.play(begin)
	c.raw("BDAT 5\r\nabc\r\n")
	c.play("S: 250 *\nC: RSET\nS: 250 2.0.0 Ok\nC: BDAT 0 LAST\nS: 503 *")
	c.play(strings.TrimPrefix(begin, "\nS: 220 mx.example.test ESMTP Posthouse\n") + "C: BDAT 0 LAST\nS: 250 2.0.0 *")
	c.quit()
}

// TestChunksAbandoned: RSET, EHLO or QUIT between chunks ends that message only.
func TestChunksAbandoned(t *testing.T) {
	for _, mode := range []Mode{MX, LMTP} {
		s := start(t, mode, nil)
		c := s.dial()
		c.line()
		hello, again := "EHLO", "C: EHLO client\nS: 250-*"
		if mode == LMTP {
			hello, again = "LHLO", "C: LHLO client\nS: 250-*"
		}
		c.greet(hello)
		envelope := "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *\nC: RCPT TO:<bob@example.test>\nS: 250 *\n"
		for range 3 {
			c.play(envelope + "C: BDAT 3\nC: a\nS: 250 2.0.0 Chunk taken\nC: RSET\nS: 250 2.0.0 Ok")
			c.play(envelope + "C: BDAT 1")
			c.raw("\r")
			c.play("S: 250 2.0.0 Chunk taken\n" + again)
			for c.line()[3] == '-' {
			}
		}
		c.play(envelope + "C: BDAT 6 LAST\nC: last\nS: 250 2.0.0 *")
		if mode == LMTP {
			c.play("S: 250 2.0.0 *")
		}
		c.play(envelope + "C: BDAT 4\nC: ab\nS: 250 *")
		c.quit()
		if b := s.bodies(); len(b) != 1 || b[0] != "last\r\n" {
			t.Errorf("%s: delivered %q", mode, b)
		}
	}
}

func TestBinary(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(`
		S: 220 *
		EHLO
		C: MAIL FROM:<> BODY=BINARYMIME
		S: 250 *
		C: RCPT TO:<alice@example.test>
		S: 250 *
		C: DATA
		S: 503 5.5.1 *`)
	body := "Subject: x\r\n\r\n\x00\r\n\n.\r\r\n.\r\n\xff"
	c.raw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
	c.play("S: 250 2.0.0 *")
	c.quit()
	if b := s.bodies(); len(b) != 1 || b[0] != body {
		t.Errorf("delivered %q", b)
	}
}

// TestBinaryEnds: whatever the last octets are, they and nothing else arrive.
func TestBinaryEnds(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play("S: 220 *\nEHLO")
	var want []string
	for _, end := range []string{"", "x", "\r", "\n", "\r\n", "\r\r", "\r\r\n", "\r\n\r", "\r\n.", "\r\n.\r", "\r\n.\r\n", ".", "\n.\r\n", "\r\r\n.\r\n."} {
		for _, lead := range []string{"", strings.Repeat("x", 4094), strings.Repeat("\r\n.", 3000)} {
			body := "\r\n" + lead + end
			want = append(want, body)
			c.play("C: MAIL FROM:<> BODY=BINARYMIME\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *")
			half := len(body) / 2
			c.raw(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, body[:half], len(body)-half, body[half:]))
			c.play("S: 250 *\nS: 250 2.0.0 Ok*")
		}
	}
	c.quit()
	for i, b := range s.bodies() {
		if b != want[i] {
			t.Errorf("%.40q (%d): delivered %.40q (%d)", want[i], len(want[i]), b, len(b))
		}
	}
}

func TestHalfAMessage(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(data)
	c.raw("Subject: x\r\n\r\nhalf")
	c.conn.Close()
	eventually(t, "the session ends", func() bool { s.srv.mu.Lock(); defer s.srv.mu.Unlock(); return len(s.srv.conns) == 0 })
	if s.count() != 0 {
		t.Error("delivered")
	}
}

func TestOutcomes(t *testing.T) {
	for want, err := range map[string]error{
		"451 4.3.0 *":              io.ErrClosedPipe,
		"452 4.2.2 Later":          mail.Defer(452, mail.Enhanced{4, 2, 2}, "Later", nil),
		"554 5.0.0 two lines":      mail.Refuse(554, mail.Enhanced{5, 0, 0}, "two\nlines"),
		"451 4.3.0 Local trouble*": &mail.Error{Class: mail.Unknown},
	} {
		s := start(t, MX, nil)
		s.mail.fail = func(*mail.Incoming) error { return err }
		c := s.dial()
		c.play(data + "C: .\nS: " + want)
		c.quit()
		if s.mail.answered != 0 {
			t.Error("a refusal was confirmed")
		}
	}
}

// FuzzData holds that whatever a client sends after 354, go-smtp's reading and
// ours agree: a body that is delivered has no bare CR or LF, and unstuffs to
// what was sent up to the first CRLF.CRLF.
func FuzzData(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nQUIT\r\n", "a\n.\r\n.\r\n", "a\r.\r\n.\r\n", "..\r\n.\r\n", "\r\r\n.\r\n", strings.Repeat("x", 4095) + "\r\n.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, complete, bad := readBody(t, sent)
		end := bytes.Index(append([]byte("\r\n"), sent...), []byte("\r\n.\r\n"))
		if bad {
			plain := bytes.ReplaceAll(sent, []byte("\r\n"), nil)
			if !bytes.ContainsAny(plain, "\r\n") && end < 0 {
				t.Fatalf("%q: refused without reason", sent)
			}
			return
		}
		if complete != (end >= 0) {
			t.Fatalf("%q: complete %v, end at %d", sent, complete, end)
		}
		if !complete {
			return
		}
		want := bytes.ReplaceAll(append([]byte("\r\n"), sent[:end]...), []byte("\r\n."), []byte("\r\n"))[2:]
		if !bytes.Equal(got, want) {
			t.Fatalf("%q: read %q, want %q", sent, got, want)
		}
	})
}
