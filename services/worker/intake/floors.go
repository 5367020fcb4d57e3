package intake

import (
	"context"

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
	stock, err := bus.TakeStock(ctx, in.js)
	if err != nil {
		return err
	}
	for name, floor := range stock.Floors {
		if err := in.floors.Save(ctx, name, floor); err != nil {
			return err
		}
	}
	return nil
}
