package directory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

// primary is the server that a backup domain lives on, as callouts see it.
type primary struct {
	mu      sync.Mutex
	says    map[string]Verdict
	asked   []string
	gate    chan struct{} // nil: answers at once
	running atomic.Int32
	most    atomic.Int32
}

func (p *primary) verify(ctx context.Context, domain string, from, rcpt mail.Address) Verdict {
	n := p.running.Add(1)
	defer p.running.Add(-1)
	for m := p.most.Load(); n > m && !p.most.CompareAndSwap(m, n); m = p.most.Load() {
	}
	p.mu.Lock()
	p.asked = append(p.asked, rcpt.String())
	v, ok := p.says[rcpt.Local]
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	if !ok {
		return Verdict{Unknown, "550 5.1.1 nobody"}
	}
	return v
}

func (p *primary) say(local string, v Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.says[local] = v
}

// questions are the callouts since the last call.
func (p *primary) questions() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.asked
	p.asked = nil
	return q
}

// awake lets a primary be asked again that did not answer.
func (d *Directory) awake() {
	d.callouts.mu.Lock()
	defer d.callouts.mu.Unlock()
	clear(d.callouts.domains)
}

func TestBackupDomains(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	b, err := d.AddBackup(ctx, BackupDomain{Name: "Elsewhere.test", Hosts: []Host{hop("127.0.0.1:2525")}}, false)
	must(t, err)
	want := BackupDomain{Name: "elsewhere.test", Hosts: []Host{hop("127.0.0.1:2525")}, Recipients: Callout, KnownFor: DefaultKnownFor,
		UnknownFor: DefaultUnknownFor, Created: b.Created}
	if got, err := d.Backup(ctx, "ELSEWHERE.test"); err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(b, want) {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, second(d.AddBackup(ctx, BackupDomain{Name: "byrecords.test", Recipients: Anybody, AcceptDown: true}, false)))
	for what, c := range map[string]struct{ err, want error }{
		"twice":            {second(d.AddBackup(ctx, BackupDomain{Name: "elsewhere.test"}, false)), ErrConflict},
		"a domain of ours": {second(d.AddBackup(ctx, BackupDomain{Name: "example.test"}, false)), ErrConflict},
		"becomes ours":     {second(d.CreateDomain(ctx, "elsewhere.test")), ErrConflict},
		"replace none":     {second(d.AddBackup(ctx, BackupDomain{Name: "nosuch.test"}, true)), ErrNotFound},
		"a policy":         {second(d.AddBackup(ctx, BackupDomain{Name: "x.test", Recipients: "some"}, false)), ErrInvalid},
		"a time":           {second(d.AddBackup(ctx, BackupDomain{Name: "x.test", KnownFor: time.Second}, false)), ErrInvalid},
		"a name":           {second(d.AddBackup(ctx, BackupDomain{Name: "a b"}, false)), ErrInvalid},
		"rm none":          {d.RemoveBackup(ctx, "nosuch.test"), ErrNotFound},
		"list of none":     {d.ListRecipients(ctx, "nosuch.test", nil, nil), ErrNotFound},
		"list another's":   {d.ListRecipients(ctx, "elsewhere.test", []mail.Address{addr("a@b.test")}, nil), ErrInvalid},
		"off the list":     {d.ListRecipients(ctx, "elsewhere.test", nil, []mail.Address{addr("a@elsewhere.test")}), ErrNotFound},
		"account in":       {second(d.CreateAccount(ctx, addr("a@elsewhere.test"), "")), ErrNotFound},
		"show":             {second(d.Backup(ctx, "example.test")), ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	r, err := d.Resolve(ctx, addr("Somebody@elsewhere.test"))
	if err != nil || !reflect.DeepEqual(r, Resolution{Status: Backup, Remote: []mail.Address{addr("Somebody@elsewhere.test")}}) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := d.Resolve(ctx, addr("a@sub.elsewhere.test")); err != nil || r.Status != NotLocal {
		t.Errorf("below it: %+v, %v", r, err)
	}
	if ok, err := d.LocalDomain(ctx, "elsewhere.test"); ok || err != nil {
		t.Errorf("local: %v, %v", ok, err)
	}
	if ok, err := d.MaySendAs(ctx, account(t, d, "alice@example.test").ID, addr("a@elsewhere.test")); ok || err != nil {
		t.Errorf("alice may send as somebody there: %v, %v", ok, err)
	}

	// Its mail goes to its primary, whatever routes there are for others.
	must(t, second(d.AddRelay(ctx, Relay{Name: "smart", Hosts: []Host{hop("127.0.0.2:2525")}}, "", false)))
	for _, rule := range []Rule{{Side: AllMail, Relay: "smart"}, {Side: ToDomain, Pattern: "*.test", Relay: "smart"}, {Side: FromWhom, Pattern: "example.test", Relay: "smart"}} {
		must(t, second(d.SetRule(ctx, rule)))
	}
	must(t, d.SetFallback(ctx, "", "smart"))
	route := func(to string, want Route) {
		t.Helper()
		if got, err := d.RouteFor(ctx, addr("alice@example.test"), to); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", to, got, err)
		}
	}
	route("elsewhere.test", Route{Key: "elsewhere.test", Hosts: []Host{hop("127.0.0.1:2525")}})
	route("byrecords.test", Route{Key: "byrecords.test", Domain: "byrecords.test"})
	must(t, second(d.SetRule(ctx, Rule{Side: ToDomain, Pattern: "elsewhere.test", Relay: "smart"})))
	route("elsewhere.test", Route{Key: "relay:smart", Hosts: []Host{hop("127.0.0.2:2525")}})

	must(t, d.ListRecipients(ctx, "elsewhere.test", []mail.Address{addr("Bob@elsewhere.test"), addr("alice@elsewhere.test")}, nil))
	must(t, d.ListRecipients(ctx, "elsewhere.test", []mail.Address{addr("carol@elsewhere.test")}, []mail.Address{addr("alice@elsewhere.test")}))
	if list, err := d.Recipients(ctx, "elsewhere.test"); err != nil || !reflect.DeepEqual(list, []mail.Address{addr("bob@elsewhere.test"), addr("carol@elsewhere.test")}) {
		t.Errorf("%v, %v", list, err)
	}
	must(t, d.RemoveBackup(ctx, "elsewhere.test"))
	must(t, second(d.CreateDomain(ctx, "elsewhere.test")))
	if list, err := d.Backups(ctx); err != nil || len(list) != 1 || list[0].Name != "byrecords.test" || !list[0].AcceptDown {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestBackupRecipients(t *testing.T) {
	p := &primary{says: map[string]Verdict{"alice": {Known, "250 ok"}}}
	d := node(t, pgtest.Pool(t), Options{})
	d.Attach(Hooks{Verify: p.verify})
	ctx := t.Context()
	for name, r := range map[string]Recipients{"called.test": Callout, "listed.test": Listed, "any.test": Anybody} {
		must(t, second(d.AddBackup(ctx, BackupDomain{Name: name, Recipients: r}, false)))
	}
	must(t, d.ListRecipients(ctx, "listed.test", []mail.Address{addr("bob@listed.test")}, nil))
	must(t, d.ListRecipients(ctx, "called.test", []mail.Address{addr("bob@called.test")}, nil))
	check := func(rcpt, want string, questions ...string) {
		t.Helper()
		if got := said(t, d.RelaysFor(ctx, addr(rcpt))); got != want {
			t.Errorf("%s: %q, want %q", rcpt, got, want)
		}
		if q := p.questions(); !reflect.DeepEqual(q, questions) {
			t.Errorf("%s: asked %q, want %q", rcpt, q, questions)
		}
	}
	check("alice@example.org", "550 5.7.1")
	check("anybody@any.test", "")
	check("bob@listed.test", "")
	check("BOB@listed.test", "")
	check("alice@listed.test", "550 5.1.1")
	check("Postmaster@listed.test", "")
	check("bob@called.test", "")
	check("alice@called.test", "", "alice@called.test")
	check("Alice@called.test", "")
	check("mallory@called.test", "550 5.1.1", "mallory@called.test")
	check("mallory@called.test", "550 5.1.1")

	// What is remembered grows old.
	age := func(by string) {
		t.Helper()
		_, err := d.pool.Exec(ctx, "UPDATE backup_callout SET checked_at = checked_at - $1::interval", by)
		must(t, err)
		must(t, pruneCallouts(ctx, d.pool))
	}
	p.say("mallory", Verdict{Known, "250 ok"}) // has an account now
	age("61 minutes")
	check("mallory@called.test", "", "mallory@called.test")
	check("alice@called.test", "")

	// The primary goes away: who was known is, who was not is put off.
	for _, who := range []string{"alice", "carol", "dave"} {
		p.say(who, Verdict{Away, "connection refused"})
	}
	age("8 days")
	check("alice@called.test", "", "alice@called.test")
	check("carol@called.test", "451 4.4.1") // left alone for a minute
	check("bob@called.test", "")
	d.awake()
	check("carol@called.test", "451 4.4.1", "carol@called.test")
	must(t, second(d.AddBackup(ctx, BackupDomain{Name: "called.test", AcceptDown: true}, true)))
	check("carol@called.test", "")
	d.awake()
	check("dave@called.test", "", "dave@called.test")

	// It puts us off about one: the others are still asked about.
	d.awake()
	p.say("erin", Verdict{Later, "451 greylisted"})
	p.say("frank", Verdict{Known, "250 ok"})
	check("erin@called.test", "451 4.4.1", "erin@called.test")
	check("frank@called.test", "", "frank@called.test")
	age("60 days")
	if list, err := d.Asked(ctx, "called.test", 10); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}

	check("frank@called.test", "", "frank@called.test")
	list, err := d.Asked(ctx, "called.test", 10)
	if err != nil || len(list) != 1 || !list[0].Known || list[0].Address != addr("frank@called.test") || list[0].Reply != "250 ok" {
		t.Errorf("%+v, %v", list, err)
	}
	if n, err := d.ForgetCallouts(ctx, "called.test", addr("frank@called.test")); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	check("frank@called.test", "", "frank@called.test")
}

// TestDictionaryAttack runs through names at a backup domain: the primary hears
// a bounded number of questions, a few at a time, and each name once.
func TestDictionaryAttack(t *testing.T) {
	p := &primary{says: map[string]Verdict{}}
	d := node(t, pgtest.Pool(t), Options{})
	d.Attach(Hooks{Verify: p.verify})
	ctx := t.Context()
	must(t, second(d.AddBackup(ctx, BackupDomain{Name: "called.test"}, false)))
	var wg sync.WaitGroup
	var refused, deferred atomic.Int32
	began := time.Now()
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				switch err := d.RelaysFor(ctx, addr(fmt.Sprintf("name%d-%d@called.test", w, i))); mail.ClassOf(err) {
				case mail.Permanent:
					refused.Add(1)
				case mail.Temporary:
					deferred.Add(1)
				}
			}
		})
	}
	wg.Wait()
	asked := len(p.questions())
	if most := calloutBurst + int(time.Since(began).Seconds()*float64(calloutRate)) + 1; asked > most || asked < calloutBurst/2 {
		t.Errorf("%d questions reached the primary, at most %d should", asked, most)
	}
	if p.most.Load() > calloutParallel {
		t.Errorf("%d questions at once", p.most.Load())
	}
	if int(refused.Load()) != asked || refused.Load()+deferred.Load() != 800 {
		t.Errorf("%d refused and %d deferred after %d questions", refused.Load(), deferred.Load(), asked)
	}
	// And a name that is asked for many times at once is one question.
	d.awake()
	p.gate = make(chan struct{})
	for range 10 {
		wg.Go(func() {
			if got := said(t, d.RelaysFor(ctx, addr("same@called.test"))); got != "550 5.1.1" {
				t.Errorf("the same: %q", got)
			}
		})
	}
	for p.running.Load() == 0 {
		time.Sleep(time.Millisecond) // until the question is out
	}
	close(p.gate)
	wg.Wait()
	if q := p.questions(); len(q) > 2 { // a late one finds the answer in the table, or asks once more
		t.Errorf("asked %d times", len(q))
	}
}
