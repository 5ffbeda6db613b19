package directory

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"posthouse/internal/events"
)

// report tells metrics and log how a login ended. The name is logged only when
// it is an account's: people type passwords where their name belongs.
func (d *Directory) report(c Client, l *login, err error, took time.Duration) {
	level, result := slog.LevelDebug, "ok"
	_, throttled := errors.AsType[*Throttled](err)
	switch {
	case err == nil:
	case errors.Is(err, ErrBadCredentials), errors.Is(err, ErrChannelBinding):
		level, result = slog.LevelInfo, "bad"
	case errors.Is(err, ErrDisabled):
		level, result = slog.LevelInfo, "disabled"
	case throttled:
		level, result = slog.LevelInfo, "throttled"
	case errors.Is(err, context.Canceled):
		result = "gone"
	default:
		level, result = slog.LevelError, "error"
	}
	events.Logins.WithLabelValues(c.Protocol, result).Inc()
	events.LoginSeconds.WithLabelValues(c.Protocol).Observe(took.Seconds())
	ctx := context.Background()
	if !d.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("event", "login."+result), slog.String("protocol", c.Protocol),
		slog.String("remote", c.Remote.String()), slog.Duration("duration", took)}
	if l != nil && l.exists {
		attrs = append(attrs, slog.String("account", l.name))
	}
	if level == slog.LevelError {
		attrs = append(attrs, slog.Any("error", err))
	}
	d.log.LogAttrs(ctx, level, "login", attrs...)
}
