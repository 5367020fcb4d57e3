package worker

import (
	"context"
	"sync"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// floors keeps the consumers' floors in Postgres.
type floors struct{ q *db.Queries }

func (f floors) Load(ctx context.Context) (map[string]bus.Floor, error) {
	return store.Floors(ctx, f.q)
}

func (f floors) Save(ctx context.Context, consumer string, floor bus.Floor) error {
	return f.q.SaveConsumerFloor(ctx, consumer, floor.Epoch, int64(floor.Seq)) //nolint:gosec // does not reach 2^63
}

// bodies reads from the stream that is EVENTS at the time: it may be recreated
// under a running worker.
type bodies struct {
	js jetstream.JetStream

	mu     sync.Mutex
	reader *bus.Reader // nil at first
}

func (b *bodies) Event(ctx context.Context, epoch int64, seq uint64, tenant uuid.UUID, id string) (bus.Event, error) {
	reader, err := b.current(ctx, epoch)
	if err != nil {
		return bus.Event{}, err
	}
	return reader.Event(ctx, epoch, seq, tenant, id)
}

// current is a reader of epoch's stream if that still is EVENTS, else of the one
// that is.
func (b *bodies) current(ctx context.Context, epoch int64) (*bus.Reader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader != nil && b.reader.Epoch() == epoch {
		return b.reader, nil
	}
	reader, err := bus.NewReader(ctx, b.js)
	if err != nil {
		return nil, err
	}
	b.reader = reader
	return reader, nil
}
