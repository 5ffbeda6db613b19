package imapd

import (
	"strings"

	"github.com/emersion/go-imap/v2"
)

// masked gives what this session is not told of: capabilities that the operator
// hid from the account, or from programs that call themselves as this one does
// by ID. The commands behind them are not taken away, for who knows them anyway;
// but what ENABLE would change stays as it is.
func (s *session) masked() func(imap.Cap) bool {
	var hidden map[string]bool
	if s.srv.Directory != nil {
		hidden = s.srv.Directory.Masked(s.account.ID, s.program)
	}
	if len(hidden) == 0 {
		return func(imap.Cap) bool { return false }
	}
	listed := func(c imap.Cap) bool {
		name := strings.ToUpper(string(c))
		base, _, _ := strings.Cut(name, "=") // QUOTA hides QUOTA=RES-STORAGE, too
		return hidden[name] || hidden[base]
	}
	return func(c imap.Cap) bool {
		if listed(c) {
			return true
		}
		switch strings.ToUpper(string(c)) {
		case string(qresync): // which has CONDSTORE in it, RFC 7162 §3.2.3
			return listed(condstore)
		case string(rev2):
			for _, need := range rev2Needs {
				if listed(need) {
					return true
				}
			}
		}
		return false
	}
}
