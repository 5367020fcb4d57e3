package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goclient "github.com/primezap/primezap/pkg/client"
	"github.com/primezap/primezap/pkg/event"
)

// publisher is a Go client of the tenant, closed when the test ends.
func publisher(t *testing.T, tenant *client, url string) *goclient.Client {
	t.Helper()
	c, err := goclient.New(goclient.Config{URL: url, APIKey: tenant.key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// deal is an event, fit for the catalog, that can be told by its title.
func deal(title string) goclient.Event {
	definition, _ := event.Lookup(event.DealMoved)
	var example struct{ Data map[string]any }
	if err := json.Unmarshal(definition.Example, &example); err != nil {
		panic(err) // it is part of the program
	}
	example.Data["deal"].(map[string]any)["title"] = title
	return goclient.Event{Type: "deal.moved", Data: example.Data}
}

func TestGoClient_Publish(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	tenant, r := sys.Tenant(), newReceiver(t)
	e := r.Endpoint()
	tenant.Subscribe(e, "deal.*")
	c := publisher(t, tenant, urlOf(sys.APIs[0]))

	named := deal("named")
	named.ID, named.Timestamp = "deal-1-won", time.Date(2025, 10, 20, 9, 0, 0, 0, time.FixedZone("", -3*60*60))
	unreadable := goclient.Event{Type: "deal.moved", Data: json.RawMessage("{\"title\":\"\xff\"}")}
	unknown := deal("of no type")
	unknown.Type = "deal.exploded"
	events := []goclient.Event{deal("first"), unreadable, named, unknown, named, deal("last")}
	results := c.PublishAll(t.Context(), events)

	for _, i := range []int{0, 2, 4, 5} {
		if results[i].Err != nil || results[i].ID == "" {
			t.Errorf("event %d: %v", i, results[i].Err)
		}
	}
	if results[2].ID != "deal-1-won" || results[4].ID != "deal-1-won" {
		t.Errorf("the event with an id of its own has %q and %q", results[2].ID, results[4].ID)
	}
	for i, want := range map[int]struct {
		status int
		place  string
	}{1: {400, "/data/title"}, 3: {422, "/event"}} {
		p, ok := errors.AsType[*goclient.Problem](results[i].Err)
		if !ok || p.Status != want.status || len(p.Errors) != 1 || p.Errors[0].Pointer != want.place || p.RequestID == "" && want.status == 400 {
			t.Errorf("event %d: %v, want a %d at %s: %+v", i, results[i].Err, want.status, want.place, p)
		}
	}
	for _, i := range []int{0, 2, 5} {
		title := []string{"first", "", "named", "", "", "last"}[i]
		if d := e.AwaitEvent(t, results[i].ID, 1, soon)[0]; !strings.Contains(string(d.Body), `"title":"`+title+`"`) {
			t.Errorf("event %d came as %s", i, d.Body)
		}
	}
	if d := e.Of("deal-1-won")[0]; !strings.Contains(string(d.Body), `"timestamp":"2025-10-20T12:00:00Z"`) {
		t.Errorf("the event of 2025 came as %s", d.Body)
	}
	sys.AwaitIdle(soon)
	if got := e.Events(); len(got) != 3 {
		t.Errorf("%d events came, want 3: %v", len(got), got)
	}

	stranger, err := goclient.New(goclient.Config{URL: urlOf(sys.APIs[0]), APIKey: "pz_nobodys"})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close(context.WithoutCancel(t.Context()))
	_, err = stranger.Publish(t.Context(), deal("foreign"))
	if p, ok := errors.AsType[*goclient.Problem](err); !ok || p.Status != 401 {
		t.Errorf("with nobody's key: %v, want a 401", err)
	}
}

// TestGoClient_APIKilled kills the api again and again while programs publish: no
// event is lost and none is delivered twice, under whatever id.
func TestGoClient_APIKilled(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{Workers: 1, Variant: fast})
	address := "HTTP_ADDR=" + freeAddress(t)
	api := sys.StartAPI(address)
	tenant, r := sys.Tenant(), newReceiver(t)
	e := r.Endpoint()
	tenant.Subscribe(e, "deal.moved")
	c := publisher(t, tenant, urlOf(api))

	const goroutines, kills = 32, 5
	var stop atomic.Bool
	var published sync.Map // ids by title
	var count atomic.Int64
	var programs sync.WaitGroup
	for g := range goroutines {
		programs.Go(func() {
			for n := 0; !stop.Load(); n++ {
				title := fmt.Sprintf("%d-%d", g, n)
				id, err := c.Publish(t.Context(), deal(title))
				if err != nil {
					t.Errorf("event %s: %v", title, err)
					return
				}
				published.Store(title, id)
				count.Add(1)
			}
		})
	}
	for range kills {
		enough := count.Load() + 2*goroutines // it is amid requests
		eventually(t, soon, func() error {
			if n := count.Load(); n < enough {
				return fmt.Errorf("%d of %d events are published", n, enough)
			}
			return nil
		})
		api.Kill()
		api.Start(address)
	}
	stop.Store(true)
	programs.Wait()
	sys.AwaitIdle(soon)

	came := make(map[string]int)
	for _, d := range e.Deliveries() {
		var body struct {
			Data struct{ Deal struct{ Title string } }
		}
		if err := json.Unmarshal(d.Body, &body); err != nil {
			t.Fatal(err)
		}
		title := body.Data.Deal.Title
		came[title]++
		if id, _ := published.Load(title); id != d.ID {
			t.Errorf("event %s came as %s, it was published as %v", title, d.ID, id)
		}
	}
	lost, again := 0, 0
	published.Range(func(title, _ any) bool {
		switch n := came[title.(string)]; {
		case n == 0:
			lost++
		case n > 1:
			again++
		}
		return true
	})
	if lost > 0 || again > 0 {
		t.Errorf("of %d events %d were lost and %d came twice", count.Load(), lost, again)
	}
	t.Logf("%d events over %d kills", count.Load(), kills)
}

// freeAddress is where a process can be started again at the same place.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
