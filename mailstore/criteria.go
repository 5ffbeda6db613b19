package mailstore

import "time"

// SearchOp says what a node of Criteria asks for.
type SearchOp uint8

// The operators of a search, after RFC 3501 §6.4.4. Which fields of the node
// they use stands behind them.
const (
	SearchAll        SearchOp = iota // every message
	SearchAnd                        // Sub: all of them; none: every message
	SearchOr                         // Sub: any of them; none: no message
	SearchNot                        // Sub[0]
	SearchUIDs                       // UIDs; sequence numbers and \Recent are resolved by the caller
	SearchFlags                      // Flags: all of these system flags are set
	SearchKeyword                    // Text: the keyword is set, its case does not matter
	SearchBefore                     // Date: the internal date is earlier
	SearchOn                         // Date
	SearchSince                      // Date: the internal date is that or later
	SearchSentBefore                 // Date: the Date field is earlier; a message without one does not match
	SearchSentOn                     // Date
	SearchSentSince                  // Date
	SearchLarger                     // Size: more octets than that
	SearchSmaller                    // Size: fewer octets
	SearchHeader                     // Field, Text: a field of that name contains the text; an empty text asks for the field
	SearchBody                       // Text: the decoded text of the body contains it
	SearchText                       // Text: the header or the body contains it
)

// What extensions of IMAP search for.
const (
	SearchEmailID     SearchOp = iota + 64 // Size: the EMAILID (RFC 8474)
	SearchThreadID                         // Size: the THREADID
	SearchSavedBefore                      // Date: saved before that day, UTC (RFC 8514)
	SearchSavedOn                          // Date
	SearchSavedSince                       // Date: saved that day or later
	SearchOlder                            // Size: the internal date is that many seconds ago or earlier (RFC 5032)
	SearchYounger                          // Size: that many seconds ago or later
	SearchFuzzy                            // Sub[0], in which texts are looked for by words like theirs (RFC 6203)
)

// Criteria is a search program as a tree. Texts are UTF-8 as the client meant
// them: Search folds them. Dates are midnight UTC of the day meant.
type Criteria struct {
	Op    SearchOp
	Sub   []Criteria
	UIDs  UIDSet
	Flags Flags
	Field string
	Text  string
	Date  time.Time
	Size  int64 // octets, or as the operator says
}
