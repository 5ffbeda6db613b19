package certs

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// zapLog carries certmagic's log into ours. What it calls info are steps of its
// own work: debug to an operator.
type zapLog struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func (z zapLog) Enabled(l zapcore.Level) bool {
	return z.log.Enabled(context.Background(), slogLevel(l))
}

func (z zapLog) With(fields []zapcore.Field) zapcore.Core {
	return zapLog{z.log, append(z.fields[:len(z.fields):len(z.fields)], fields...)}
}

func (z zapLog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if z.Enabled(e.Level) {
		return ce.AddCore(e, z)
	}
	return ce
}

func (z zapLog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, list := range [][]zapcore.Field{z.fields, fields} {
		for _, f := range list {
			f.AddTo(enc)
		}
	}
	attrs := []slog.Attr{slog.String("event", "certificate")}
	for key, value := range enc.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	z.log.LogAttrs(context.Background(), slogLevel(e.Level), e.Message, attrs...)
	return nil
}

func (z zapLog) Sync() error { return nil }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelWarn // it is tried again, and the last good certificate serves
	case l == zapcore.WarnLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
