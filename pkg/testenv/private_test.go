package testenv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
)

func TestPrivateNATS(t *testing.T) {
	t.Parallel()
	n := PrivateNATS(t)
	publish(t, &n.Account)
	before, worker := n.URL(API), n.Connect(t, Worker)
	for name, end := range map[string]func(){"kill": n.Kill, "stop": n.Stop} {
		end()
		if _, err := nats.Connect(n.URL(API)); !errors.Is(err, nats.ErrNoServers) {
			t.Errorf("connect after a %s: %v, want no server", name, err)
		}
		n.Restart()
		if n.URL(API) != before {
			t.Errorf("the address after a %s is another", name)
		}
		if got := events(t, &n.Account); got != 1 {
			t.Errorf("%d events after a %s, want 1", got, name)
		}
	}
	n.Restart() // of one that runs
	if got := events(t, &n.Account); got != 1 {
		t.Errorf("%d events after a restart, want 1", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !worker.IsConnected() {
		if time.Now().After(deadline) {
			t.Fatal("a client from before does not find the server again")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestPrivatePostgres(t *testing.T) {
	t.Parallel()
	p := PrivatePostgres(t)
	before := p.URL(Worker)
	run(t, p.URL(Owner), "CREATE TABLE kept AS SELECT 1 AS n")
	for name, end := range map[string]func(){"kill": p.Kill, "stop": p.Stop} {
		end()
		if conn, err := pgx.Connect(t.Context(), p.URL(Worker)); err == nil {
			_ = conn.Close(context.WithoutCancel(t.Context()))
			t.Errorf("connected after a %s", name)
		}
		p.Restart()
		if p.URL(Worker) != before {
			t.Errorf("the address after a %s is another", name)
		}
		if got := scan[int](t, p.URL(Owner), "SELECT n FROM kept"); got != 1 {
			t.Errorf("the row is gone after a %s", name)
		}
	}
	if !scan[bool](t, p.URL(Worker), "SELECT to_regclass('webhooks') IS NOT NULL") {
		t.Error("not migrated")
	}
}
