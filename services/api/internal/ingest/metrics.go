package ingest

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts events.
type Metrics struct {
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	repeated prometheus.Counter
}

// NewMetrics returns metrics that are registered.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_events_accepted_total", Help: "Events that the event store acknowledged.",
		}, []string{"class"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_events_refused_total", Help: "Events that were refused, by the status of their answer.",
		}, []string{"status"}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_events_repeated_total", Help: "Events that an earlier request had published.",
		}),
	}
	registry.MustRegister(m.accepted, m.refused, m.repeated)
	return m
}

func (m *Metrics) count(items []item) {
	for i := range items {
		switch it := &items[i]; {
		case it.refused != nil:
			m.refused.WithLabelValues(strconv.Itoa(it.refused.Status)).Inc()
		case it.event.Class == "":
			m.repeated.Inc()
		default:
			m.accepted.WithLabelValues(string(it.event.Class)).Inc()
		}
	}
}
