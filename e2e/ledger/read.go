package ledger

import (
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Read takes all messages of an account's INBOX into the comparison. A message
// may be listed by one FETCH once only, whatever the client makes of it.
func (f *Found) Read(imapAddress, user, password string) error {
	c, err := imapclient.DialInsecure(imapAddress, nil)
	if err != nil {
		return fmt.Errorf("read the mailbox of %s: %w", user, err)
	}
	defer c.Close()
	if err := f.read(c, user, password); err != nil {
		return fmt.Errorf("read the mailbox of %s: %w", user, err)
	}
	return nil
}

func (f *Found) read(c *imapclient.Client, user, password string) error {
	if err := c.Login(user, password).Wait(); err != nil {
		return err
	}
	box, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return err
	}
	if box.NumMessages == 0 {
		return nil
	}
	var all imap.SeqSet
	all.AddRange(1, 0) // 1:*
	fetch := c.Fetch(all, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	got := uint32(0)
	for msg := fetch.Next(); msg != nil; msg = fetch.Next() {
		for item := msg.Next(); item != nil; item = msg.Next() {
			section, ok := item.(imapclient.FetchItemDataBodySection)
			if !ok {
				continue
			}
			if section.Literal == nil {
				return errors.New("a message without a body")
			}
			body, err := io.ReadAll(section.Literal)
			if err != nil {
				return err
			}
			f.Message(user, body)
			got++
		}
	}
	if err := fetch.Close(); err != nil {
		return err
	}
	if got != box.NumMessages {
		return fmt.Errorf("SELECT says %d messages, FETCH gave %d", box.NumMessages, got)
	}
	return c.Logout().Wait()
}
