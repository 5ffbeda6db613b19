package imapd

import (
	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// SEARCHRES (RFC 5182): SEARCH RETURN (SAVE) keeps what it found, and "$" is that
// wherever a set may stand. It is kept as UIDs: what is expunged meanwhile is not
// in the view any more, where a set is looked up. It ends with the selection.

func init() {
	returnOptions["SAVE"] = func(_ *searchParser, want *searchReturn) error { want.save = true; return nil }
}

// saveResult ends a search that may have asked for SAVE: what its answer speaks of
// is kept (§2.4), nothing if it was refused with NO, and what was kept before if it
// was no search at all (§2.1).
func (s *session) saveResult(want *searchReturn, found results, err error) {
	if s.box == nil || !want.save {
		return
	}
	if err == nil {
		s.box.saved = want.told(found)
		return
	}
	if answer, _ := refusal(err); answer.Type == imap.StatusResponseTypeNo {
		s.box.saved = nil
	}
}

// savedResult is what "$" stands for now.
func (s *session) savedResult() mailstore.UIDSet { return s.present(s.box.saved) }
