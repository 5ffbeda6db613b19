package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The HTTP API. route is a pattern, not a path; code the HTTP status.
var (
	APIRequests = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_api_requests_total", Help: "Requests to the HTTP API, by route and HTTP status."}, []string{"route", "code"})
	APISeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "posthouse_api_request_seconds", Help: "Time from a request's header to the end of its answer.",
		Buckets: []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30}}, []string{"route"})
	APIMessages = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_api_messages_total", Help: "Messages handed over by HTTP: accepted, repeated (answered again by their Idempotency-Key), refused, deferred."},
		[]string{"result"})
)
