package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store/db"
)

// Floors is how far the consumers of EVENTS were: one that is gone is made again
// from there. A consumer that nothing is known of is not in the map.
func Floors(ctx context.Context, q *db.Queries) (map[string]bus.Floor, error) {
	floors := map[string]bus.Floor{}
	for _, name := range []string{bus.ConsumerLive, bus.ConsumerBulk} {
		row, err := q.ConsumerFloor(ctx, name)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("floor of consumer %s: %w", name, err)
		}
		floors[name] = bus.Floor{Epoch: row.Epoch, Seq: uint64(row.Floor)} //nolint:gosec // a sequence, as it was stored
	}
	return floors, nil
}
