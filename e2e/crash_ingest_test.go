package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
)

// TestIngest_Crash kills the api at every step of accepting an array. The client,
// which knows nothing of what became of it, repeats the request when JetStream has
// long forgotten the ids: each event is delivered once, under the id that was
// published first.
func TestIngest_Crash(t *testing.T) {
	t.Parallel()
	const events = 6
	for _, at := range []place{
		{"ingest.claimed", 1},   // the ids are written down, nothing is published
		{"bus.acknowledged", 3}, // a part of the array is published, for sure
		{"ingest.published", 1}, // everything is, and delivered
		{"ingest.completed", 1}, // and the key says so
	} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			sys := start(t, setup{APIs: 1, Workers: 1})
			forgetSoon(t, sys)
			tenant := sys.Tenant()
			e := newReceiver(t).Endpoint()
			tenant.Subscribe(e, "deal.moved")
			var input []eventInput
			for n := range events {
				input = append(input, eventInput{Event: "deal.moved", Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))})
			}
			input[events-1].ID = "mine"
			post := func() (ids []string, err error) {
				var answer struct{ Data []struct{ ID string } }
				err = tenant.DoWith(t.Context(), http.Header{"Idempotency-Key": {"k"}}, http.MethodPost, eventsPath, input, http.StatusAccepted, &answer)
				for _, result := range answer.Data {
					ids = append(ids, result.ID)
				}
				return ids, err
			}

			api := sys.APIs[0]
			api.Kill()
			api.Launch(fmt.Sprintf("PRIMEZAP_FAILPOINT=%s:%d", at.name, at.hits))
			api.AwaitReady()
			sys.awaitReadiness(api)
			if _, err := post(); err == nil {
				t.Fatal("the api was to die before it answered")
			}
			mustHaveDied(t, api, at, 1)
			sys.AwaitIdle(soon)
			before := e.Events()
			awaitForgotten(t, sys)

			api.Start()
			sys.awaitReadiness(api)
			var ids []string
			for range 2 {
				again, err := post()
				if err != nil {
					t.Fatal(err)
				}
				if ids != nil && !slices.Equal(ids, again) {
					t.Errorf("the same request was answered with %v, then with %v", ids, again)
				}
				ids = again
			}
			sys.AwaitIdle(soon)
			want := make(map[string]int)
			for _, id := range ids {
				want[id] = 1
			}
			if got := e.Events(); len(want) != events || !maps.Equal(got, want) {
				t.Errorf("delivered %v, want each of %v once; before the request was repeated: %v", got, ids, before)
			}
			if ids[events-1] != "mine" {
				t.Errorf("the event mine was given the id %s", ids[events-1])
			}
		})
	}
}

// forgetSoon has JetStream forget ids after the shortest time that it knows.
func forgetSoon(t *testing.T, sys *system) {
	t.Helper()
	stream, err := sys.js.Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond
	if _, err := sys.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// awaitForgotten returns when JetStream has forgotten an id, and so all before it.
func awaitForgotten(t *testing.T, sys *system) {
	t.Helper()
	nc, err := bus.Connect(sys.setup.NATS.URL(testenv.API), bus.UserAPI, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	publisher, err := bus.NewPublisher(nc)
	if err != nil {
		t.Fatal(err)
	}
	probe := bus.Event{
		Tenant: uuid.New(), Class: bus.Live, Type: "deal.moved", ID: "probe", Day: bus.Day(time.Now()),
		Body: []byte(`{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{}}`), Deduplicate: true,
	}
	last := uint64(0) // the first copy, once it is there
	eventually(t, soon, func() error {
		if err := errors.Join(publisher.Publish(t.Context(), probe)...); err != nil {
			return err
		}
		stream, err := sys.js.Stream(t.Context(), bus.StreamEvents)
		if err != nil {
			return err
		}
		was := last
		last = stream.CachedInfo().State.LastSeq
		if was == 0 || was == last {
			return errors.New("the id is still known")
		}
		return nil
	})
}
