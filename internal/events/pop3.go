package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Collecting mail by POP3.
var (
	POP3Open = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "posthouse_pop3_open_sessions", Help: "POP3 sessions open now."})
	POP3Sessions = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_pop3_sessions_total", Help: "POP3 sessions ended, by how: quit, gone (no QUIT), timeout, refused, revoked, shutdown, error."},
		[]string{"end"})
	POP3Retrieved = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_pop3_retrieved_messages_total", Help: "Messages sent whole by RETR."})
	POP3Octets = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_pop3_sent_octets_total", Help: "Octets of messages sent by RETR and TOP, before dot-stuffing."})
	POP3Deleted = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_pop3_deleted_messages_total", Help: "Messages deleted by DELE and QUIT."})
)
