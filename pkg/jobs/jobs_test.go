package jobs_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestInserter_Insert(t *testing.T) {
	t.Parallel()
	database := testenv.DB(t)
	api, err := pgx.Connect(t.Context(), database.URL(testenv.API))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close(t.Context())
	inserter, err := jobs.NewInserter()
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.Must(uuid.NewV7())
	undone := errors.New("undone")
	for _, end := range []error{undone, nil} {
		err := pgx.BeginFunc(t.Context(), api, func(tx pgx.Tx) error {
			if err := inserter.Insert(t.Context(), tx, jobs.Replay{ID: id}); err != nil {
				return err
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	conn, err := pgx.Connect(t.Context(), database.URL(testenv.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SELECT kind || ' ' || (args->>'id') FROM river_job")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(got) != 1 || got[0] != "replay "+id.String() {
		t.Errorf("jobs %q (%v), want the one whose transaction committed", got, err)
	}
}

// However many workers die over them.
func TestInserter_Insert_WhatMustBeDoneIsNotGivenUp(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), testenv.DB(t).URL(testenv.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	inserter, err := jobs.NewInserter()
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range []river.JobArgs{jobs.Replay{ID: uuid.New()}, jobs.Erasure{ID: uuid.New()}, jobs.TenantDeletion{ID: uuid.New()}, jobs.ConnectionMoved{ID: uuid.New()}} {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return inserter.Insert(t.Context(), tx, job) })
		if err != nil {
			t.Fatal(err)
		}
		var attempts int
		err = conn.QueryRow(t.Context(), "SELECT max_attempts FROM river_job WHERE kind = $1", job.Kind()).Scan(&attempts)
		if err != nil || attempts < 10_000 {
			t.Errorf("%s is given up after %d attempts (%v)", job.Kind(), attempts, err)
		}
	}
}
