package imapd

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"posthouse/internal/inflate"
)

// squeezed is the client's end of a connection under COMPRESS.
type squeezed struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func (c *squeezed) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.ErrUnexpectedEOF { // there is no last block
		err = io.EOF
	}
	return n, err
}

func (c *squeezed) Write(p []byte) (int, error) {
	if _, err := c.w.Write(p); err != nil {
		return 0, err
	}
	return len(p), c.w.Flush()
}

// squeeze compresses what p sends from now on, and expects the same.
func squeeze(t testing.TB, p *peer) *peer {
	t.Helper()
	w, err := flate.NewWriter(p.c, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	// What was read ahead is compressed already. An inflater of another make
	// than the server's would do, too: TestCompressReadByOthers.
	return newPeer(t, &squeezed{Conn: p.c, r: inflate.NewReader(p.r), w: w})
}

// deflated is alice's session with COMPRESS on.
func (s *site) deflated() *peer {
	s.t.Helper()
	p := s.login()
	p.run("C: z COMPRESS DEFLATE\nS: z OK …")
	return squeeze(s.t, p)
}

func TestCompress(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", bigMessage)
	s.dial().run(`
		C: a CAPABILITY
		S: * CAPABILITY {caps} …
		S: a OK …
		C: b COMPRESS DEFLATE
		S: b BAD …
	`)
	p := s.login()
	p.run(`
		C: a CAPABILITY
		S: * CAPABILITY … COMPRESS=DEFLATE …
		S: a OK …
		C: b COMPRESS LZW
		S: b BAD …
		C: c COMPRESS
		S: c BAD …
		C: d COMPRESS DEFLATE now
		S: d BAD …
		C: e compress deflate
		S: e OK DEFLATE active
	`)
	p = squeeze(t, p)
	p.run(`
		C: f CAPABILITY
		S: * CAPABILITY IMAP4rev1 …
		S: f OK …
		C: g COMPRESS DEFLATE
		S: g NO [COMPRESSIONACTIVE] …
		C: h SELECT INBOX
		S~: h OK …
		C: i FETCH 1 BODY.PEEK[]<0.12>
		S: * 1 FETCH (BODY[]<0> {12}\r\nSubject: big)
		S: i OK …
		C: j FETCH 1 (RFC822.SIZE BODY.PEEK[])
		S: * 1 FETCH (RFC822.SIZE {size} BODY[] {{size}}\r\nSubject: big\r\n\r\nxxx…xxx\r\n)
		S: j OK …
		C: k APPEND INBOX {12}
		S: + …
		C: Subject: abc
		S: * 2 EXISTS
		S: * 2 RECENT
		S: k OK …
		C: l IDLE
		S: + idling
	`)
	s.deliver("INBOX", simpleMessage)
	p.run("S: * 3 EXISTS\nS: * 3 RECENT\nC: DONE\nS: l OK …\nC: m LOGOUT\nS: * BYE …\nS: m OK …\nEOF:")
}

// TestCompressAdvertised: not before login, and not when it is active.
func TestCompressAdvertised(t *testing.T) {
	s := newSite(t)
	for name, p := range map[string]*peer{"before login": s.dial(), "active": s.deflated()} {
		p.run("C: a CAPABILITY")
		if got := p.read(); strings.Contains(got, "COMPRESS") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestCompressPartialFlush is rule 4 of PROTOCOLS.md: K-9 and mutt flush like
// that, each line is answered before the next one is sent. The octets are zlib's
// own, from the vectors of package inflate.
func TestCompressPartialFlush(t *testing.T) {
	text, err := os.ReadFile("../../internal/inflate/testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	streams := map[string]*peer{}
	var raw = map[string]net.Conn{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		name := f[0]
		packed, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		plain, err := hex.DecodeString(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if streams[name] == nil {
			if !strings.HasPrefix(name, "partial") && !strings.HasSuffix(name, "6") {
				continue
			}
			p := s.login()
			p.run("C: z COMPRESS DEFLATE\nS: z OK …")
			raw[name], streams[name] = p.c, squeeze(t, p)
		}
		p := streams[name]
		p.deadline()
		if _, err := raw[name].Write(packed); err != nil {
			t.Fatal(err)
		}
		switch tag, command, _ := strings.Cut(string(plain), " "); {
		case strings.HasPrefix(command, "IDLE"):
			p.run("S: + idling")
		case command == "":
			p.run("S~: e OK …") // DONE
		default:
			p.run("S~: " + tag + " OK …")
		}
	}
	if len(streams) < 12 {
		t.Errorf("%d streams", len(streams))
	}
}

// TestCompressAhead: what comes with the command and behind it is compressed.
func TestCompressAhead(t *testing.T) {
	s := newSite(t)
	p := s.login()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString("a NOOP\r\nb COMPRESS DEFLATE\r\n")
	if _, err := io.WriteString(w, "c NOOP\r\nd NOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	p.send(b.String())
	p.run("S: a OK …\nS: b OK …")
	squeeze(t, p).run("S: c OK …\nS: d OK …")

	// In the clear, it is no DEFLATE, and no command.
	q := s.login()
	q.send("b COMPRESS DEFLATE\r\nc NOOP\r\n")
	q.run("S: b OK …")
	squeeze(t, q).run("S: * BYE …\nEOF:")
}

// TestCompressReadByOthers: our stream is one for compress/flate, whole answers
// at a time, through more than a window of octets.
func TestCompressReadByOthers(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", bigMessage)
	s.deliver("INBOX", multipartMessage)
	p := s.login()
	p.run("C: z COMPRESS DEFLATE\nS: z OK …")
	q := squeeze(t, p)
	q.c.(*squeezed).r = flate.NewReader(p.r)
	q.run("C: a SELECT INBOX\nS~: a OK …")
	for range 20 {
		q.run("C: b FETCH 1:* (FLAGS BODYSTRUCTURE BODY.PEEK[])\nS: * 1 FETCH …\nS: * 2 FETCH …\nS: b OK …\nC: c NOOP\nS: c OK …")
	}
}

// TestCompressStartTLS: compression goes inside TLS (RFC 4978 §4), and stays
// when the user goes (RFC 8437).
func TestCompressStartTLS(t *testing.T) {
	s := newSite(t, withTLS(testCertificate(t)))
	p := s.deflated()
	p.run("C: a UNAUTHENTICATE\nS: a OK …\nC: b STARTTLS\nS: b BAD …\nC: c CAPABILITY")
	if got := p.read(); strings.Contains(got, "STARTTLS") || strings.Contains(got, "COMPRESS") {
		t.Error(got)
	}
	p.run("S: c OK …\nC: d LOGIN " + aliceName + ` "` + password + `"` + "\nS: d OK …\nC: e COMPRESS DEFLATE\nS: e NO [COMPRESSIONACTIVE] …")
}

// TestCompressBomb: a kilobyte that becomes a megabyte of one line is a line too
// long, and literals are counted as they come out.
func TestCompressBomb(t *testing.T) {
	s := newSite(t)
	for name, tt := range map[string]struct{ send, want string }{
		"a line":                  {"a NOOP" + strings.Repeat(" ", 2<<20) + "\r\n", "S: * BYE [TOOBIG] …\nEOF:"},
		"a literal":               {"a LIST \"\" {20000000+}\r\n" + strings.Repeat("x", 20000000) + "\r\n", "S: a BAD …"},
		"a message too big":       {"a APPEND INBOX {234310148+}\r\n" + strings.Repeat("x", 1<<20), "S: * BYE [TOOBIG] …\nEOF:"},
		"literal that is skipped": {"a FOO {900000+}\r\n" + strings.Repeat("x LOGOUT\r\n", 90000) + "\r\nb NOOP\r\n", "S: a BAD …\nS: b OK …"},
	} {
		t.Log(name)
		p := s.deflated()
		go io.WriteString(p.c, tt.send) // the server may close before it has read all
		p.run(tt.want)
	}
}

// TestCompressCorrupt: what is no DEFLATE ends the session, and no other.
func TestCompressCorrupt(t *testing.T) {
	s := newSite(t)
	other := s.deflated()
	for _, send := range []string{"\x07", "\x01\x01\x00\x00\x00", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", strings.Repeat("\xff", 5000)} {
		p := s.login()
		p.run("C: z COMPRESS DEFLATE\nS: z OK …")
		q := squeeze(t, p)
		if _, err := io.WriteString(p.c, send); err != nil {
			t.Fatal(err)
		}
		q.run("S: * BYE …\nEOF:")
	}
	other.run("C: a NOOP\nS: a OK …")
}

// TestCompressSlowloris is TRUST row 13 once more: a flush of nothing now and
// then is no command.
func TestCompressSlowloris(t *testing.T) {
	for name, drip := range map[string][]byte{
		"empty blocks": {0, 0, 0, 0xff, 0xff}, // a sync flush
		"half a block": {},
		"a command":    {0, 1, 0, 0xfe, 0xff, 'x'}, // a stored block of one octet
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := New(Config{Hostname: "mail.example.test"})
				client, server := net.Pipe()
				s := newSession(srv, server, netip.Addr{}, false)
				if err := s.compress(); err != nil {
					t.Fatal(err)
				}
				var session sync.WaitGroup
				session.Go(func() { s.Run(context.Background()) })
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					io.Copy(io.Discard, client)
				}()
				begin := time.Now()
				var err error
				if name == "half a block" {
					_, err = client.Write([]byte{0, 200, 0})
				}
				for err == nil {
					time.Sleep(time.Second)
					if _, err = client.Write(drip); len(drip) == 0 {
						<-gone
						break
					}
				}
				<-gone
				if took := time.Since(begin); took > 4*time.Minute || took < 10*time.Second {
					t.Errorf("closed after %s", took)
				}
				client.Close()
				session.Wait()
			})
		})
	}
}

// TestCompressKeepsLittle: what an idle session holds for COMPRESS, when much
// was sent both ways.
func TestCompressKeepsLittle(t *testing.T) {
	d := &deflate{dst: io.Discard}
	for range 100 {
		if _, err := d.Write([]byte(bigMessage[:32<<10])); err != nil {
			t.Fatal(err)
		}
	}
	if cap(d.sent) != history {
		t.Errorf("%d octets of history", cap(d.sent))
	}
}
