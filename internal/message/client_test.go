package message

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestClientReads lets an IMAP client that others wrote read what Parse made of
// all kinds of messages.
func TestClientReads(t *testing.T) {
	var messages []string
	for _, msg := range hostile() {
		messages = append(messages, msg)
	}
	messages = append(messages, crlf(structureMessage), structureMessage, typicalMessage(12<<10), "", "Subject: gr\xfc\xdf\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n", "Content-Type: message/rfc822\r\n\r\n", "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n--a--",
		"To: \"\\\"\\\\\" <a@b>, g: x;, y\r\nContent-Type: text/plain; name=\"\xff\"; x=\"\\\"\"\r\nContent-Disposition: attachment; filename=\"{3}\"\r\nContent-Language: de, en\r\n\r\n")
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- serveFetch(server, messages, t) }()
	c := imapclient.New(client, nil)
	n := 0
	all := imap.SeqSet{imap.SeqRange{Start: 1, Stop: uint32(len(messages))}}
	fetch := c.Fetch(all, &imap.FetchOptions{Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}})
	for msg := fetch.Next(); msg != nil; msg = fetch.Next() {
		buf, err := msg.Collect()
		if err != nil {
			t.Fatal(err)
		}
		if n++; buf.Envelope == nil || buf.BodyStructure == nil {
			t.Errorf("message %d came without", n)
		}
	}
	if err := fetch.Close(); err != nil {
		t.Errorf("the client cannot read message %d: %v", n+1, err)
	}
	if n != len(messages) {
		t.Errorf("the client read %d messages of %d", n, len(messages))
	}
	client.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.Close()
}

// serveFetch greets, then answers one command with the messages.
func serveFetch(conn net.Conn, messages []string, t *testing.T) error {
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "* PREAUTH [CAPABILITY IMAP4rev1] hello\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	tag, _, _ := strings.Cut(line, " ")
	for i, msg := range messages {
		p, err := Parse(strings.NewReader(msg), int64(len(msg)))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, "* %d FETCH (ENVELOPE %s BODYSTRUCTURE %s)\r\n", i+1, p.Envelope, p.BodyStructure); err != nil {
			return nil // the client has closed: it says why
		}
	}
	fmt.Fprintf(conn, "%s OK done\r\n", tag)
	return nil
}
