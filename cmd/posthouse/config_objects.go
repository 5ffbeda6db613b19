package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// object is one table of a document.
type object interface {
	id() string // kind and name
}

func (l *docLimits) id() string  { return "limits" }
func (d *docDomain) id() string  { return "domain " + d.Name }
func (b *docBackup) id() string  { return "backup " + b.Name }
func (a *docAccount) id() string { return "account " + a.Address }
func (a *docAlias) id() string   { return "alias " + a.Address }
func (r *docRelay) id() string   { return "relay " + r.Name }
func (r *docRouting) id() string { return "routing" }
func (r *docRoute) id() string   { return "route " + r.Mail }
func (h *docHook) id() string {
	id := "hook " + h.URL
	if h.Account != "" {
		id += " of " + h.Account
	}
	return id
}

// objects lists the tables in the order in which they can be made.
func (d *document) objects() []object {
	var list []object
	if d.Limits != nil {
		list = append(list, d.Limits)
	}
	add := func(n int, at func(int) object) {
		for i := range n {
			list = append(list, at(i))
		}
	}
	add(len(d.Domains), func(i int) object { return &d.Domains[i] })
	add(len(d.Backups), func(i int) object { return &d.Backups[i] })
	add(len(d.Accounts), func(i int) object { return &d.Accounts[i] })
	add(len(d.Aliases), func(i int) object { return &d.Aliases[i] })
	add(len(d.Relays), func(i int) object { return &d.Relays[i] })
	if d.Routing != nil {
		list = append(list, d.Routing)
	}
	add(len(d.Routes), func(i int) object { return &d.Routes[i] })
	add(len(d.Hooks), func(i int) object { return &d.Hooks[i] })
	add(len(d.Issuers), func(i int) object { return &d.Issuers[i] })
	add(len(d.Masks), func(i int) object { return &d.Masks[i] })
	return list
}

// lines are the keys and values of a table as the file has them.
func lines(o object) ([]string, error) {
	text, err := toml.Marshal(bare(o))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n"), nil
}

// delta is what differs in one table.
type delta struct {
	ID         string   `json:"object"`
	What       string   `json:"change"` // add, change, remove
	Minus      []string `json:"minus,omitempty"`
	Plus       []string `json:"plus,omitempty"`
	have, want object
}

// compare lists what must change for have to become want, additions and changes
// in the order of the document, removals at the end, the last made first.
func compare(have, want *document) ([]delta, error) {
	old, asked := map[string]object{}, map[string]bool{}
	for _, o := range have.objects() {
		old[o.id()] = o
	}
	var list []delta
	for _, o := range want.objects() {
		asked[o.id()] = true
		plus, err := lines(o)
		if err != nil {
			return nil, err
		}
		was, exists := old[o.id()]
		if !exists {
			list = append(list, delta{ID: o.id(), What: "add", Plus: plus, want: o})
			continue
		}
		minus, err := lines(was)
		if err != nil {
			return nil, err
		}
		d := delta{ID: o.id(), What: "change", have: was, want: o}
		d.Minus = slices.DeleteFunc(slices.Clone(minus), func(l string) bool { return slices.Contains(plus, l) })
		d.Plus = slices.DeleteFunc(plus, func(l string) bool { return slices.Contains(minus, l) })
		if len(d.Minus)+len(d.Plus) > 0 {
			list = append(list, d)
		}
	}
	objects := have.objects()
	slices.Reverse(objects)
	for _, o := range objects {
		switch o.(type) {
		case *docLimits, *docRouting:
			continue // always there
		}
		if !asked[o.id()] {
			minus, err := lines(o)
			if err != nil {
				return nil, err
			}
			list = append(list, delta{ID: o.id(), What: "remove", Minus: minus, have: o})
		}
	}
	return list, nil
}

// text shows a delta for people.
func (d *delta) text() string {
	var b strings.Builder
	sign := map[string]string{"add": "+", "change": "~", "remove": "-"}[d.What]
	fmt.Fprintf(&b, "%s %s\n", sign, d.ID)
	for _, l := range d.Minus {
		fmt.Fprintf(&b, "    - %s\n", l)
	}
	for _, l := range d.Plus {
		fmt.Fprintf(&b, "    + %s\n", l)
	}
	return b.String()
}

