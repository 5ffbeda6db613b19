package mda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/message"
	"posthouse/internal/spool"
	"posthouse/mailstore"
	"posthouse/smtp/dsn"
	"posthouse/smtp/queue"
)

// plan is where one message goes.
type plan struct {
	mda     *MDA
	in      *mail.Incoming
	body    *spool.Spool
	parsed  *message.Parsed
	ours    bool // it is our own to send: it may go anywhere
	targets []mailstore.Target
	named   []string     // for each of targets, the recipient as the client named it
	items   []queue.Item // without their blob
	told    []told       // what the sender asked to hear of
	passed  []string     // Delivered-To addresses of the message, folded; nil: not read yet

	blob      int64     // of mail that only leaves; 0: not known
	committed time.Time // zero: now, as far as is known
}

// add resolves a recipient. The listener did so before; what has changed since
// is refused here.
func (p *plan) add(ctx context.Context, rcpt mail.Recipient) error {
	res, err := p.resolve(ctx, rcpt.Address)
	if err != nil {
		return err
	}
	switch res.Status {
	case directory.NotLocal:
		if p.in.Account == 0 && !p.ours && p.mda.cfg.Capture == nil {
			return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Relaying denied")
		}
		return p.remote(ctx, rcpt, mail.Address{})
	case directory.Backup: // the listener asked RelaysFor
		return p.remote(ctx, rcpt, mail.Address{})
	case directory.NoSuchUser:
		return mail.Refuse(550, mail.Enhanced{5, 1, 1}, "No such user here")
	case directory.Disabled:
		return mail.Refuse(550, mail.Enhanced{5, 2, 1}, "Account disabled")
	}
	if p.held() {
		return p.remote(ctx, rcpt, mail.Address{})
	}
	for _, t := range res.Accounts {
		p.local(t, rcpt.Address)
	}
	return p.forward(ctx, rcpt, res)
}

// resolve asks the directory, and for what looks like a rewritten sender whom
// it stands for: bounces go back the way that the forward came.
func (p *plan) resolve(ctx context.Context, to mail.Address) (directory.Resolution, error) {
	cfg := &p.mda.cfg
	res, err := cfg.Directory.Resolve(ctx, to)
	if err == nil && res.Status == directory.NotLocal && p.isOurPostmaster(to) {
		res, err = cfg.Directory.Resolve(ctx, mail.Address{Local: "postmaster"})
	}
	if err == nil && cfg.Return != nil && res.Status != directory.NotLocal && res.Status != directory.Backup {
		var back mail.Address
		if back, err = cfg.Return(ctx, to); err == nil && !back.IsZero() {
			res, err = cfg.Directory.Resolve(ctx, back)
			if err == nil && (res.Status == directory.NotLocal || res.Status == directory.Backup) {
				res = directory.Resolution{Status: directory.OK, Remote: []mail.Address{back}}
			}
		}
	}
	if _, ok := errors.AsType[*mail.Error](err); ok || err == nil {
		return res, err
	}
	return res, mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot look up the recipient, try again later", err)
}

// isOurPostmaster: reports name the postmaster of this host (RFC 5321 §4.5.1),
// whose name need be no mail domain.
func (p *plan) isOurPostmaster(to mail.Address) bool {
	return strings.EqualFold(to.Local, "postmaster") && strings.EqualFold(to.Domain, p.mda.cfg.Hostname)
}

// forward sends on what an alias leads elsewhere. What the sender asked of the
// alias is asked of where it leads, unless that is more than one place: then
// success is reported here, as expanded (RFC 3461 §5.2.7).
func (p *plan) forward(ctx context.Context, rcpt mail.Recipient, res directory.Resolution) error {
	if len(res.Remote) == 0 {
		p.tell(dsn.Delivered, rcpt)
		return nil
	}
	if err := p.checkLoop(rcpt.Address); err != nil {
		return err
	}
	onward := rcpt
	if onward.Original == "" {
		onward.Original = addressType(rcpt.Address) + ";" + rcpt.String()
	}
	if len(res.Accounts)+len(res.Remote) > 1 {
		p.tell(dsn.Expanded, rcpt)
		onward.Notify = withoutSuccess(rcpt.Notify)
	}
	for _, to := range res.Remote {
		onward.Address = to
		if err := p.remote(ctx, onward, rcpt.Address); err != nil {
			return err
		}
	}
	return nil
}

