package inbound

import (
	"log/slog"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/primezap/primezap/pkg/meta"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/recent"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// metrics tell what Meta told and what became of it.
type metrics struct {
	updates    *prometheus.CounterVec // by channel and kind
	duplicates *prometheus.CounterVec // by channel
	unknown    *prometheus.CounterVec // by channel
	refused    prometheus.Counter
	cut        prometheus.Counter
	seconds    prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) metrics {
	m := metrics{
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_inbound_updates_total", Help: "Updates of Meta's that were stored, those told before among them.",
		}, []string{"channel", "kind"}),
		duplicates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_inbound_duplicates_total", Help: "Messages that Meta told of again.",
		}, []string{"channel"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_inbound_unknown_connections_total", Help: "Updates of accounts that nobody has connected.",
		}, []string{"channel"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_inbound_refused_total", Help: "Updates that could not be stored as what they are, and were kept in a simpler form.",
		}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_inbound_cut_total", Help: "Posts of which some updates were passed over, since they were too many.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "primezap_inbound_write_seconds", Help: "Time from a post that was read to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // to 8 s
		}),
	}
	registry.MustRegister(m.updates, m.duplicates, m.unknown, m.refused, m.cut, m.seconds)
	return m
}

// New returns a service over the api's role.
func New(s *store.Store, config meta.Config, tenants refuser, registry prometheus.Registerer, log *slog.Logger) *Service {
	unknown, err := simplelru.NewLRU[account, time.Time](maxUnknown, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Service{
		store: s, config: config, tenants: tenants, metrics: newMetrics(registry), log: log,
		known:  recent.New[account, db.FindConnectionsRow](maxAccounts, time.Now),
		seldom: rate.Sometimes{First: 1, Interval: logEvery}, unknown: unknown, strangers: rate.NewLimiter(maxLines, maxLines),
	}
}

// kind is what a metric calls an update.
func kind(u *updates.Update) string {
	switch p := u.Payload.(type) {
	case updates.Message:
		if p.Echo {
			return "echo"
		}
		return "message"
	case updates.Receipt:
		return "receipt"
	case updates.Edit:
		return "edit"
	case updates.Removal:
		return "removal"
	case updates.IdentityChange:
		return "identity"
	default:
		return "other"
	}
}
