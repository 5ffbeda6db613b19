package events

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// CertificateOrders counts orders and renewals at the authority.
var CertificateOrders = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "posthouse_certificate_orders_total", Help: "Certificates ordered or renewed by ACME, by outcome: ok, failed."}, []string{"result"})
