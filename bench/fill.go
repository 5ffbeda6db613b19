package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// fillConns is how many connections fill a mailbox.
const fillConns = 8

// fill puts n messages of about 2 KB into the INBOX of the first account.
func fill(s *server, n int) error {
	return fillWith(s, n, func(conn int) func() []byte {
		words := newCorpus(uint64(1000 + conn))
		return func() []byte { return words.message(words.size(2000)) }
	})
}

// fillWith fills with what each connection's writer gives: Posthouse by APPEND of
// many at a time (RFC 3502) over several connections, Dovecot, which has no such
// thing and waits for the disk at each message, by its own import of a Maildir.
func fillWith(s *server, n int, writer func(conn int) func() []byte) error {
	if s.imports != nil {
		return s.imports(n, writer)
	}
	errs := make(chan error, fillConns)
	var wg sync.WaitGroup
	for i := range fillConns {
		wg.Go(func() {
			c, err := dialIMAP(s.imap, false, address(0))
			if err != nil {
				errs <- err
				return
			}
			defer c.close()
			if err := c.multiAppend("INBOX", writer(i), share(n, i)); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// share is how many of n messages a connection gets.
func share(n, conn int) int {
	if conn < n%fillConns {
		return n/fillConns + 1
	}
	return n / fillConns
}

// multiAppend stores messages, many with each command.
func (c *imapConn) multiAppend(mailbox string, next func() []byte, n int) error {
	const group = 100
	for ; n > 0; n -= group {
		c.tag++
		tag := "a" + strconv.Itoa(c.tag)
		fmt.Fprintf(c.w, "%s APPEND %s", tag, mailbox)
		for range min(n, group) {
			m := next()
			fmt.Fprintf(c.w, " {%d+}\r\n", len(m))
			c.w.Write(m) // the error is sticky
		}
		c.w.WriteString("\r\n")
		if err := c.w.Flush(); err != nil {
			return err
		}
		c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := c.readUntil(tag, io.Discard); err != nil {
			return err
		}
	}
	return nil
}

// importMaildir has Dovecot take the messages from a Maildir, without waiting for
// the disk. It knows nothing of them then but that they are there.
func (d *comparison) importMaildir(n int, writer func(conn int) func() []byte) error {
	maildir := d.path("maildir")
	defer os.RemoveAll(maildir)
	for _, f := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(maildir, f), 0o755); err != nil {
			return err
		}
	}
	at := 0
	for conn := range fillConns {
		next := writer(conn)
		for range share(n, conn) {
			name := filepath.Join(maildir, "cur", fmt.Sprintf("%d.M%d.bench:2,", 1_700_000_000+at, at))
			if err := os.WriteFile(name, bytes.ReplaceAll(next(), []byte("\r\n"), []byte("\n")), 0o644); err != nil {
				return err
			}
			at++
		}
	}
	if out, err := exec.Command("chown", "-R", "nobody:nogroup", maildir).CombinedOutput(); err != nil {
		return fmt.Errorf("chown: %w: %s", err, out)
	}
	out, err := exec.Command("doveadm", "-c", d.path("dovecot.conf"), "-o", "mail_fsync=never",
		"import", "-u", address(0), "maildir:"+maildir, "", "all").CombinedOutput()
	if err != nil {
		return fmt.Errorf("doveadm import: %w: %s", err, out)
	}
	return nil
}
