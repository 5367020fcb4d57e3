package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/testenv"
)

// TestStorm delivers 2 000 times while workers are killed and NATS and Postgres
// are restarted, in an order and at moments that a seed decides. Nothing is
// lost. What was in flight comes twice: the test says how much.
func TestStorm(t *testing.T) {
	t.Parallel()
	const events, deliveries = 590, 2000 // four webhooks get at least four events in five
	seed := newSeed()
	nats, postgres := testenv.PrivateNATS(t), testenv.PrivatePostgres(t)
	s := impatient
	s.Variant, s.NATS, s.Database = fast, nats, postgres
	w := newWorld(t, seed, s, steady, stumbling, slow, hanging)
	w.sys.StartWorker()
	w.sys.StartWorker()

	over, published := make(chan struct{}), make(chan error, 1)
	ctx := t.Context()
	go func() { published <- w.PublishUnderFailures(ctx, over, events, 5, 100*time.Millisecond) }() // received below
	blows := newBlows(w.rand)
	for i, b := range blows {
		// Spread over the run, the first while little has been done.
		w.AwaitArrivals((i+1)*deliveries*9/10/(len(blows)+1), soon)
		t.Logf("after %d arrivals: %s", w.Arrived(), b)
		switch b.target {
		case "worker":
			victim := w.sys.Workers[b.which]
			victim.Kill()
			b.pause()
			victim.Start() // it ends at once where it finds no NATS or Postgres
		case "NATS":
			if b.hard {
				nats.Kill()
			} else {
				nats.Stop()
			}
			b.pause()
			nats.Restart()
		case "Postgres":
			if b.hard {
				postgres.Kill()
			} else {
				postgres.Stop()
			}
			b.pause()
			postgres.Restart()
		}
	}
	close(over)
	if err := <-published; err != nil {
		t.Fatalf("seed %d: publish: %v", seed, err)
	}
	w.sys.AwaitIdle(50 * time.Second)
	faults, again := w.Faults()
	w.report(faults)
	if n := w.Deliveries(); n < deliveries {
		t.Errorf("%d deliveries, want %d at least", n, deliveries)
	}
	t.Logf("seed %d: %d deliveries in %d requests; %d came twice", seed, w.Deliveries(), w.Arrived(), again)
}

// blow is one thing that happens to the system.
type blow struct {
	target string
	which  int  // worker
	hard   bool // kill -9, not a shutdown
	away   time.Duration
}

func (b blow) String() string {
	how := "shut down"
	if b.hard {
		how = "killed"
	}
	who := b.target
	if who == "worker" {
		who = fmt.Sprintf("worker %d", b.which+1)
	}
	return fmt.Sprintf("%s is %s, for %s", who, how, b.away)
}

// pause is how long what was hit is away: a part of the story, not a wait for
// anything.
func (b blow) pause() { time.Sleep(b.away) }

func newBlows(rnd *rand.Rand) (blows []blow) {
	for _, b := range []blow{
		{target: "worker", hard: true}, {target: "worker", hard: true}, {target: "worker", hard: true}, {target: "worker", hard: true},
		{target: "NATS", hard: true}, {target: "NATS"},
		{target: "Postgres", hard: true}, {target: "Postgres"},
	} {
		if b.target == "worker" {
			b.which = rnd.IntN(2)
		}
		b.away = time.Duration(rnd.IntN(1500)) * time.Millisecond
		blows = append(blows, b)
	}
	rnd.Shuffle(len(blows), func(i, j int) { blows[i], blows[j] = blows[j], blows[i] })
	return blows
}
