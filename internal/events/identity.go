package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What this site says of itself, and reports to others.
var (
	TLSResultsDropped = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_tls_results_dropped_total", Help: "Results of TLS that no report will count, since too many different ones came at once."})
	TLSReports = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_tls_reports_total", Help: "Reports on TLS (RFC 8460), by what became of them: sent, deferred, failed, unwanted (the domain asks for none)."},
		[]string{"result"})
)
