package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Submit sends a message on a connection that was just opened: greeting, TLS,
// login, envelope, text. text has CRLF line ends and begins with its header.
func (t *Talk) Submit(ctx context.Context, implicit bool, user, password, from, to, text string) error {
	if r, err := t.Greeting(); err != nil || !r.OK {
		return fmt.Errorf("greeting %q: %w", r.Last(), err)
	}
	if _, err := t.Capabilities("localhost"); err != nil {
		return err
	}
	if !implicit {
		if err := t.StartTLS(ctx); err != nil {
			return err
		}
		if _, err := t.Capabilities("localhost"); err != nil {
			return err
		}
	}
	if r, err := t.Login(user, password); err != nil || !r.OK {
		return refused("the login", r, err)
	}
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">", "DATA"} {
		if r, err := t.Command(line, line); err != nil || !r.OK {
			return refused(line, r, err)
		}
	}
	if err := t.conn.SetWriteDeadline(time.Now().Add(replyPatience)); err != nil {
		return err
	}
	stuffed := strings.ReplaceAll(text, "\r\n.", "\r\n..") // RFC 5321 §4.5.2
	t.hear("C", fmt.Sprintf("(%d octets)", len(text)), "")
	if _, err := t.conn.Write([]byte(stuffed + ".\r\n")); err != nil {
		return err
	}
	if r, err := t.reply("", false); err != nil || !r.OK {
		return refused("the message", r, err)
	}
	t.Quit()
	return nil
}

func refused(what string, r Reply, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s is refused: %s", what, r.Last())
}
