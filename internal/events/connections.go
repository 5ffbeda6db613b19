package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// RefusedConnections counts IMAP and POP3 connections turned away at once, by
// reason: cap, proxy.
var RefusedConnections = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "posthouse_refused_connections_total", Help: "Connections refused at once, by protocol and reason."},
	[]string{"protocol", "reason"})
