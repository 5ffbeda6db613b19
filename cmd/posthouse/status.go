package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/config"
	"posthouse/migrations"
	"posthouse/smtp/queue"
)

type statusCmd struct{ listFlags }

// statusView is what status prints.
type statusView struct {
	Version  string       `json:"version"`
	Data     string       `json:"data"`
	Nodes    []nodeView   `json:"nodes"`
	Database databaseView `json:"database"`
	Domains  int          `json:"domains"`
	Accounts int          `json:"accounts"`
	Aliases  int          `json:"aliases"`
	Queued   int64        `json:"queued"` // messages that wait to leave
}

type nodeView struct {
	PID      int               `json:"pid"`
	Hostname string            `json:"hostname"`
	Listen   map[string]string `json:"listen"`
	Ready    bool              `json:"ready"`
}

type databaseView struct {
	Private  bool   `json:"private"`
	Postgres string `json:"postgres"`
	Schema   int64  `json:"schema"`
}

func (c *statusCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	v := statusView{Version: version(), Data: s.config.Data, Nodes: []nodeView{}}
	v.Database.Private = s.config.Database == ""
	if err := s.countInto(ctx, &v); err != nil {
		return err
	}
	nodes, err := runningNodes(s.config.Data)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		v.Nodes = append(v.Nodes, nodeView{n.PID, n.Hostname, n.Listen, answers(ctx, n.Listen[config.HTTP])})
	}
	if c.JSON {
		return con.json(v)
	}
	return v.print(con)
}

func (s *site) countInto(ctx context.Context, v *statusView) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fail(exitDatabase, "the database does not answer: %w", err)
	}
	v.Database.Postgres = conn.Conn().PgConn().ParameterStatus("server_version")
	conn.Release()
	steps, err := migrations.Status(ctx, s.url)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if !step.AppliedAt.IsZero() {
			v.Database.Schema = max(v.Database.Schema, step.Version)
		}
	}
	domains, err := s.directory.Domains(ctx)
	if err != nil {
		return err
	}
	accounts, err := s.directory.Accounts(ctx, "")
	if err != nil {
		return err
	}
	aliases, err := s.directory.Aliases(ctx, "")
	if err != nil {
		return err
	}
	if v.Queued, _, err = queue.New(queue.Config{Pool: s.pool}).Depth(ctx); err != nil {
		return err
	}
	v.Domains, v.Accounts, v.Aliases = len(domains), len(accounts), len(aliases)
	return nil
}

// answers asks a node whether it is ready.
func answers(ctx context.Context, address string) bool {
	if address == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (v statusView) print(con *console) error {
	kind := "your own"
	if v.Database.Private {
		kind = "private"
	}
	pairs := [][2]string{
		{"version", v.Version},
		{"data", v.Data},
		{"database", fmt.Sprintf("%s, PostgreSQL %s, schema %d", kind, v.Database.Postgres, v.Database.Schema)},
		{"holds", fmt.Sprintf("%d domains, %d accounts, %d aliases, %d messages that wait to leave", v.Domains, v.Accounts, v.Aliases, v.Queued)},
	}
	if len(v.Nodes) == 0 {
		pairs = append(pairs, [2]string{"server", "not running here"})
	}
	for _, n := range v.Nodes {
		state := "running, not ready"
		if n.Ready {
			state = "ready"
		}
		pairs = append(pairs, [2]string{"server", state + ", " + n.Hostname + ", pid " + strconv.Itoa(n.PID)})
		var listens []string
		for _, name := range config.ListenerNames {
			if addr := n.Listen[name]; addr != "" {
				listens = append(listens, name+" "+addr)
			}
		}
		pairs = append(pairs, [2]string{"", strings.Join(listens, ", ")})
	}
	return con.fields(pairs)
}
