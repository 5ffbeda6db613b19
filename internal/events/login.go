package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Logging in, over all protocols.
var (
	Logins = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "posthouse_logins_total", Help: "Attempts to log in, by outcome: ok, bad, disabled, throttled, error."},
		[]string{"protocol", "result"})
	LoginSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "posthouse_login_seconds", Help: "Time from the credentials to the answer, the throttle's delay included.",
		Buckets: []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10}}, []string{"protocol"})
	PasswordHashes = promauto.NewCounter(prometheus.CounterOpts{
		Name: "posthouse_password_hashes_total", Help: "Argon2id computations."})
)
