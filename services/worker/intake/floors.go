package intake

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
)

// keepFloors records every few seconds how far each consumer has acked, so that
// one that is lost can be made again from there.
func (in *Intake) keepFloors(ctx context.Context) {
	every(ctx, floorEvery, func() {
		if err := in.saveFloors(ctx); err != nil && ctx.Err() == nil {
			in.log.Debug("intake: save floors", "error", err)
		}
	})
}

func (in *Intake) saveFloors(ctx context.Context) error {
	// The stream first: a consumer that has nothing left has acked all that the
	// stream held then, whatever class the last event was of.
	stream, err := in.js.Stream(ctx, bus.StreamEvents)
	if err != nil {
		return err
	}
	last, epoch := stream.CachedInfo().State.LastSeq, stream.CachedInfo().Created.UnixNano()
	for _, name := range []string{bus.ConsumerLive, bus.ConsumerBulk} {
		consumer, err := in.js.Consumer(ctx, bus.StreamEvents, name)
		if err != nil {
			return err
		}
		if err := in.floors.Save(ctx, name, bus.Floor{Epoch: epoch, Seq: floorOf(consumer.CachedInfo(), last)}); err != nil {
			return err
		}
	}
	return nil
}

// floorOf is the sequence below which, and at which, nothing is left to do.
func floorOf(info *jetstream.ConsumerInfo, last uint64) uint64 {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return max(last, info.AckFloor.Stream)
	}
	return info.AckFloor.Stream
}
