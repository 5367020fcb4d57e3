package connection

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// PageOf is the page whose token a connection has, and by which Meta tells of it; empty
// where it is not known, or there is none.
func PageOf(row db.Connection) string {
	switch {
	case messaging.Channel(row.Channel) == messaging.Facebook:
		return row.ExternalID
	case row.PageID != nil:
		return *row.PageID
	}
	return ""
}

// Subscribed keeps what Meta was told to tell of a page, in a transaction of the tenant:
// on the page's connection, and on that of the Instagram account that is linked with it.
// What was kept before stays, and the answer is all that is kept now, sorted: if it is
// more than Meta was told, somebody else subscribed at once, and Meta is to be told all of
// it. The error is store.ErrNotFound if the tenant has no connection of the page.
func Subscribed(ctx context.Context, q *db.Queries, tenant uuid.UUID, page string, fields []string) (all []string, err error) {
	ids, kept, err := subscriptions(ctx, q, tenant, page)
	if err != nil {
		return nil, err
	}
	all = append(kept, fields...)
	slices.Sort(all)
	all = slices.Compact(all)
	if err := q.SubscribeConnections(ctx, all, ids, tenant); err != nil {
		return nil, fmt.Errorf("keep what page %s is subscribed to: %w", page, err)
	}
	return all, nil
}

// Unsubscribed keeps that Meta was told to tell nothing of a page any more. The error is
// that of Subscribed.
func Unsubscribed(ctx context.Context, q *db.Queries, tenant uuid.UUID, page string) error {
	ids, _, err := subscriptions(ctx, q, tenant, page)
	if err != nil {
		return err
	}
	if err := q.SubscribeConnections(ctx, nil, ids, tenant); err != nil {
		return fmt.Errorf("keep that page %s is subscribed to nothing: %w", page, err)
	}
	return nil
}

// subscriptions locks a page's connections, and reads what is kept on any of them.
func subscriptions(ctx context.Context, q *db.Queries, tenant uuid.UUID, page string) (ids []uuid.UUID, kept []string, err error) {
	rows, err := q.LockConnectionsOfPage(ctx, tenant, page)
	if err != nil {
		return nil, nil, fmt.Errorf("lock the connections of page %s: %w", page, err)
	}
	if len(rows) == 0 {
		return nil, nil, fmt.Errorf("connections of page %s: %w", page, store.ErrNotFound)
	}
	for _, row := range rows {
		ids, kept = append(ids, row.ID), append(kept, row.SubscribedFields...)
	}
	return ids, kept, nil
}

// List reads the tenant's live connections of pages and Instagram accounts, newest first:
// so many, after the one that before names, if it is not nil.
func List(ctx context.Context, q *db.Queries, tenant uuid.UUID, before *uuid.UUID, most int) ([]db.Connection, error) {
	rows, err := q.ListGrantable(ctx, tenant, before, int32(most)) //nolint:gosec // a page of a list
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return rows, nil
}
