package relay

import (
	"context"
	"time"

	"posthouse/internal/mail"
)

// maxPipelined is how many commands are sent before their replies are read. It
// keeps both sides' buffers from filling up while neither reads (RFC 2920 §3.1).
const maxPipelined = 50

// Send sends one message and gives a result for each of its recipients, in
// order. Whether another one may follow, Alive says.
func (s *Session) Send(ctx context.Context, m *Message) []Result {
	results := make([]Result, len(m.Recipients))
	stop := s.watch(ctx)
	defer func() {
		if !stop() {
			s.usable = false // the deadline of this connection is in the past, or will be
		}
		s.ctx, s.idle = context.Background(), time.Now()
	}()
	var todo []int
	p, no := s.prepare(m)
	if no != nil {
		s.fill(results, all(len(results)), Result{Outcome: no.outcome, Stage: StageMail, Enhanced: no.enhanced, Text: printable(no.text)})
		return results
	}
	defer p.close()
	for i := range m.Recipients {
		if m.Recipients[i].IsASCII() || s.ext.smtputf8 {
			todo = append(todo, i)
			continue
		}
		s.fill(results, []int{i}, Result{Outcome: Failed, Stage: StageRcpt, Enhanced: mail.Enhanced{5, 6, 7}, Text: "the host takes no addresses beyond ASCII, and the recipient's is one (SMTPUTF8)"})
	}
	for len(todo) > 0 {
		n := len(todo)
		if s.ext.rcptMax > 0 {
			n = min(n, s.ext.rcptMax)
		}
		t := &transaction{s: s, ctx: ctx, p: p, rcpts: todo[:n], results: results}
		t.run()
		todo = append(t.overflow(), todo[n:]...)
	}
	return results
}

// overflow are the recipients that were one too many for a transaction: the host
// takes them in the next one (RFC 5321 §4.5.3.1.10). It must have taken some,
// and none behind them, so that this ends.
func (t *transaction) overflow() []int {
	if !t.s.usable || len(t.accepted) == 0 || t.results[t.accepted[0]].Outcome != Delivered {
		return nil
	}
	last := t.accepted[len(t.accepted)-1]
	var list []int
	for _, i := range t.rcpts {
		if r := &t.results[i]; r.Stage == StageRcpt && r.Outcome == Deferred && tooMany(r) {
			if i < last {
				return nil
			}
			list = append(list, i)
		}
	}
	return list
}

// tooMany reports whether a reply to RCPT says that the transaction has all the
// recipients that it may have. The plain code is also used of full disks.
func tooMany(r *Result) bool {
	if r.Code != 452 && r.Code != 552 {
		return false
	}
	subject, detail := r.Enhanced[1], r.Enhanced[2]
	return subject == 5 && detail == 3 || subject == 0 && detail == 0
}

