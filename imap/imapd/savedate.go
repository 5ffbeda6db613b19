package imapd

import (
	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// This file is SAVEDATE (RFC 8514): when a message came into its mailbox, by
// delivery, APPEND, COPY or MOVE. Every mailbox has it; it is told in UTC, and
// the days that SEARCH means are days of UTC.

func init() {
	fetchAttributes["SAVEDATE"] = fetchItem{name: "SAVEDATE", stored: true, write: func(f *fetch, m *fetched, _ *fetchItem) error {
		f.s.enc.Raw(`SAVEDATE "` + wire.FormatDateTime(m.row.SavedDate.UTC()) + `"`)
		return nil
	}}
	searchKeys["SAVEDBEFORE"] = dateKey(mailstore.SearchSavedBefore)
	searchKeys["SAVEDON"] = dateKey(mailstore.SearchSavedOn)
	searchKeys["SAVEDSINCE"] = dateKey(mailstore.SearchSavedSince)
	searchKeys["SAVEDATESUPPORTED"] = func(*searchParser) (mailstore.Criteria, error) { return mailstore.Criteria{}, nil }
}
