package imapd

import (
	"crypto/tls"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestSlowFetch: who asks for more of what the store has prepared than a socket
// holds, and reads none of it, holds no connection of the database, and so no
// transaction, in the clear, in TLS or under COMPRESS. In the end all of it is
// there.
func TestSlowFetch(t *testing.T) {
	s := newSite(t, withTLS(testCertificate(t)))
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 4000)
	for range 40 {
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		s.deliver("INBOX", "From: alice@example.test\nSubject: "+hex.EncodeToString(noise[:450])+"\nX-Noise: "+hex.EncodeToString(noise)+"\n\nx\n")
	}
	filler := s.open("INBOX")
	const messages = 40 << 6 // 20 MB of header fields
	for n := 40; n < messages; n *= 2 {
		filler.run("C: a COPY 1:* INBOX\nS~: a OK …")
	}
	secure, err := tls.Dial("tcp", s.tls, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	inTLS := newPeer(t, secure)
	inTLS.run("S: * OK …\nC: login LOGIN " + aliceName + ` "` + password + `"` + "\nS~: login OK …")
	readers := map[string]*peer{"in the clear": s.login(), "in TLS": inTLS, "compressed": s.deflated()}
	for name, p := range readers {
		p.run("C: a SELECT INBOX\nS~: a OK …\nC: b UID FETCH 1:* (FLAGS ENVELOPE BODY.PEEK[HEADER])")
		if line, err := p.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* 1 FETCH") {
			t.Fatal(name, line, err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		var busy int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND pid <> pg_backend_pid() AND (state <> 'idle' OR backend_xmin IS NOT NULL)`).Scan(&busy)
		if err != nil {
			t.Fatal(err)
		}
		// The notifier keeps a connection for LISTEN.
		if n := s.pool.Stat().AcquiredConns(); n <= 1 && busy == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d connections are held, %d are busy", n, busy)
		}
	}
	acquired := s.pool.Stat().AcquireCount()
	s.login().run("C: a NOOP\nS: a OK …") // and the others are served meanwhile
	for name, p := range readers {
		last := ""
		for n := 0; ; {
			p.deadline()
			line, err := p.r.ReadString('\n')
			if err != nil {
				t.Fatal(name, err)
			}
			if strings.HasPrefix(line, "* ") && strings.Contains(line, " FETCH (") {
				n++
			}
			if strings.HasPrefix(line, "b ") {
				if n != messages-1 || !strings.HasPrefix(line, "b OK") { // the first one's line was read before
					t.Errorf("%s: %d messages, %s", name, n, line)
				}
				break
			}
			last = line
		}
		if last != ")\r\n" {
			t.Errorf("%s: the last line is %q", name, last)
		}
	}
	if more := s.pool.Stat().AcquireCount() - acquired; more < int64(len(readers)) {
		t.Errorf("only %d connections taken to read the rest: nobody was waiting", more)
	}
}