func all(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// fill gives some recipients the same result.
func (s *Session) fill(results []Result, of []int, res Result) {
	s.sign(&res)
	for _, i := range of {
		results[i] = res
	}
}

// transaction is MAIL, RCPTs and the content, for some of the recipients.
type transaction struct {
	s        *Session
	ctx      context.Context
	p        *prepared
	rcpts    []int // recipients, by their place in the message
	results  []Result
	accepted []int // those whose RCPT was
	refused  bool  // MAIL was: everything behind it is void
	ready    bool  // the content may come
}

// step is one command whose reply is waited for.
type step struct {
	stage Stage
	reset bool
	rcpt  int
}

func (t *transaction) run() {
	s := t.s
	if !s.usable {
		t.end(t.rcpts, fail(Deferred, StageMail, mail.Enhanced{4, 4, 2}, "the connection had ended", nil).Result)
		return
	}
	s.sent++
	chunked := t.chunked()
	if failure, undecided := t.envelope(!chunked); failure != nil {
		t.end(undecided, failure.Result)
		return
	}
	if len(t.accepted) == 0 {
		if t.ready { // it wants content for nobody
			s.line(".")
			if s.read(StageDot, s.r.Timeouts.Dot) != nil {
				return
			}
		}
		s.dirty = true
		return
	}
	if !s.usable { // 421 to one of the RCPTs or to DATA
		t.end(t.accepted, s.result(Deferred, StageRcpt))
		return
	}
	if chunked {
		t.chunk()
	} else if t.ready {
		t.data()
	}
}

// end gives recipients a result of ours.
func (t *transaction) end(of []int, res Result) {
	t.s.fill(t.results, of, res)
}

// envelope sends everything up to DATA, as many commands at once as the host
// takes. A Failure ends the connection; undecided are those it holds for.
func (t *transaction) envelope(data bool) (failure *Failure, undecided []int) {
	s := t.s
	steps := make([]step, 0, len(t.rcpts)+3)
	if s.dirty {
		steps = append(steps, step{stage: StageMail, reset: true})
	}
	steps = append(steps, step{stage: StageMail})
	for _, i := range t.rcpts {
		steps = append(steps, step{stage: StageRcpt, rcpt: i})
	}
	if data {
		steps = append(steps, step{stage: StageData})
	}
	group := 1
	if s.ext.pipelining {
		group = maxPipelined
	}
	for len(steps) > 0 {
		now := steps[:min(group, len(steps))]
		steps = steps[len(now):]
		sent := now[:0:0]
		for _, st := range now {
			if t.wanted(st, len(now) > 1) {
				t.write(st)
				sent = append(sent, st)
			}
		}
		for _, st := range sent {
			if failure = t.answer(st); failure != nil {
				return failure, t.undecided()
			}
			if !s.usable && s.reply.code == 421 {
				t.hungUp(st)
				return nil, nil
			}
		}
	}
	return nil, nil
}

// wanted leaves out what an earlier reply has made void.
func (t *transaction) wanted(st step, more bool) bool {
	switch st.stage {
	case StageRcpt:
		return !t.refused
	case StageData:
		return !t.refused && (more || len(t.accepted) > 0)
	}
	return true
}

func (t *transaction) write(st step) {
	switch {
	case st.reset:
		t.s.line("RSET")
	case st.stage == StageMail:
		t.s.line(t.p.mail)
	case st.stage == StageRcpt:
		t.s.line(t.s.rcptLine(t.p, &t.p.Recipients[st.rcpt]))
	default:
		t.s.line("DATA")
	}
}

// answer reads and judges the reply to one command.
func (t *transaction) answer(st step) *Failure {
	s := t.s
	if failure := s.read(st.stage, t.patient(st.stage)); failure != nil {
		return failure
	}
	class := s.reply.class()
	switch {
	case st.reset:
		if s.dirty = class != 2; s.dirty {
			f := s.refused(StageMail)
			f.Outcome, s.usable = Deferred, false
			return f
		}
	case st.stage == StageMail:
		if t.refused = class != 2; t.refused {
			s.dirty = true
			t.end(t.rcpts, s.refused(StageMail).Result)
		}
	case st.stage == StageRcpt:
		t.rcpt(st.rcpt, class)
	case s.reply.code == 354:
		t.ready = true
	case len(t.accepted) > 0:
		s.dirty = true
		t.end(t.accepted, s.refused(StageData).Result)
	default:
		s.dirty = true
	}
	return nil
}

// patient is how long the reply to a step may take.
func (t *transaction) patient(stage Stage) time.Duration {
	switch stage {
	case StageMail:
		return t.s.r.Timeouts.Mail
	case StageRcpt:
		return t.s.r.Timeouts.Rcpt
	}
	return t.s.r.Timeouts.Data
}

// rcpt judges the reply to one RCPT.
func (t *transaction) rcpt(i, class int) {
	s := t.s
	switch {
	case t.refused: // it only says that there was no MAIL
	case class == 2:
		t.accepted = append(t.accepted, i)
	default:
		f := s.refused(StageRcpt)
		// RFC 5321 §4.5.3.1.10: some say 552 where they mean 452, too many
		// recipients for one transaction.
		if s.reply.code == 552 && len(t.accepted) > 0 && f.Enhanced != (mail.Enhanced{5, 2, 2}) {
			f.Outcome = Deferred
		}
		t.results[i] = f.Result
	}
}

// undecided are the recipients without a reply of their own.
func (t *transaction) undecided() []int {
	var list []int
	for _, i := range t.rcpts {
		if t.results[i].At.IsZero() {
			list = append(list, i)
		}
	}
	return list
}

// hungUp: 421 is the last word, and everybody without one of their own waits.
// Those who were accepted have not got the message either.
func (t *transaction) hungUp(st step) {
	t.end(t.undecided(), t.s.result(Deferred, st.stage))
	t.accepted, t.ready = nil, false
}
