package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

// sendingView is what an account may send and has sent, as the commands show it.
type sendingView struct {
	Hourly     *int       `json:"hourly"` // null: no limit
	Daily      *int       `json:"daily"`
	OwnHourly  bool       `json:"own_hourly"` // set for this account
	OwnDaily   bool       `json:"own_daily"`
	LastHour   int        `json:"last_hour"`
	LastDay    int        `json:"last_day"`
	Failed     int        `json:"failed_last_hour"`
	BlockedAt  *time.Time `json:"blocked_at,omitempty"`
	BlockedWhy string     `json:"blocked_why,omitempty"`
}

func viewSending(s directory.Sending) sendingView {
	return sendingView{limitOf(s.Hourly), limitOf(s.Daily), s.OwnHourly, s.OwnDaily, s.LastHour, s.LastDay, s.Failed, known(s.Blocked), s.Why}
}

func limitOf(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

// fields is the view for people.
func (v sendingView) fields() [][2]string {
	limit := func(n *int, own bool) string {
		s := "unlimited"
		if n != nil {
			s = strconv.Itoa(*n)
		}
		if own {
			s += " (its own)"
		}
		return s
	}
	fields := [][2]string{
		{"may write to", limit(v.Hourly, v.OwnHourly) + " recipients an hour, " + limit(v.Daily, v.OwnDaily) + " a day"},
		{"wrote to", fmt.Sprintf("%d within the last hour, %d within the last day", v.LastHour, v.LastDay)},
	}
	if v.BlockedAt != nil {
		fields = append(fields, [2]string{"sending blocked", when(v.BlockedAt, "") + " UTC: " + v.BlockedWhy})
	}
	return fields
}

// limitFlag is a limit of recipients on the command line.
type limitFlag directory.Limit

func (f *limitFlag) UnmarshalText(text []byte) error {
	switch s := strings.ToLower(string(text)); s {
	case "default":
		f.Default = true
	case "none", "unlimited":
		f.N = directory.Unlimited
	default:
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%q is no limit: write a number of recipients, none, or default", text)
		}
		f.N = int(n)
	}
	return nil
}

func (f *limitFlag) String() string {
	switch {
	case f.Default:
		return "the default"
	case f.N < 0:
		return "unlimited"
	}
	return strconv.Itoa(f.N)
}

type accountLimitsCmd struct {
	Address string     `arg:"" help:"The address, or default for all accounts without a limit of their own."`
	Hourly  *limitFlag `help:"Recipients an hour, none or default." placeholder:"N"`
	Daily   *limitFlag `help:"Recipients a day, none or default." placeholder:"N"`
	changeFlags
	listFlags
}

func (c *accountLimitsCmd) Help() string {
	return `Without --hourly and --daily the limits are shown. The windows roll: an hour is
the last sixty minutes. Each recipient of a message counts. A limit of 0 lets an
account write to nobody. In local mode only limits that an account has of its own hold.`
}

func (c *accountLimitsCmd) Run(ctx context.Context, con *console) error {
	if c.Address == "default" {
		return c.defaults(ctx, con)
	}
	if c.Hourly == nil && c.Daily == nil {
		return c.show(ctx, con)
	}
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		var said []string
		if c.Hourly != nil {
			said = append(said, c.Hourly.String()+" recipients an hour")
		}
		if c.Daily != nil {
			said = append(said, c.Daily.String()+" recipients a day")
		}
		limits := strings.Join(said, ", ")
		return "limit of " + c.Address + " is now " + limits, "limit " + c.Address + " to " + limits,
			s.directory.SetLimits(ctx, a, (*directory.Limit)(c.Hourly), (*directory.Limit)(c.Daily))
	})
}

func (c *accountLimitsCmd) show(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := s.directory.Account(ctx, addr)
	if err != nil {
		return explain(err, "account", c.Address)
	}
	sending, err := s.directory.Sending(ctx, a.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return con.json(viewSending(sending))
	}
	return con.fields(viewSending(sending).fields())
}

// defaults shows or sets the limits of accounts without their own.
func (c *accountLimitsCmd) defaults(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := s.directory.DefaultLimits(ctx)
	if err != nil {
		return err
	}
	if c.Hourly != nil || c.Daily != nil {
		if c.Hourly != nil && c.Hourly.Default || c.Daily != nil && c.Daily.Default {
			return fail(exitUsage, "the default is what is to be set: write a number, or none")
		}
		if c.Hourly != nil {
			l.Hourly = c.Hourly.N
		}
		if c.Daily != nil {
			l.Daily = c.Daily.N
		}
		if err := s.directory.SetDefaultLimits(c.context(ctx), l); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%s recipients an hour, %s a day", &limitFlag{N: l.Hourly}, &limitFlag{N: l.Daily})
	switch {
	case c.Hourly != nil || c.Daily != nil:
		return c.done(con, "accounts may now write to "+text, "let accounts write to "+text)
	case c.JSON:
		return con.json(struct {
			Hourly *int `json:"hourly"`
			Daily  *int `json:"daily"`
		}{limitOf(l.Hourly), limitOf(l.Daily)})
	}
	return con.say("accounts may write to %s, unless they have limits of their own", text)
}

type accountBlockCmd struct {
	Address string `arg:"" help:"The address."`
	Why     string `help:"The reason, for whoever looks at the account." default:"by an administrator"`
	changeFlags
}

func (c *accountBlockCmd) Run(ctx context.Context, con *console) error {
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		return "sending of " + c.Address + " blocked", "block the sending of " + c.Address, s.directory.BlockSending(ctx, a, c.Why)
	})
}

type accountUnblockCmd struct {
	Address string `arg:"" help:"The address."`
	changeFlags
}

func (c *accountUnblockCmd) Run(ctx context.Context, con *console) error {
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		return c.Address + " may send again", "let " + c.Address + " send again", s.directory.UnblockSending(ctx, a)
	})
}
