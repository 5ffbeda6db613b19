package habits

import (
	"bufio"
	"compress/flate"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 2 * time.Minute

// reply is one response: its text, with the literals taken out.
type reply struct {
	text     string
	literals [][]byte
	err      error // the connection's end
}

// wire is a connection. Once listen was called, replies come by a channel, so
// that a client in IDLE can wait for other things, too.
type wire struct {
	conn    *tls.Conn
	in      *bufio.Reader
	out     io.Writer
	flush   func() error
	replies chan reply
	done    chan struct{}
	tags    int
}

func dial(address string, config *tls.Config) (*wire, error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn, in: bufio.NewReader(conn), out: conn, flush: func() error { return nil }}
	return w, nil
}

// close ends the connection and waits for who reads from it.
func (w *wire) close() {
	w.conn.Close()
	if w.done != nil {
		go func() {
			for range w.replies { // the reader may wait to hand one over
			}
		}()
		<-w.done
	}
}

// compress turns COMPRESS on (RFC 4978), after its OK.
func (w *wire) compress() error {
	deflate, err := flate.NewWriter(w.conn, flate.DefaultCompression)
	if err != nil {
		return err
	}
	w.in = bufio.NewReader(flate.NewReader(w.in))
	w.out, w.flush = deflate, deflate.Flush
	return nil
}

// listen has replies read by a goroutine, which ends with the connection.
func (w *wire) listen() {
	w.replies, w.done = make(chan reply, 64), make(chan struct{})
	go func() {
		defer close(w.done)
		defer close(w.replies)
		for {
			r := w.read()
			w.replies <- r
			if r.err != nil {
				return
			}
		}
	}()
}

var literal = regexp.MustCompile(`~?\{(\d+)\}$`)

// read reads one response.
func (w *wire) read() (r reply) {
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			return reply{err: err}
		}
		line = strings.TrimSuffix(line, "\r\n")
		m := literal.FindStringSubmatch(line)
		if m == nil {
			r.text += line
			return r
		}
		r.text += strings.TrimSuffix(line, m[0]) + "{}"
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return reply{err: err}
		}
		octets := make([]byte, n)
		if _, err := io.ReadFull(w.in, octets); err != nil {
			return reply{err: err}
		}
		r.literals = append(r.literals, octets)
	}
}

// next is the next response.
func (w *wire) next() reply {
	if w.replies == nil {
		if err := w.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return reply{err: err}
		}
		r := w.read()
		return r
	}
	select {
	case r, ok := <-w.replies:
		if !ok {
			return reply{err: io.ErrUnexpectedEOF}
		}
		return r
	case <-time.After(patience):
		return reply{err: errors.New("no answer within " + patience.String())}
	}
}

// send writes what is to go out at once. Where the server has closed already, what
// it said last is the error: a BYE may come behind the answer before.
func (w *wire) send(text string) error {
	err := w.write(text)
	if err == nil {
		return nil
	}
	for {
		r := w.next()
		if r.err != nil {
			return err
		}
		if strings.HasPrefix(r.text, "* BYE") {
			return fmt.Errorf("%w before %.100s: %s", errBye, text, r.text)
		}
	}
}

func (w *wire) write(text string) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(w.out, text); err != nil {
		return err
	}
	return w.flush()
}

// errBye is a connection that the server closed with BYE.
var errBye = errors.New("BYE")

// refused is a tagged NO or BAD.
type refused struct{ command, answer string }

func (r *refused) Error() string { return fmt.Sprintf("%.200s: %s", r.command, r.answer) }

// do runs a command: take gets the untagged responses. It gives the tagged one
// without its tag and OK.
func (w *wire) do(command string, take func(reply) error) (string, error) {
	w.tags++
	tag := strconv.Itoa(w.tags)
	if err := w.send(tag + " " + command + "\r\n"); err != nil {
		return "", err
	}
	return w.finish(tag, command, take)
}

func (w *wire) finish(tag, command string, take func(reply) error) (string, error) {
	for {
		r := w.next()
		if r.err != nil {
			return "", fmt.Errorf("%.100s: %w", command, r.err)
		}
		if rest, ok := strings.CutPrefix(r.text, tag+" "); ok {
			if text, ok := strings.CutPrefix(rest, "OK "); ok {
				return text, nil
			}
			return "", &refused{command, rest}
		}
		if strings.HasPrefix(r.text, "* BYE") && !strings.EqualFold(command, "LOGOUT") {
			return "", fmt.Errorf("%w after %.100s: %s", errBye, command, r.text)
		}
		if err := take(r); err != nil {
			return "", fmt.Errorf("%.100s: %w", command, err)
		}
	}
}
