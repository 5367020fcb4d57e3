package inbound_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api/internal/inbound"
)

// BenchmarkService_Take stores text messages of people who wrote before: one a
// post, and a hundred.
func BenchmarkService_Take(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			database := testenv.DB(b)
			super, err := store.Open(b.Context(), database.URL(testenv.Superuser), 1)
			if err != nil {
				b.Fatal(err)
			}
			defer super.Close()
			c := conn{uuid.Must(uuid.NewV7()), messaging.WhatsApp, "800001"}
			if _, err := super.Pool().Exec(b.Context(), `INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'n', $3)`,
				c.id, uuid.New(), c.external); err != nil {
				b.Fatal(err)
			}
			api, err := store.Open(b.Context(), database.URL(testenv.API), 8)
			if err != nil {
				b.Fatal(err)
			}
			defer api.Close()
			service := inbound.New(api, meta.Config{}, living{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			const people = 1000
			var number atomic.Int64
			post := func(n int) []updates.Update {
				told := make([]updates.Update, n)
				for i := range told {
					k := number.Add(1)
					told[i] = c.says(updates.Person{Phone: fmt.Sprintf("+55119%08d", k%people), UserID: fmt.Sprintf("BR.%d", k%people), Name: "Ana"},
						fmt.Sprintf("wamid.%d", k), "oi", time.Duration(k)*time.Millisecond)
				}
				return told
			}
			for range people / 100 {
				if err := service.Take(b.Context(), post(100)); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := service.Take(b.Context(), post(size)); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/message")
		})
	}
}
