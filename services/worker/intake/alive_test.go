package intake

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
)

// beating counts its signs of life.
type beating struct {
	jetstream.Msg
	signs int
}

func (b *beating) InProgress() error {
	b.signs++
	return nil
}

func TestIntake_keepAlive(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ackWait, age time.Duration
		signs        int
	}{
		"an event that would be given to another worker is kept": {ackWait: 30 * time.Second, age: 6 * time.Second, signs: 1},
		"a young one costs nothing":                              {ackWait: 30 * time.Second, age: 4 * time.Second},
		"a shorter AckWait is kept to":                           {ackWait: 6 * time.Second, age: 2 * time.Second, signs: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newIntake(t)
			in.topology.AckWait = tc.ackWait
			msg := &beating{}
			in.register(&held{
				event: bus.Event{Tenant: uuid.New(), ID: "e"}, since: time.Now().Add(-tc.age), msgs: []jetstream.Msg{msg},
			})
			in.keepAlive()
			if msg.signs != tc.signs {
				t.Errorf("%d signs of life, want %d", msg.signs, tc.signs)
			}
		})
	}
}
