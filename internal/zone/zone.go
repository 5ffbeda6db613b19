// Package zone brings the DNS zone of a domain, at whoever serves it, in line
// with the records that a mail server needs. It adds what is missing, and
// changes what only this server can have written: DKIM keys and the id of the
// MTA-STS policy. What else stands at a name is somebody's decision: where it
// does the same it stays, and where it does not it is a conflict, replaced only
// when asked for. No other record is touched.
package zone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"posthouse/smtp/mailauth"
)

// Provider is a service that serves zones and lets them be changed.
type Provider interface {
	libdns.RecordGetter
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Action is what becomes of a record.
type Action string

const (
	Keep      Action = "keep"      // it stands there, or what does the same
	Add       Action = "add"       // nothing of its kind is there
	Replace   Action = "replace"   // something else of its kind goes
	Remove    Action = "remove"    // it is needed no more
	Conflict  Action = "conflict"  // something that is not ours stands there
	Elsewhere Action = "elsewhere" // its name is in another zone
)

// Step is a record and what is to be done with it.
type Step struct {
	mailauth.Record
	Action Action   `json:"action"`
	Found  []string `json:"found,omitempty"` // what stands there and is not it

	old []libdns.Record
}

// Changes reports whether the zone is not the same after it.
func (s Step) Changes() bool { return s.Action == Add || s.Action == Replace || s.Action == Remove }

// lifetime of the records that are written.
const lifetime = time.Hour

// Plan compares a zone with the records that should stand, and with those that
// should no longer. fits says of a record whether the DNS does the same in other
// words; replace lets conflicts be replaced.
func Plan(zone string, have []libdns.Record, want, gone []mailauth.Record, fits func(mailauth.Record) bool, replace bool) []Step {
	z := contents{zone: canonical(zone), have: have, want: want}
	var steps []Step
	for _, r := range want {
		steps = append(steps, z.step(r, fits, replace))
	}
	for _, r := range gone {
		for _, old := range z.at(r.Name) {
			if same(old.RR(), r) {
				steps = append(steps, Step{Record: r, Action: Remove, old: []libdns.Record{old}})
			}
		}
	}
	return steps
}

// contents are a zone and what it should have.
type contents struct {
	zone string
	have []libdns.Record
	want []mailauth.Record
}

func (z contents) step(r mailauth.Record, fits func(mailauth.Record) bool, replace bool) Step {
	s := Step{Record: r, Action: Add}
	if name := canonical(r.Name); name != z.zone && !strings.HasSuffix(name, "."+z.zone) {
		s.Action = Elsewhere
		return s
	}
	var exact bool
	for _, old := range z.at(r.Name) {
		switch rr := old.RR(); {
		case same(rr, r):
			exact = true
		case z.wanted(rr, r.Name):
			// another host of the same list
		case rival(rr, r):
			s.old = append(s.old, old)
			s.Found = append(s.Found, rr.Type+" "+rr.Data)
		}
	}
	switch {
	case len(s.old) == 0 && exact:
		s.Action = Keep
	case len(s.old) == 0:
		s.Action = Add
	case r.Kind == mailauth.KindDKIM, r.Kind == mailauth.KindSTS && !slices.ContainsFunc(s.old, isAlias):
		s.Action = Replace
	case fits(r):
		s.Action = Keep
	case replace:
		s.Action = Replace
	default:
		s.Action = Conflict
	}
	if exact && s.Action == Replace {
		s.old = append(s.old, z.exact(r)...) // it is written anew
	}
	return s
}

func isAlias(r libdns.Record) bool { return r.RR().Type == "CNAME" }

// at are the records of a name.
func (z contents) at(name string) (list []libdns.Record) {
	for _, r := range z.have {
		if canonical(libdns.AbsoluteName(r.RR().Name, z.zone+".")) == canonical(name) {
			list = append(list, r)
		}
	}
	return list
}

func (z contents) exact(r mailauth.Record) (list []libdns.Record) {
	for _, old := range z.at(r.Name) {
		if same(old.RR(), r) {
			list = append(list, old)
		}
	}
	return list
}

// wanted reports whether what stands at a name is one of the records that
// should.
func (z contents) wanted(rr libdns.RR, name string) bool {
	return slices.ContainsFunc(z.want, func(r mailauth.Record) bool { return canonical(r.Name) == canonical(name) && same(rr, r) })
}

// rival reports whether what stands at a record's name takes its place: the same
// kind of thing, or an alias, which suffers nothing beside it (RFC 1034 §3.6.2).
func rival(rr libdns.RR, r mailauth.Record) bool {
	switch {
	case rr.Type == "CNAME" || r.Type == "CNAME":
		return true
	case rr.Type != r.Type:
		return false
	case rr.Type == "TXT":
		return r.Kind == mailauth.KindDKIM || version(rr.Data) == version(r.Value)
	case rr.Type == "A", rr.Type == "AAAA":
		return false // a host may have more addresses
	}
	return true
}

// same reports whether a record of the zone is the one that should stand. The
// preference of an MX record is its owner's choice.
func same(rr libdns.RR, r mailauth.Record) bool {
	if rr.Type != r.Type {
		return false
	}
	switch r.Type {
	case "TXT":
		return rr.Data == r.Value
	case "MX":
		_, host, _ := strings.Cut(rr.Data, " ")
		return canonical(host) == canonical(r.Value)
	}
	return slices.Equal(strings.Fields(canonical(rr.Data)), strings.Fields(canonical(r.Value)))
}

// version is what a text begins with and says what it is: v=spf1, v=DMARC1.
func version(text string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(text, ";", " "), " ")
	return strings.ToLower(first)
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Apply does what was planned: what goes, goes first, for an alias bears
// nothing beside it and two SPF records count as none. Where the provider does
// not take what comes, what went is put back.
func Apply(ctx context.Context, p Provider, zone string, steps []Step) error {
	zone = canonical(zone) + "."
	var old, fresh []libdns.Record
	for _, s := range steps {
		if !s.Changes() {
			continue
		}
		for _, o := range s.old {
			if !slices.ContainsFunc(old, func(have libdns.Record) bool { return have.RR() == o.RR() }) {
				old = append(old, o)
			}
		}
		if s.Action == Remove {
			continue
		}
		r, err := record(s.Record, zone)
		if err != nil {
			return err
		}
		fresh = append(fresh, r)
	}
	if len(old) > 0 {
		if _, err := p.DeleteRecords(ctx, zone, old); err != nil {
			return fmt.Errorf("remove records of %s: %w", zone, err)
		}
	}
	if len(fresh) > 0 {
		if _, err := p.AppendRecords(ctx, zone, fresh); err != nil {
			err = fmt.Errorf("add records to %s: %w", zone, err)
			return errors.Join(err, putBack(ctx, p, zone, old))
		}
	}
	return nil
}

// putBack adds records that were removed, so that the domain is not without an MX
// because a provider said no. It does not end with the caller, who may be why.
func putBack(ctx context.Context, p Provider, zone string, old []libdns.Record) error {
	if len(old) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if _, err := p.AppendRecords(ctx, zone, old); err != nil {
		var lost []string
		for _, r := range old {
			rr := r.RR()
			lost = append(lost, fmt.Sprintf("%s %s %s", rr.Name, rr.Type, rr.Data))
		}
		return fmt.Errorf("these are removed and could not be put back: %s: %w", strings.Join(lost, "; "), err)
	}
	return nil
}

// record is one as providers take it.
func record(r mailauth.Record, zone string) (libdns.Record, error) {
	rr := libdns.RR{Name: libdns.RelativeName(r.Name+".", zone), TTL: lifetime, Type: r.Type, Data: r.Value}
	rr.Name = cmp.Or(rr.Name, "@")
	switch r.Type {
	case "MX":
		rr.Data = fmt.Sprintf("%d %s.", r.Priority, r.Value)
	case "SRV", "CNAME":
		rr.Data += "."
	}
	parsed, err := rr.Parse()
	if err != nil {
		return nil, fmt.Errorf("the record %s: %w", r.Zone(), err)
	}
	return parsed, nil
}