// local adds a copy for an account, unless it has one. Captured copies, which
// lie in an account, too, don't count.
func (p *plan) local(to directory.Target, rcpt mail.Address) {
	for _, t := range p.targets {
		if t.Account == mailstore.AccountID(to.Account) && t.Recipient == to.Address.String() {
			return
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", p.in.From, to.Address)
	if !sameAddress(rcpt, to.Address) {
		fmt.Fprintf(&b, "X-Original-To: %s\r\n", rcpt)
	}
	b.Write(p.in.Received)
	b.Write(p.in.Signed)
	p.named = append(p.named, rcpt.String())
	p.targets = append(p.targets, mailstore.Target{Account: mailstore.AccountID(to.Account), Mailbox: "INBOX",
		Recipient: to.Address.String(), Prefix: b.Bytes(), InternalDate: p.in.Arrived})
}

// remote adds a recipient elsewhere; via is the address here that forwards to
// it, zero if the client named it.
func (p *plan) remote(ctx context.Context, to mail.Recipient, via mail.Address) error {
	if p.mda.cfg.Capture != nil {
		p.tell(dsn.Delivered, to)
		p.capture(to.Address, via)
		return nil
	}
	for i := range p.items {
		it := &p.items[i]
		if it.Via != via {
			continue
		}
		if !slices.ContainsFunc(it.Recipients, func(r mail.Recipient) bool { return r.Address == to.Address }) {
			it.Recipients = append(it.Recipients, to)
		}
		return nil
	}
	it := queue.Item{Ref: p.in.ID, Envelope: p.in.Envelope, Via: via}
	it.Recipients = []mail.Recipient{to}
	if via.IsZero() {
		it.Account = p.in.Account
	} else {
		it.Prefix = fmt.Appendf(nil, "Delivered-To: %s\r\n", via)
		if err := p.rewrite(ctx, &it); err != nil {
			return err
		}
	}
	it.Prefix = append(append(it.Prefix, p.in.Received...), p.in.Signed...)
	p.items = append(p.items, it)
	return nil
}

// rewrite gives a forward a sender of this site, unless it has one.
func (p *plan) rewrite(ctx context.Context, it *queue.Item) error {
	if it.From.IsZero() || p.mda.cfg.Forward == nil {
		return nil
	}
	ours, err := p.mda.cfg.Directory.LocalDomain(ctx, it.From.Domain)
	if err == nil && !ours {
		it.From, err = p.mda.cfg.Forward(ctx, it.From, it.Via.Domain)
	}
	if err != nil {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot forward now, try again later", err)
	}
	return nil
}

// elsewhere marks the captured copies: a recipient for Dedup that no address
// equals.
const elsewhere = "captured:"

// capture adds a copy of what would leave for one recipient.
func (p *plan) capture(to, via mail.Address) {
	account := mailstore.AccountID(p.mda.cfg.Capture.Account)
	for _, t := range p.targets {
		if t.Account == account && t.Recipient == elsewhere+to.String() {
			return
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", p.in.From, to)
	if via.IsZero() {
		via = to
	}
	fmt.Fprintf(&b, "X-Original-To: %s\r\n", via)
	b.Write(p.in.Received)
	b.Write(p.in.Signed)
	p.named = append(p.named, to.String())
	p.targets = append(p.targets, mailstore.Target{Account: account, Mailbox: "INBOX",
		Recipient: elsewhere + to.String(), Prefix: b.Bytes(), InternalDate: p.in.Arrived})
}

// checkLoop refuses to forward what was forwarded from here before (TRUST row
// 18). Only forwards are checked: a message that somebody gets a second time is
// no loop.
func (p *plan) checkLoop(via mail.Address) error {
	if p.passed == nil {
		header, err := p.header()
		if err != nil {
			return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot read the message, try again later", err)
		}
		p.passed = deliveredTo(header)
	}
	if slices.Contains(p.passed, strings.ToLower(via.String())) {
		return mail.Refuse(554, mail.Enhanced{5, 4, 6}, "Loop: this message was forwarded from "+via.String()+" before")
	}
	return nil
}

// maxHeader is how much of a header is looked through for a loop, in octets;
// trace fields stand in front.
const maxHeader = 1 << 20

func (p *plan) header() ([]byte, error) {
	parts, err := message.DecodeParts(p.parsed.Parts)
	if err != nil {
		return nil, err
	}
	root, ok := parts.Lookup(nil)
	if !ok {
		return nil, errors.New("mda: a message without a root part")
	}
	header := make([]byte, min(root.HeaderLen, maxHeader))
	_, err = p.body.ReadAt(header, 0)
	if len(header) == 0 {
		err = nil
	}
	return header, err
}

// deliveredTo collects the addresses of Delivered-To fields, in lower case.
func deliveredTo(header []byte) []string {
	list := []string{}
	message.ScanFields(header, func(name, raw []byte) bool {
		if strings.EqualFold(string(name), "Delivered-To") {
			_, value, _ := strings.Cut(string(raw), ":")
			list = append(list, strings.ToLower(strings.Trim(value, "<> \t\r\n")))
		}
		return true
	})
	return list
}

// sameAddress ignores the case, which only the receiving side may do.
func sameAddress(a, b mail.Address) bool {
	return strings.EqualFold(a.Local, b.Local) && a.Domain == b.Domain
}
