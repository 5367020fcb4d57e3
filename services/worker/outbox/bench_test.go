package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/outbox"
)

// start starts a relay that ends with the benchmark.
func start(b *testing.B, database *testenv.Database, account *testenv.Account) {
	b.Helper()
	publisher, err := bus.NewPublisher(account.Connect(b, testenv.Worker))
	if err != nil {
		b.Fatal(err)
	}
	relay := outbox.New(openStore(b, database, testenv.Worker), publisher, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { relay.Run(ctx); close(ended) }()
	b.Cleanup(func() { cancel(); <-ended })
}

// BenchmarkRelay_Run publishes what is waiting: two events a message, each message
// of another contact than the one before.
func BenchmarkRelay_Run(b *testing.B) {
	const messages = 10_000
	database, account := testenv.DB(b), testenv.NATS(b)
	super := openStore(b, database, testenv.Superuser)
	fill := func() {
		_, err := super.Pool().Exec(b.Context(), `INSERT INTO outbox (tenant_id, event_id, event_type, day, body, conversation)
			SELECT $1, gen_random_uuid(), 'message.received', current_date,
			  convert_to('{"event":"message.received","data":{"contact":{"id":"c' || n || '"},"text":"' || repeat('x', 900) || '"}}', 'UTF8'), 'c' || n
			FROM generate_series(1, $2::int) AS n, generate_series(1, 2) AS event ORDER BY n`, tenant, messages)
		if err != nil {
			b.Fatal(err)
		}
	}
	start(b, database, account)
	var took time.Duration
	for b.Loop() {
		fill()
		began := time.Now()
		for left := true; left; {
			time.Sleep(2 * time.Millisecond)
			if err := super.Pool().QueryRow(b.Context(), "SELECT EXISTS (SELECT FROM outbox)").Scan(&left); err != nil {
				b.Fatal(err)
			}
		}
		took += time.Since(began)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(2*messages*b.N)/took.Seconds(), "events/s")
}

// BenchmarkRelay_Latency is how long an event takes from its commit to its arrival,
// one that comes after a pause and one that comes soon after another.
func BenchmarkRelay_Latency(b *testing.B) {
	for name, pause := range map[string]time.Duration{"idle": 300 * time.Millisecond, "busy": 7 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			start(b, w.database, w.nats)
			var took []time.Duration
			for b.Loop() {
				time.Sleep(pause + rand.N(pause/4)) // in no step with the relay's
				id := fmt.Sprint("e", len(took))
				w.insert(row(id, "c"))
				began := time.Now()
				w.expect(id)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
