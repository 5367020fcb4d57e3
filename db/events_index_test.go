package db_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// The index of events is made a partition at a time. A run that was cut off
// anywhere is made whole by the next one.
func TestMigrations_EventsIndexGoesOn(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(db.Migrations(), "00013_events.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "-- +goose StatementBegin")
	block, _, found := strings.Cut(block, "-- +goose StatementEnd")
	if !found {
		t.Fatal("the migration has no block")
	}
	const shape = "(tenant_id, type, created_at)"
	for _, tc := range []struct{ name, left string }{
		{name: "before the first statement"},
		{name: "after the parent's", left: "CREATE INDEX events_by_type ON ONLY events " + shape},
		{
			name: "before one is attached",
			left: "CREATE INDEX events_by_type ON ONLY events " + shape + "; CREATE INDEX first_by_type ON first " + shape,
		},
		{
			name: "after one is attached",
			left: "CREATE INDEX events_by_type ON ONLY events " + shape + "; CREATE INDEX first_by_type ON first " + shape +
				"; ALTER INDEX events_by_type ATTACH PARTITION first_by_type",
		},
		{name: "at its end", left: "CREATE INDEX events_by_type ON events " + shape},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := testenv.DB(t)
			owner := connect(t, d.URL(testenv.Owner))
			var first string
			err := owner.QueryRow(t.Context(), "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'events'::regclass").Scan(&first)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := owner.Exec(t.Context(), "DROP INDEX events_by_type; "+strings.ReplaceAll(tc.left, "first", first)); err != nil {
				t.Fatal(err)
			}
			if _, err := owner.Exec(t.Context(), block); err != nil {
				t.Fatal(err)
			}
			lacking := list(t, owner, pgx.RowTo[string], `
				SELECT i.inhrelid::regclass::text FROM pg_inherits i WHERE i.inhparent = 'events'::regclass AND NOT EXISTS (
					SELECT FROM pg_index x JOIN pg_inherits a ON a.inhrelid = x.indexrelid
					WHERE x.indrelid = i.inhrelid AND a.inhparent = 'events_by_type'::regclass AND x.indisvalid)
				UNION ALL SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid`)
			if len(lacking) > 0 {
				t.Errorf("without a valid index: %v", lacking)
			}
		})
	}
}
