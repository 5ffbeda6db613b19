package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"posthouse/internal/config"
)

// newLog makes the log: text on a terminal, JSON otherwise, unless configured.
func newLog(w io.Writer, c config.Log) (*slog.Logger, error) {
	return newLogAt(w, c, new(slog.LevelVar))
}

// newLogAt is newLog with a level that can be changed while it is in use.
func newLogAt(w io.Writer, c config.Log, level *slog.LevelVar) (*slog.Logger, error) {
	first, err := c.SlogLevel()
	if err != nil {
		return nil, err
	}
	level.Set(first)
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	if c.Format == "json" || c.Format == "auto" && !terminal {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !terminal})), nil
}
