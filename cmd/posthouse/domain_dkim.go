package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"posthouse/smtp/mailauth"
)

type dkimCmd struct {
	List   dkimListCmd   `cmd:"" help:"List the keys, with what each does now."`
	Show   dkimShowCmd   `cmd:"" help:"Show a key and its DNS record."`
	Rotate dkimRotateCmd `cmd:"" help:"Make the keys that follow the present ones, and print their DNS records."`
	Retire dkimRetireCmd `cmd:"" help:"End the life of a key that does not sign."`
}

// dkimView is a DKIM key as the commands show it.
type dkimView struct {
	Domain    string     `json:"domain"`
	Selector  string     `json:"selector"`
	Algorithm string     `json:"algorithm"`
	State     string     `json:"state"`
	Created   time.Time  `json:"created"`
	Signs     time.Time  `json:"signs"`
	Stops     *time.Time `json:"stops,omitempty"`
	Goes      *time.Time `json:"record_until,omitempty"`
	Name      string     `json:"name"`
	Record    string     `json:"record"`
}

func viewDKIM(k mailauth.Key) dkimView {
	return dkimView{k.Domain, k.Selector, k.Algorithm, string(k.State), k.Created, k.Signs, known(k.Stops), known(k.Goes), k.Name(), k.Record()}
}

func viewDKIMs(keys []mailauth.Key) []dkimView {
	views := make([]dkimView, len(keys))
	for i, k := range keys {
		views[i] = viewDKIM(k)
	}
	return views
}

// known is t, or nil for a time that is not known.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// when shows a time for people, or a word instead.
func when(t *time.Time, instead string) string {
	if t == nil {
		return instead
	}
	return t.UTC().Format(time.DateTime)
}

// keysOf lists the keys of a domain that exists.
func (s *site) keysOf(ctx context.Context, domain string) ([]mailauth.Key, error) {
	d, err := s.directory.Domain(ctx, domain)
	if err != nil {
		return nil, explain(err, "domain", domain)
	}
	return s.keys.List(ctx, d.Name)
}

type dkimListCmd struct {
	Domain string `arg:"" optional:"" help:"Only those of this domain."`
	listFlags
}

func (c *dkimListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	var keys []mailauth.Key
	if c.Domain == "" {
		keys, err = s.keys.List(ctx, "")
	} else {
		keys, err = s.keysOf(ctx, c.Domain)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return con.json(viewDKIMs(keys))
	}
	return con.dkimTable(keys)
}

// dkimTable prints keys for people.
func (con *console) dkimTable(keys []mailauth.Key) error {
	rows := make([][]string, len(keys))
	for i, v := range viewDKIMs(keys) {
		rows[i] = []string{v.Domain, v.Selector, v.State, when(&v.Signs, ""), when(v.Stops, "-"), when(v.Goes, "-")}
	}
	return con.table("DOMAIN SELECTOR STATE SIGNS-FROM SIGNS-UNTIL RECORD-UNTIL", rows)
}

type dkimShowCmd struct {
	Domain   string `arg:"" help:"The domain."`
	Selector string `arg:"" help:"The key's selector."`
	listFlags
}

func (c *dkimShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	keys, err := s.keysOf(ctx, c.Domain)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k mailauth.Key) bool { return k.Selector == c.Selector })
	if i < 0 {
		return noKey(c.Domain, c.Selector)
	}
	v := viewDKIM(keys[i])
	if c.JSON {
		return con.json(v)
	}
	if err := con.fields([][2]string{
		{"domain", v.Domain},
		{"selector", v.Selector},
		{"algorithm", v.Algorithm},
		{"state", v.State},
		{"created", when(&v.Created, "")},
		{"signs from", when(&v.Signs, "")},
		{"signs until", when(v.Stops, "other keys follow it")},
		{"record until", when(v.Goes, "a week after it stops signing")},
	}); err != nil {
		return err
	}
	return con.say("%s", dkimRecord(keys[i]).Zone())
}

// dkimRecord is the DNS record of a key.
func dkimRecord(k mailauth.Key) mailauth.Record {
	return mailauth.Record{Name: k.Name(), Type: "TXT", Value: k.Record()}
}

func noKey(domain, selector string) error {
	return fail(exitNotFound, "%s has no DKIM key %s; `posthouse domain dkim list %s` shows those that it has", domain, selector, domain)
}

type dkimRotateCmd struct {
	Domain  string        `arg:"" help:"The domain."`
	Overlap time.Duration `help:"How long the new keys are in the DNS before they sign." default:"72h"`
	Now     bool          `help:"The new keys sign at once, or those that wait already: only when their records stand in the DNS, or the old keys were stolen." aliases:"activate"`
	changeFlags
	listFlags
}

func (c *dkimRotateCmd) Run(ctx context.Context, con *console) error {
	if c.Overlap < 0 {
		return fail(exitUsage, "--overlap cannot be negative")
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.directory.Domain(ctx, c.Domain)
	if err != nil {
		return explain(err, "domain", c.Domain)
	}
	keys, made, err := s.keys.Rotate(ctx, d.Name, mailauth.Rotation{Overlap: c.Overlap, Now: c.Now, DryRun: c.DryRun})
	if err != nil {
		return explainKeys(err)
	}
	if c.JSON {
		return con.json(viewDKIMs(keys))
	}
	if err := con.dkimTable(keys); err != nil {
		return err
	}
	switch {
	case c.DryRun:
		// The keys of a dry run are gone: their records must not be published.
		return con.say("would rotate the keys as shown (dry run, nothing changed)")
	case c.Now:
		err = con.say("The new keys sign now, on every node within half a minute.")
	case made:
		err = con.say("Publish the records of the new keys before they sign; the old records stay until the time shown.")
	default:
		err = con.say("New keys wait already, none were made; --now lets them sign at once.")
	}
	if err != nil {
		return err
	}
	return con.freshRecords(keys, c.Now)
}

// freshRecords prints the records of the keys that a rotation brings.
func (con *console) freshRecords(keys []mailauth.Key, now bool) error {
	for _, k := range keys {
		if k.State == mailauth.Next || now && k.State == mailauth.Signing {
			if err := con.say("%s", dkimRecord(k).Zone()); err != nil {
				return err
			}
		}
	}
	return nil
}

type dkimRetireCmd struct {
	Domain   string `arg:"" help:"The domain."`
	Selector string `arg:"" help:"The key's selector."`
	changeFlags
}

func (c *dkimRetireCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.directory.Domain(ctx, c.Domain)
	if err != nil {
		return explain(err, "domain", c.Domain)
	}
	switch err := s.keys.Retire(ctx, d.Name, c.Selector, c.DryRun); {
	case errors.Is(err, mailauth.ErrNotFound):
		return noKey(c.Domain, c.Selector)
	case errors.Is(err, mailauth.ErrConflict):
		return fail(exitConflict, "key %s signs the mail of %s: `posthouse domain dkim rotate %s` makes keys that follow it", c.Selector, c.Domain, c.Domain)
	case err != nil:
		return err
	}
	what := "key " + c.Selector + " of " + d.Name
	return c.done(con, what+" retired: its record may be removed from the DNS", "retire "+what)
}

// explainKeys says what to do where the secret key is missing.
func explainKeys(err error) error {
	if errors.Is(err, mailauth.ErrNoSecret) {
		return fail(exitConfig, "%w: run this where the server runs, or copy its secret_key file and name it in the configuration", err)
	}
	return err
}
