package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestRound_Send(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 2)
	send := func(fill func(*store.Round) error) error {
		return pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
			var round store.Round
			if err := fill(&round); err != nil {
				return err
			}
			return round.Send(t.Context(), tx)
		})
	}
	event := db.InsertOutboxRowsParams{
		Tenants: []uuid.UUID{uuid.New(), uuid.New()}, EventIds: []string{"a", "b"}, EventTypes: []string{"t", "t"}, Days: []time.Time{time.Now(), time.Now()}, Bodies: [][]byte{[]byte("1"), []byte("2")},
		Conversations: []string{"", "c"},
	}
	var before, after []db.OutboxBatchRow
	ask := func(rows *[]db.OutboxBatchRow) func(*store.Round) error {
		return func(r *store.Round) error {
			return store.Ask(r, rows, func(q *db.Queries) ([]db.OutboxBatchRow, error) { return q.OutboxBatch(t.Context(), 0, 10, 1<<20) })
		}
	}
	insert := func(r *store.Round) error {
		return r.Do(func(q *db.Queries) error { return q.InsertOutboxRows(t.Context(), event) })
	}
	err := send(func(r *store.Round) error { return errors.Join(ask(&before)(r), insert(r), ask(&after)(r)) })
	if err != nil || len(before) != 0 || len(after) != 2 || after[0].EventID != "a" || after[0].Conversation != nil || *after[1].Conversation != "c" {
		t.Errorf("%v, %v before and %v after the insert, want each statement to see those before it", err, before, after)
	}
	if err := send(func(*store.Round) error { return nil }); err != nil {
		t.Errorf("a round of nothing: %v", err)
	}
	event.Days = event.Days[:1] // a row without a day
	if err := send(func(r *store.Round) error { return errors.Join(insert(r), ask(&after)(r)) }); err == nil {
		t.Error("the error of a statement was lost")
	}
	err = send(func(r *store.Round) error {
		return store.Ask(r, &after, func(q *db.Queries) ([]db.OutboxBatchRow, error) {
			_, err := q.ConsumerFloor(t.Context(), "c")
			return nil, err
		})
	})
	if err == nil {
		t.Error("a :one query was taken")
	}
}
