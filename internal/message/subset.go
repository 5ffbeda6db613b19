package message

import "strings"

// maxSubset is the most that is kept of the fields that clients ask for, in
// octets. A message that has more is answered from its header.
const maxSubset = 64 << 10

// subsetFields are the fields that mail clients name in BODY[HEADER.FIELDS …],
// in lower case: Thunderbird, Apple Mail, K-9, mutt, Roundcube, Outlook, and the
// filters that run behind them.
var subsetFields = func() map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(`date from sender reply-to to cc bcc subject message-id in-reply-to references
		newsgroups followup-to mail-followup-to mail-reply-to content-type content-transfer-encoding content-disposition
		content-description content-language mime-version importance priority x-priority x-msmail-priority
		list-id list-post list-help list-subscribe list-unsubscribe list-unsubscribe-post list-archive list-owner
		precedence auto-submitted delivered-to return-path x-original-to envelope-to resent-from resent-to resent-cc
		resent-date resent-message-id x-spam-flag x-spam-status x-spam-level x-spam-score x-spam x-mailer user-agent
		disposition-notification-to return-receipt-to authentication-results x-label x-status status lines
		x-mozilla-status x-mozilla-status2 x-mozilla-keys x-mozilla-draft-info x-identity-key x-account-key x-k9mail-identity
		x-uniform-type-identifier x-universally-unique-identifier x-apple-base-url x-apple-mail-remote-attachments
		x-forwarded-message-id x-enigmail-draft-status x-draft-info keywords comments organization autocrypt`) {
		set[name] = true
	}
	return set
}()

// inSubset looks a name up whatever its case.
func inSubset(name []byte) bool {
	var buf [40]byte
	if len(name) > len(buf) {
		return false
	}
	for i, c := range name {
		buf[i] = lower(c)
	}
	return subsetFields[string(buf[:len(name)])]
}

// headerSubset copies the lines of the fields that clients ask for. It is nil
// when they are more than maxSubset.
func headerSubset(header []byte) []byte {
	n := 0
	ScanFields(header, func(name, raw []byte) bool {
		if inSubset(name) {
			n += len(raw)
		}
		return true
	})
	if n > maxSubset {
		return nil
	}
	out := make([]byte, 0, n+2)
	ScanFields(header, func(name, raw []byte) bool {
		if inSubset(name) {
			out = append(out, raw...)
			if out[len(out)-1] != '\n' { // the message ends in its header
				out = append(out, "\r\n"...)
			}
		}
		return true
	})
	return out
}

// SubsetCovers reports whether the fields of these names (any case) can be
// answered from a message's HeaderSubset without reading its header. An empty
// subset covers nothing.
func SubsetCovers(subset []byte, names []string) bool {
	if len(subset) == 0 {
		return false
	}
	for _, name := range names {
		if !inSubset([]byte(name)) {
			return false
		}
	}
	return true
}
