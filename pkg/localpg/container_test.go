package localpg

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The Docker fallback, with the image of TEST_POSTGRES_IMAGE. Local binaries
// come first everywhere, so it is asked for by name.
func TestStartContainer(t *testing.T) {
	if os.Getenv("TESTENV") != "containers" {
		t.Skip("runs with TESTENV=containers") // a choice: with it, a missing engine fails
	}
	t.Parallel()
	if !engineAnswers(t.Context()) {
		t.Fatal("no Docker engine answers")
	}
	cfg := Config{Dir: stateDir(t), Durable: true, Image: cmp.Or(os.Getenv("TEST_POSTGRES_IMAGE"), DefaultImage), Settings: map[string]string{"max_connections": "33"}}
	up := func(with backend) *Server {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := start(ctx, cfg, with)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, s) })
		return s
	}
	t.Cleanup(func() {
		if c, err := loadContainer(cfg.Dir); err == nil {
			_ = docker(context.WithoutCancel(t.Context()), "volume", "rm", c.Name)
		}
	})

	s := up(startContainer)
	first := admin(s)
	execute(t, first, "CREATE TABLE kept AS SELECT 1 AS n")
	if got := scan[string](t, first, "SHOW max_connections"); got != "33" {
		t.Errorf("max_connections is %s, want 33", got)
	}
	u, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(Superuser, "wrong")
	if _, err := pgx.Connect(t.Context(), u.String()); err == nil {
		t.Error("a wrong password was accepted")
	}
	if _, err := start(t.Context(), cfg, startContainer); !errors.Is(err, ErrInUse) {
		t.Errorf("second start: %v, want %v", err, ErrInUse)
	}

	again := func(how string) {
		t.Helper()
		s = up(choose) // what is there decides, although there may be binaries
		if admin(s) != first {
			t.Errorf("the address after a %s is another", how)
		}
		if got := scan[int](t, admin(s), "SELECT n FROM kept"); got != 1 {
			t.Errorf("the row is gone after a %s", how)
		}
	}
	stop(t, s)
	again("stop")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	again("kill of the server")
	// As if we had been killed: the client goes, the container stays.
	if err := s.proc.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.lock.Close(); err != nil {
		t.Fatal(err)
	}
	again("kill of its owner")
}
