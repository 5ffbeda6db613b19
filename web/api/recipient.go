package api

import (
	"context"
	"errors"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

// recipient is what became of one when its message was handed over.
type recipient struct {
	Address  string `json:"address"`
	Status   string `json:"status"`             // accepted, suppressed, rejected
	Code     int    `json:"code,omitempty"`     // as SMTP would have answered; of rejected
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463
	Detail   string `json:"detail,omitempty"`
}

const (
	accepted   = "accepted"
	suppressed = "suppressed"
	rejected   = "rejected"
)

// sort says of each recipient what can be done, and gives those that get the
// message. Its error is a temporary one.
func (s *server) sort(ctx context.Context, account int64, m *outgoing) (list []recipient, good []mail.Recipient, err error) {
	gone, err := s.suppressed(ctx, account, m.list, m.to)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	for _, a := range m.to {
		r := recipient{Address: a.String(), Status: accepted}
		if why, ok := gone[a]; ok {
			r.Status, r.Detail = suppressed, why
		} else if refusal, err := s.refusal(ctx, a, m.body.Size()); err != nil {
			return nil, nil, unavailable(err)
		} else if refusal != nil {
			r.Status, r.Code, r.Enhanced, r.Detail = rejected, refusal.Code, refusal.Enhanced.String(), refusal.Text
		} else {
			good = append(good, mail.Recipient{Address: a})
		}
		list = append(list, r)
	}
	return list, good, nil
}

// refusal is what RCPT would be answered; nil: the recipient is taken.
func (s *server) refusal(ctx context.Context, to mail.Address, size int64) (*mail.Error, error) {
	res, err := s.Directory.Resolve(ctx, to)
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Class == mail.Permanent {
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	switch res.Status {
	case directory.NoSuchUser:
		return mail.Refuse(550, mail.Enhanced{5, 1, 1}, "No such user here"), nil
	case directory.Disabled:
		return mail.Refuse(550, mail.Enhanced{5, 2, 1}, "Account disabled"), nil
	}
	if s.QuotaOK == nil {
		return nil, nil
	}
	for _, t := range res.Accounts {
		if t.Unlimited {
			continue
		}
		err := s.QuotaOK(ctx, t.Account, size)
		if e, ok := errors.AsType[*mail.Error](err); ok && e.Class == mail.Permanent {
			return e, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}
