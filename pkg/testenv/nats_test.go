package testenv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/localnats"
)

const subject = "events.live.0198c0de-0000-7000-8000-000000000001.deal.moved"

func stream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func events(t *testing.T, a *Account) uint64 {
	t.Helper()
	s, err := stream(t, a.Connect(t, Admin)).Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func publish(t *testing.T, a *Account) {
	t.Helper()
	if _, err := stream(t, a.Connect(t, API)).Publish(t.Context(), subject, []byte("{}")); err != nil {
		t.Fatal(err)
	}
}

func TestNATS_Roles(t *testing.T) {
	t.Parallel()
	a := NATS(t)
	publish(t, a)
	if _, err := stream(t, a.Connect(t, Worker)).Consumer(t.Context(), bus.StreamEvents, bus.ConsumerLive); err != nil {
		t.Errorf("the worker finds no consumer: %v", err)
	}
	for _, role := range []Role{API, Worker} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // a refusal is silence
		defer cancel()
		if err := stream(t, a.Connect(t, role)).DeleteStream(ctx, bus.StreamEvents); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s deletes the stream: %v, want no answer", role, err)
		}
	}
	if n := events(t, a); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestNATS_AccountsAreApart(t *testing.T) {
	t.Parallel()
	a, b := NATS(t), NATS(t)
	publish(t, a)
	if n, m := events(t, a), events(t, b); n != 1 || m != 0 {
		t.Errorf("%d and %d events after one publish to the first, want 1 and 0", n, m)
	}
}

func TestNATS_AccountIsClearedAndGivenOn(t *testing.T) {
	t.Parallel()
	accounts, users := newAccounts()
	server, err := localnats.Start(localnats.Config{Dir: t.TempDir(), Users: users})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	one := accounts[:1].at("test", server.Address())
	for range 2 {
		t.Run("to the next test, which finds it empty", func(t *testing.T) {
			a := one.lend(t)
			if n := events(t, a); n != 0 {
				t.Errorf("%d events from the test before", n)
			}
			js := stream(t, a.Connect(t, Admin))
			var names []string
			for name := range js.StreamNames(t.Context()).Name() {
				names = append(names, name)
			}
			if len(names) != 2 {
				t.Errorf("streams %v, want those of the product", names)
			}
			publish(t, a)
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OWN", Subjects: []string{"own.>"}}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, _, err := one.lease(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a second lease of the only account: %v, want it to wait", err)
			}
		})
	}
}

func TestExistingNATS(t *testing.T) {
	t.Parallel()
	var users []localnats.User
	for _, u := range bus.Users() {
		user := localUser(u)
		user.Password = "the same"
		users = append(users, user)
	}
	running, err := localnats.Start(localnats.Config{Dir: t.TempDir(), Users: users})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	// As two test binaries have it.
	locks := t.TempDir()
	var servers [2]*natsServer
	for i := range servers {
		if servers[i], err = existingNATS(running.URL(bus.UserAdmin), locks); err != nil {
			t.Fatal(err)
		}
	}
	admin := func(t *testing.T) jetstream.JetStream {
		nc, err := bus.Connect(running.URL(bus.UserAdmin), bus.UserAdmin, warnings())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return stream(t, nc)
	}
	if _, err := admin(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: "FOREIGN", Subjects: []string{"foreign.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		t.Run("a test has it to itself", func(t *testing.T) {
			a := servers[i].lend(t)
			if n := events(t, a); n != 0 {
				t.Errorf("%d events from the test before", n)
			}
			publish(t, a)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, _, err := servers[1-i].lease(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the other binary's lease meanwhile: %v, want it to wait", err)
			}
		})
	}
	if _, err := admin(t).Stream(t.Context(), "FOREIGN"); err != nil {
		t.Errorf("a stream that is not ours: %v, want it untouched", err)
	}
}
