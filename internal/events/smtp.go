package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Receiving mail. listener is smtp, submission, submissions or lmtp.
var (
	SMTPOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "posthouse_smtp_open_sessions", Help: "SMTP and LMTP sessions open now."})
	SMTPSessions = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_smtp_sessions_total", Help: "SMTP and LMTP sessions begun."}, []string{"listener"})
	SMTPMessages = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_smtp_messages_total", Help: "Messages received, by what the client heard: accepted, refused (5xx), deferred (4xx)."},
		[]string{"listener", "result"})
	SMTPOctets = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_smtp_accepted_octets_total", Help: "Octets of the messages accepted."})
	SMTPRecipients = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_smtp_recipients_total", Help: "RCPT commands, by what the client heard: accepted, refused (5xx), deferred (4xx)."},
		[]string{"listener", "result"})
	SMTPAuth = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_smtp_auth_total", Help: "AUTH exchanges, by outcome: ok, failed, throttled, error."}, []string{"result"})
	SMTPRejected = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_smtp_rejected_connections_total", Help: "Connections refused before or for other than their commands, by reason."},
		[]string{"reason"})
)
