package imapd

import (
	"context"
	"errors"
	"fmt"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/mailstore"
)

// no refuses a command: NO [CODE] text. The code may be empty; the text may not.
func no(code imap.ResponseCode, format string, args ...any) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: fmt.Sprintf(format, args...)}
}

// bad says that a command is wrong: BAD text.
func bad(format string, args ...any) error {
	return &imap.Error{Type: imap.StatusResponseTypeBad, Text: fmt.Sprintf(format, args...)}
}

// errClosed ends a session without another word.
var errClosed = errors.New("session over")

// bye is an error that ends the session with "* BYE [CODE] text".
func bye(code imap.ResponseCode, format string, args ...any) error {
	return &imap.Error{Type: imap.StatusResponseTypeBye, Code: code, Text: fmt.Sprintf(format, args...)}
}

// refusal is the one table that turns errors into answers. ours reports that
// the fault is the server's, and worth a line in the log.
func refusal(err error) (answer *imap.Error, ours bool) {
	if e, ok := errors.AsType[*imap.Error](err); ok {
		return e, false
	}
	if e, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return &imap.Error{Type: imap.StatusResponseTypeBad, Text: e.Text}, false
	}
	if e, ok := errors.AsType[wire.NameError](err); ok {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeCannot, Text: "The " + e.Error()}, false
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Code: r.code, Text: r.text}, false
		}
	}
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Class == mail.Permanent {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeCannot, Text: e.Text}, false
	}
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeUnavailable,
		Text: "Temporary failure, try again later"}, !errors.Is(err, context.Canceled)
}

// refusals are the errors of the mailstore and the directory that a client can
// do something about (RFC 5530).
var refusals = []struct {
	err  error
	code imap.ResponseCode
	text string
}{
	{mailstore.ErrNoMailbox, imap.ResponseCodeNonExistent, "No such mailbox"},
	{mailstore.ErrMailboxExists, imap.ResponseCodeAlreadyExists, "The mailbox exists already"},
	{mailstore.ErrNameInvalid, imap.ResponseCodeCannot, "That name cannot be used for a mailbox"},
	{mailstore.ErrInbox, imap.ResponseCodeCannot, "INBOX cannot be deleted"},
	{mailstore.ErrOverQuota, imap.ResponseCodeOverQuota, "The quota is used up"},
	{mailstore.ErrTooManyKeywords, imap.ResponseCodeLimit, "The mailbox has as many keywords as it can"},
	{mailstore.ErrInUse, imap.ResponseCodeInUse, "In use by another session"},
	{mailstore.ErrGone, "EXPUNGEISSUED", "Some of the messages have been deleted"},
	{directory.ErrBadCredentials, imap.ResponseCodeAuthenticationFailed, "Wrong user name or password"},
	{directory.ErrChannelBinding, imap.ResponseCodeAuthenticationFailed, "The channel binding does not fit this connection"},
	{directory.ErrDisabled, imap.ResponseCodeAuthorizationFailed, "The account is disabled"},
}
