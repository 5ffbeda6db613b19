package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What policy decides about mail that leaves.
var (
	Callouts = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_backup_recipients_total", Help: "Recipients of backup domains that were asked about: remembered, known, unknown, later (the primary put us off), away (it was not reached), spared (it was not asked)."},
		[]string{"result"})
	SendingRefused = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_sending_refused_total", Help: "Times that an account was not let send: limit, blocked."}, []string{"reason"})
	SendingBlocked = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_sending_blocked_total", Help: "Accounts whose sending this server blocked for how they behaved: limit, failures, networks."},
		[]string{"reason"})
)
