package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Mail that leaves.
var (
	QueueResults = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_queue_results_total", Help: "Recipients looked at, by what became of them: delivered, deferred, bounced, ambiguous (sent, not answered), fenced (another node had taken over)."},
		[]string{"outcome"})
	QueueReports = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_queue_reports_total", Help: "Reports to senders, by kind: failed, delayed, delivered, relayed; dropped (nobody to deliver it to)."}, []string{"kind"})
	QueueSessions = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_queue_sessions_total", Help: "Sessions with destinations ended, by what they came to: sent, nothing, failed."}, []string{"result"})
	QueueReaped = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_queue_reaped_sessions_total", Help: "Sessions whose lease ran out, so that this node gave their mail free."})
	QueueClaim = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "posthouse_queue_claim_seconds", Help: "Time to claim a ready destination, or a session's next batch of recipients.",
		Buckets: []float64{0.0003, 0.001, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 1, 3}})
	QueueDepth = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "posthouse_queue_recipients", Help: "Recipients that wait, on the whole site."})
	QueueOldest = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "posthouse_queue_oldest_seconds", Help: "Age of the message that waits longest."})
	QueueWaiting = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "posthouse_queue_destination_recipients", Help: "Recipients that wait, for the destinations with the longest queues; others together."}, []string{"destination"})
)
