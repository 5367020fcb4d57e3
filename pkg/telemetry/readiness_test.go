package telemetry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/primezap/primezap/pkg/telemetry"
)

func TestReadiness(t *testing.T) {
	t.Parallel()
	var r telemetry.Readiness
	says := func(want string) {
		t.Helper()
		got := ""
		if err := r.Ready(t.Context()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Ready says %q, want %q", got, want)
		}
	}
	says("")
	api, worker := r.Expect("api"), r.Expect("worker")
	says("api: is starting\nworker: is starting")
	api(func(context.Context) error { return nil })
	says("worker: is starting")
	var away error
	worker(func(context.Context) error { return away })
	says("")
	away = errors.New("postgres is away")
	says("worker: postgres is away")
}
