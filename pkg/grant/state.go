package grant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

// ErrStateUsed says that a login's state was given before.
var ErrStateUsed = errors.New("the state was used before")

// UseState keeps that the state with this nonce was used, in a transaction of the tenant
// that commits before the login's code goes to Meta. Of two at once one waits for the
// other, and gets ErrStateUsed.
func UseState(ctx context.Context, q *db.Queries, tenant uuid.UUID, nonce string, expires time.Time) error {
	fresh, err := q.UseState(ctx, tenant, nonce, expires)
	if err != nil {
		return fmt.Errorf("use the state: %w", err)
	}
	if fresh == 0 {
		return ErrStateUsed
	}
	return nil
}
