package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// benchUsers measures whether the time or the text of a refusal tells that an
// account exists: n wrong passwords (default 200) for one that does and n for
// one that does not, mixed, over each protocol. The medians must be within a
// tenth of each other. The throttle is off, as it is for loopback clients of a
// local server: its delays are the same for both.
func benchUsers(o options) error {
	s, err := startPosthouse(o.binary)
	if err != nil {
		return err
	}
	defer s.stop()
	if o.n == 0 {
		o.n = 200
	}
	fmt.Printf("%-16s %12s %12s %8s\n", "median of "+fmt.Sprint(o.n), "exists, ms", "unknown, ms", "ratio")
	var found error
	for _, p := range []struct {
		name, addr string
		guess      func(user string) string
	}{
		{"IMAP LOGIN", s.imap, func(u string) string { return "a LOGIN " + u + " wrong\r\n" }},
		{"POP3 PASS", s.pop3, func(u string) string { return "USER " + u + "\r\nPASS wrong\r\n" }},
		{"SMTP AUTH PLAIN", s.smtp, func(u string) string {
			return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+u+"\x00wrong")) + "\r\n"
		}},
	} {
		var times [2][]float64
		var replies [2]string
		for _, i := range rand.Perm(2 * o.n) { // in turn they would meet the collector in turn, too
			who := i % 2
			user := [2]string{address(0), "nobody0@" + domain}[who]
			took, reply, err := refusal(p.addr, p.guess(user))
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			times[who] = append(times[who], float64(took.Microseconds())/1000)
			replies[who] = reply
		}
		known, _ := median(times[0])
		unknown, _ := median(times[1])
		ratio := max(known, unknown) / min(known, unknown)
		fmt.Printf("%-16s %12.2f %12.2f %8.3f\n", p.name, known, unknown, ratio)
		if replies[0] != replies[1] {
			found = errors.Join(found, fmt.Errorf("%s: %q for an account, %q for nobody", p.name, replies[0], replies[1]))
		}
		if ratio >= 1.1 {
			found = errors.Join(found, fmt.Errorf("%s: the medians differ by %.3f, 1.1 is allowed", p.name, ratio))
		}
	}
	return found
}

// refusal makes one guess on a connection of its own, so that no limit of
// failures is met, and times its reply.
func refusal(addr, guess string) (time.Duration, string, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, "", err
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		return 0, "", err
	}
	if strings.HasPrefix(guess, "AUTH ") {
		fmt.Fprint(conn, "EHLO client.example.org\r\n")
		for more := true; more; {
			line, err := r.ReadString('\n')
			if err != nil {
				return 0, "", err
			}
			more = strings.HasPrefix(line, "250-")
		}
	}
	begin := time.Now()
	if _, err := fmt.Fprint(conn, guess); err != nil {
		return 0, "", err
	}
	var last string
	for range strings.Count(guess, "\n") {
		if last, err = r.ReadString('\n'); err != nil {
			return 0, "", err
		}
	}
	return time.Since(begin), last, nil
}