// stored reads the document that describes the database.
func (s *site) stored(ctx context.Context) (*document, error) {
	d := &document{}
	for _, read := range []func(context.Context, *document) error{s.storedDomains, s.storedAccounts, s.storedRoutes, s.storedHooks, s.storedSignin} {
		if err := read(ctx, d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func address(a mail.Address) string {
	if a.IsZero() {
		return ""
	}
	return a.String()
}

func (s *site) storedDomains(ctx context.Context, d *document) error {
	domains, err := s.directory.Domains(ctx)
	if err != nil {
		return err
	}
	for _, o := range domains {
		d.Domains = append(d.Domains, docDomain{Name: o.Name, CatchAll: address(o.CatchAll), Postmaster: address(o.Postmaster), MTASTS: unlessTesting(o.STSMode)})
	}
	backups, err := s.directory.Backups(ctx)
	if err != nil {
		return err
	}
	for _, o := range backups {
		b := backupDoc(o)
		listed, err := s.directory.Recipients(ctx, o.Name)
		if err != nil {
			return err
		}
		for _, a := range listed {
			b.Listed = append(b.Listed, a.String())
		}
		slices.Sort(b.Listed)
		d.Backups = append(d.Backups, b)
	}
	return nil
}

func (s *site) storedAccounts(ctx context.Context, d *document) error {
	limits, err := s.directory.DefaultLimits(ctx)
	if err != nil {
		return err
	}
	d.Limits = &docLimits{Hourly: limitDoc(limits.Hourly), Daily: limitDoc(limits.Daily)}
	accounts, err := s.directory.Accounts(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range accounts {
		o := docAccount{Address: a.Address.String(), Shared: a.Shared, Disabled: a.Disabled, Retention: a.Retention.String(), Pop3MarksSeen: a.Pop3MarksSeen}
		if a.QuotaBytes != nil {
			o.Quota = *a.QuotaBytes
		}
		if a.QuotaMessages != nil {
			o.QuotaMessages = *a.QuotaMessages
		}
		sending, err := s.directory.Sending(ctx, a.ID)
		if err != nil {
			return err
		}
		if sending.OwnHourly {
			o.Hourly = limitDoc(sending.Hourly)
		}
		if sending.OwnDaily {
			o.Daily = limitDoc(sending.Daily)
		}
		if err := o.canonical(); err != nil {
			return err
		}
		d.Accounts = append(d.Accounts, o)
	}
	aliases, err := s.directory.Aliases(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range aliases {
		o := docAlias{Address: a.Address.String()}
		for _, t := range a.Targets {
			o.Targets = append(o.Targets, t.String())
		}
		slices.Sort(o.Targets)
		d.Aliases = append(d.Aliases, o)
	}
	return nil
}

func (s *site) storedRoutes(ctx context.Context, d *document) error {
	relays, err := s.directory.Relays(ctx)
	if err != nil {
		return err
	}
	for _, r := range relays {
		d.Relays = append(d.Relays, relayDoc(r))
	}
	rules, err := s.directory.Rules(ctx)
	if err != nil {
		return err
	}
	for _, r := range rules {
		d.Routes = append(d.Routes, routeDoc(r))
	}
	fallback, err := s.directory.Fallback(ctx)
	d.Routing = &docRouting{Fallback: fallback}
	return err
}

func (s *site) storedHooks(ctx context.Context, d *document) error {
	hooks, err := s.hooks(ctx)
	if err != nil {
		return err
	}
	list, err := hooks.List(ctx, 0)
	if err != nil {
		return err
	}
	for _, h := range list {
		d.Hooks = append(d.Hooks, hookDoc(h))
	}
	// Of two alike one is described: the document cannot tell them apart.
	seen := map[string]bool{}
	d.Hooks = slices.DeleteFunc(d.Hooks, func(h docHook) bool {
		twice := seen[h.id()]
		seen[h.id()] = true
		return twice
	})
	return nil
}

func hookDoc(h events.Hook) docHook {
	o := docHook{URL: h.URL, Account: h.Account, AllowPrivate: h.AllowPrivate}
	for _, k := range h.Kinds {
		o.Kinds = append(o.Kinds, string(k))
	}
	slices.Sort(o.Kinds)
	return o
}

// encode writes the document as a file.
func (d *document) encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Configuration that lives in Posthouse's database. Passwords and keys are not in it.\n" +
		"# posthouse config diff FILE shows what differs, posthouse config apply FILE makes it so.\n\n")
	err := toml.NewEncoder(&b).Encode(d)
	return b.Bytes(), err
}
