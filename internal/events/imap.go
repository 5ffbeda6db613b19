package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Reading mail by IMAP. command is the name of a known command, "UID FETCH" for
// example, or "unknown".
var (
	IMAPOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "posthouse_imap_open_sessions", Help: "IMAP connections open now."})
	IMAPIdle = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "posthouse_imap_idle_sessions", Help: "IMAP sessions in IDLE now."})
	IMAPCommands = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_imap_commands_total", Help: "IMAP commands, by what the client heard: OK, NO, BAD, BYE."},
		[]string{"command", "result"})
	IMAPSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "posthouse_imap_command_seconds", Help: "Time from the first octet of a command to its tagged answer, IDLE apart.",
		Buckets: []float64{0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30}}, []string{"command"})
)
