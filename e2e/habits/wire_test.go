package habits

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// TestByeBeforeCommand: when the server closed behind its last answer, the next
// command is told why, and not that the pipe is broken.
func TestByeBeforeCommand(t *testing.T) {
	for _, last := range []string{"* BYE [NONEXISTENT] deleted", ""} {
		ours, theirs := net.Pipe()
		if err := theirs.Close(); err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(ours, &tls.Config{ServerName: "localhost"})
		w := &wire{conn: conn, out: conn, flush: func() error { return nil }, replies: make(chan reply, 2)}
		w.replies <- reply{text: "* 1 EXISTS"}
		if last != "" {
			w.replies <- reply{text: last}
		}
		close(w.replies)
		if err := w.send("1 NOOP\r\n"); err == nil || errors.Is(err, errBye) != (last != "") {
			t.Errorf("after %q: %v", last, err)
		}
	}
}
