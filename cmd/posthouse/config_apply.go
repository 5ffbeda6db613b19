package main

import (
	"context"
	"fmt"
	"slices"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// applier makes the changes of a document.
type applier struct {
	con        *console
	site       *site
	hooks      *events.Hooks
	have, want *document
	routed     bool // routes or relays changed
}

// order sorts the changes so that each finds what it needs: aliases, backup
// domains, hooks, issuers and masks go before others take their names, then
// everything is made and changed, and at last accounts, relays and domains go.
// kept is what is not to be removed.
func (a *applier) order(list []delta, prune, accounts bool) (out, kept []delta) {
	var first, middle, last []delta
	for _, d := range list {
		_, isAccount := d.have.(*docAccount)
		switch {
		case d.What != "remove":
			middle = append(middle, d)
		case isAccount && !accounts, !isAccount && !prune:
			kept = append(kept, d)
		default:
			switch d.have.(type) {
			case *docAlias, *docBackup, *docHook, *docIssuer, *docMask:
				first = append(first, d)
			default:
				last = append(last, d)
			}
		}
	}
	return slices.Concat(first, middle, last), kept
}

// parsed is for addresses that a document has checked.
func parsed(s string) (mail.Address, error) {
	if s == "" {
		return mail.Address{}, nil
	}
	return mail.ParseAddress(s)
}

// apply makes one change.
func (a *applier) apply(ctx context.Context, d delta) error {
	if d.What == "remove" {
		return a.remove(ctx, d.have)
	}
	switch o := d.want.(type) {
	case *docLimits:
		return a.site.directory.SetDefaultLimits(ctx, directory.Limits{Hourly: recipients(o.Hourly), Daily: recipients(o.Daily)})
	case *docDomain:
		return a.domain(ctx, d.have, o)
	case *docBackup:
		return a.backup(ctx, d.have, o)
	case *docAccount:
		return a.account(ctx, d.have, o)
	case *docAlias:
		return a.alias(ctx, d.have, o)
	case *docRelay:
		a.routed = true
		return a.relay(ctx, d.have, o)
	case *docRouting:
		a.routed = true
		return a.site.directory.SetFallback(ctx, "", o.Fallback)
	case *docRoute:
		a.routed = true
		r, err := o.rule()
		if err == nil {
			_, err = a.site.directory.SetRule(ctx, r)
		}
		return err
	case *docHook:
		return a.hook(ctx, d.have, o)
	case *docIssuer:
		return a.issuer(ctx, d.have, o)
	case *docMask:
		return a.mask(ctx, o, o.Hide)
	}
	return fmt.Errorf("no way to apply %T", d.want)
}

func (a *applier) domain(ctx context.Context, have object, o *docDomain) error {
	if have == nil {
		if _, err := a.site.directory.CreateDomain(ctx, o.Name); err != nil {
			return err
		}
	}
	catchAll, err := parsed(o.CatchAll)
	if err != nil {
		return err
	}
	postmaster, err := parsed(o.Postmaster)
	if err != nil {
		return err
	}
	was, _ := have.(*docDomain)
	if was == nil {
		was = &docDomain{}
	}
	if was.CatchAll != o.CatchAll {
		if err := a.site.directory.SetCatchAll(ctx, o.Name, catchAll); err != nil {
			return err
		}
	}
	if was.Postmaster != o.Postmaster {
		if err := a.site.directory.SetPostmaster(ctx, o.Name, postmaster); err != nil {
			return err
		}
	}
	if was.MTASTS != o.MTASTS {
		return a.site.directory.SetSTSMode(ctx, o.Name, or(o.MTASTS, stsTesting))
	}
	return nil
}

func (a *applier) backup(ctx context.Context, have object, o *docBackup) error {
	b, err := o.backup()
	if err != nil {
		return err
	}
	if _, err := a.site.directory.AddBackup(ctx, b, have != nil); err != nil {
		return err
	}
	var listed []string
	if was, ok := have.(*docBackup); ok {
		listed = was.Listed
	}
	var add, remove []mail.Address
	for from, side := range map[*[]mail.Address][2][]string{&add: {o.Listed, listed}, &remove: {listed, o.Listed}} {
		for _, s := range side[0] {
			if slices.Contains(side[1], s) {
				continue
			}
			addr, err := parsed(s)
			if err != nil {
				return err
			}
			*from = append(*from, addr)
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	return a.site.directory.ListRecipients(ctx, o.Name, add, remove)
}

func (a *applier) account(ctx context.Context, have object, o *docAccount) error {
	dir := a.site.directory
	addr, err := parsed(o.Address)
	if err != nil {
		return err
	}
	was, _ := have.(*docAccount)
	switch {
	case was == nil && o.Shared:
		was = &docAccount{Shared: true}
		if _, err := dir.CreateSharedAccount(ctx, addr); err != nil {
			return err
		}
	case was == nil:
		was = &docAccount{}
		if _, err := dir.CreateAccount(ctx, addr, ""); err != nil {
			return err
		}
		fmt.Fprintf(a.con.err, "account %s has no password: set one with `posthouse account passwd %s`, or let its owner do so by `posthouse account link %s`\n", o.Address, o.Address, o.Address)
	case was.Shared != o.Shared:
		return fail(exitConflict, "account %s: whether it is shared is decided when it is added", o.Address)
	}
	if was.Disabled != o.Disabled {
		if err := dir.SetDisabled(ctx, addr, o.Disabled); err != nil {
			return err
		}
	}
	if was.Quota != o.Quota || was.QuotaMessages != o.QuotaMessages {
		bytes, err := limitOfAny(o.Quota)
		if err != nil {
			return err
		}
		messages, err := limitOfAny(o.QuotaMessages)
		if err != nil {
			return err
		}
		if err := dir.SetQuota(ctx, addr, bytes, messages); err != nil {
			return err
		}
	}
	if was.Retention != o.Retention {
		r, err := mail.ParseRetention(or(o.Retention, (mail.Retention{}).String()))
		if err != nil {
			return err
		}
		if err := dir.SetRetention(ctx, addr, r); err != nil {
			return err
		}
	}
	if was.Pop3MarksSeen != o.Pop3MarksSeen {
		if err := dir.SetPop3MarksSeen(ctx, addr, o.Pop3MarksSeen); err != nil {
			return err
		}
	}
	if was.Hourly != o.Hourly || was.Daily != o.Daily {
		return dir.SetLimits(ctx, addr, ownLimit(o.Hourly), ownLimit(o.Daily))
	}
	return nil
}

func ownLimit(v any) *directory.Limit {
	if v == nil {
		return &directory.Limit{Default: true}
	}
	return &directory.Limit{N: recipients(v)}
}

// alias adds new targets before it takes old ones away: the alias never vanishes.
func (a *applier) alias(ctx context.Context, have object, o *docAlias) error {
	addr, err := parsed(o.Address)
	if err != nil {
		return err
	}
	var old []string
	if was, ok := have.(*docAlias); ok {
		old = was.Targets
	}
	var add, remove []mail.Address
	for _, s := range slices.Concat(o.Targets, old) {
		t, err := parsed(s)
		if err != nil {
			return err
		}
		switch {
		case !slices.Contains(old, s):
			add = append(add, t)
		case !slices.Contains(o.Targets, s):
			remove = append(remove, t)
		}
	}
	if len(add) > 0 {
		if _, err := a.site.directory.AddAlias(ctx, addr, add...); err != nil {
			return err
		}
	}
	if len(remove) > 0 {
		return a.site.directory.RemoveAlias(ctx, addr, remove...)
	}
	return nil
}

// relay makes or changes a relay. Its fallback may stand behind it in the
// document: it is made first then.
func (a *applier) relay(ctx context.Context, have object, o *docRelay) error {
	dir := a.site.directory
	r, err := o.relay()
	if err != nil {
		return err
	}
	was, _ := have.(*docRelay)
	fallback := r.Fallback
	r.Fallback = ""
	switch {
	case was != nil && (r.User == "" || r.User == was.User):
		_, err = dir.ChangeRelay(ctx, r)
	default:
		var password string
		if r.User != "" {
			if password, err = passwordOf(o); err != nil {
				return err
			}
		}
		if _, err = dir.AddRelay(ctx, r, password, was != nil || a.stored(o.Name)); err == nil && was != nil {
			was.Fallback = "" // replaced as a whole
		}
	}
	if err == nil && !a.stored(o.Name) { // before its fallback is made: two may name each other
		a.have.Relays = append(a.have.Relays, *o)
	}
	if err != nil || fallback == "" && (was == nil || was.Fallback == "") {
		return err
	}
	if i := slices.IndexFunc(a.want.Relays, func(other docRelay) bool { return other.Name == fallback }); fallback != "" && i >= 0 && !a.stored(fallback) {
		if err := a.relay(ctx, nil, &a.want.Relays[i]); err != nil {
			return err
		}
	}
	return dir.SetFallback(ctx, o.Name, fallback)
}

// stored tells of relays that were there, or were made since.
func (a *applier) stored(name string) bool {
	return slices.ContainsFunc(a.have.Relays, func(r docRelay) bool { return r.Name == name })
}

// passwordOf reads the password of a relay's user.
func passwordOf(o *docRelay) (string, error) {
	if o.PasswordFile == "" {
		return "", fail(exitConfig, "the password of user %s is not known: name a file that holds it (password_file), or add the relay with `posthouse relay add`", o.User)
	}
	return secretIn(o.PasswordFile)
}

// hook makes a webhook; one that differs is made anew, with a new secret.
func (a *applier) hook(ctx context.Context, have object, o *docHook) error {
	h := events.Hook{URL: o.URL, AllowPrivate: o.AllowPrivate}
	var err error
	if h.AccountID, err = a.site.accountID(ctx, o.Account); err != nil {
		return err
	}
	for _, k := range o.Kinds {
		h.Kinds = append(h.Kinds, events.Kind(k))
	}
	_, secret, err := a.hooks.Add(ctx, h)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.con.err, "hook %s has the secret %s, which is not shown again\n", o.URL, secret)
	if have != nil {
		return a.removeHook(ctx, have.(*docHook))
	}
	return nil
}

func (a *applier) removeHook(ctx context.Context, o *docHook) error {
	list, err := a.hooks.List(ctx, 0)
	if err != nil {
		return err
	}
	for _, h := range list { // the oldest of those that are so
		if d := hookDoc(h); d.id() == o.id() && d.AllowPrivate == o.AllowPrivate && slices.Equal(d.Kinds, o.Kinds) {
			return a.hooks.Remove(ctx, h.ID)
		}
	}
	return nil
}

// remove takes one thing away.
func (a *applier) remove(ctx context.Context, o object) error {
	dir := a.site.directory
	switch o := o.(type) {
	case *docDomain:
		return dir.RemoveDomain(ctx, o.Name)
	case *docBackup:
		return dir.RemoveBackup(ctx, o.Name)
	case *docAccount:
		addr, err := parsed(o.Address)
		if err != nil {
			return err
		}
		return dir.RemoveAccount(ctx, addr)
	case *docAlias:
		addr, err := parsed(o.Address)
		if err != nil {
			return err
		}
		return dir.RemoveAlias(ctx, addr)
	case *docRelay:
		a.routed = true
		return dir.RemoveRelay(ctx, o.Name)
	case *docRoute:
		a.routed = true
		r, err := o.rule()
		if err != nil {
			return err
		}
		return dir.RemoveRule(ctx, r.Side, r.Pattern)
	case *docHook:
		return a.removeHook(ctx, o)
	case *docIssuer:
		return dir.RemoveIssuer(ctx, o.Name)
	case *docMask:
		return a.mask(ctx, o, nil)
	}
	return fmt.Errorf("no way to remove %T", o)
}
