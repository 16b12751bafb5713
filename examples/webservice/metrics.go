package main

import (
	"context"
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goappcache/appcache"
)

// metrics count what the caches do. In PromQL the hit ratio is
//
//	sum(rate(appcache_calls_total{operation="get_via",outcome=~"hit|stale"}[5m])) /
//	  sum(rate(appcache_calls_total{operation="get_via"}[5m]))
type metrics struct {
	calls   *prometheus.CounterVec
	errors  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "appcache_calls_total",
			Help: "Calls of the cache. Of get_via the outcome is hit, stale, miss, unreadable, failed (loaded without the cache), not_found, load_failed or cancelled.",
		}, []string{"operation", "outcome"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "appcache_errors_total",
			Help: "Calls during which the store failed, also those that went on without it.",
		}, []string{"operation"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "appcache_call_seconds",
			Help:    "How long calls of the cache took, with the loading where there was any.",
			Buckets: prometheus.ExponentialBuckets(25e-6, 4, 9), // to 1.6 s
		}, []string{"operation", "outcome"}),
	}
	registry.MustRegister(m.calls, m.errors, m.seconds)
	// There from the start, at 0: Prometheus doesn't see the first increase of what begins at 1.
	for _, outcome := range []appcache.Outcome{appcache.Hit, appcache.Stale, appcache.Miss, appcache.Unreadable, appcache.Failed} {
		m.calls.WithLabelValues(label(appcache.OpGetVia), string(outcome))
	}
	for _, op := range []appcache.Op{appcache.OpGetVia, appcache.OpRefresh, appcache.OpInvalidateNamespace} {
		m.errors.WithLabelValues(label(op))
	}
	return m
}

// observe is for appcache.Options.Observe.
func (m *metrics) observe(_ context.Context, e appcache.Event) {
	operation, outcome := label(e.Op), string(e.Outcome)
	var ofDatabase databaseError
	switch {
	case errors.Is(e.Err, context.Canceled):
		outcome = "cancelled" // the client has gone away
	case errors.Is(e.Err, appcache.ErrNotFound):
		outcome = "not_found"
	case errors.As(e.Err, &ofDatabase):
		outcome = "load_failed"
	case e.Err != nil && e.Outcome != appcache.Unreadable:
		m.errors.WithLabelValues(operation).Inc()
	}
	if e.Op == appcache.OpGetVia && e.Outcome == appcache.Failed && outcome != "failed" && outcome != "cancelled" {
		m.errors.WithLabelValues(operation).Inc() // the store failed, and then there was nothing to load
	}
	m.calls.WithLabelValues(operation, outcome).Inc()
	m.seconds.WithLabelValues(operation, outcome).Observe(e.Duration.Seconds())
}

// label returns an operation as PromQL is easier to write with.
func label(op appcache.Op) string { return strings.ReplaceAll(string(op), " ", "_") }
