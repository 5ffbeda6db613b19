package transcript

import (
	"fmt"
	"net"
	"testing"
)

// recorder is a test that may fail without failing this one.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper()        {}
func (r *recorder) Cleanup(func()) {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(r)
}

func serve(t *testing.T, lines string) net.Conn {
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		fmt.Fprint(server, lines)
	}()
	t.Cleanup(func() { client.Close(); <-done })
	return client
}

func TestPlay(t *testing.T) {
	c := New(t, serve(t, "* OK ready\r\n* 7 EXISTS\r\n* 8 EXISTS\r\na OK [UIDNEXT 12] done\r\nb 12\r\n"))
	c.Play(`
		S: * OK «*»
		...
		S: * 8 EXISTS
		S: a OK [UIDNEXT «next:\d+»] «*»
		S: b «next»
		EOF
	`)
	if c.Vars["next"] != "12" {
		t.Errorf("next is %q", c.Vars["next"])
	}
}

// TestFails is the control: a kit that cannot fail proves nothing.
func TestFails(t *testing.T) {
	for _, script := range []string{"S: * OK", "S: * OK «n:\\d+»", "...\nS: b", "EOF", "what?"} {
		r := &recorder{TB: t}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(r) {
					panic(p)
				}
			}()
			New(r, serve(t, "* OK ready\r\n")).Play(script)
		}()
		if r.failed == "" {
			t.Errorf("%q did not fail", script)
		}
	}
}
