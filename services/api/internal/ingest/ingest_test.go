package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// publisher accepts what errs has no error for, by position.
type publisher struct {
	errs   map[int]error
	events []bus.Event
}

func (p *publisher) Publish(_ context.Context, events ...bus.Event) []error {
	p.events = append(p.events, events...)
	errs := make([]error, len(events))
	for i := range errs {
		errs[i] = p.errs[i]
	}
	return errs
}

func newService(p Publisher) *Service {
	return &Service{
		Publisher: p, Classes: NewClasses(200, 1000), Metrics: NewMetrics(prometheus.NewRegistry()),
		Log: slog.New(slog.DiscardHandler),
	}
}

func post(ctx context.Context, s *Service, body []byte) (openapi.PublishEventsResponseObject, error) {
	return s.PublishEvents(ctx, openapi.PublishEventsRequestObject{Body: new(openapi.PublishEventsJSONRequestBody(body)), Params: openapi.PublishEventsParams{Strict: new("false")}})
}

func TestPublishEvents_StoreRefusesSome(t *testing.T) {
	t.Parallel()
	away := errors.Join(bus.ErrUnavailable, errors.New("timeout"))
	full := errors.Join(bus.ErrUnavailable, bus.ErrFull)
	const one, bad = `{"event":"deal.moved","data":{}}`, `{"event":"x","data":{}}`
	for _, tc := range []struct {
		name, body string
		errs       map[int]error
		status     int
		items      []int
		retryAfter int // seconds
	}{
		{name: "one that is away", body: one, errs: map[int]error{0: away}, status: 503, retryAfter: 2},
		{name: "a full store is asked again later", body: one, errs: map[int]error{0: full}, status: 503, retryAfter: 60},
		{name: "some of an array", body: `[` + one + `,` + bad + `,` + one + `]`, errs: map[int]error{1: away}, status: 207, items: []int{202, 422, 503}, retryAfter: 2},
		{name: "the longest wait of an array", body: `[` + one + `,` + one + `,` + one + `]`, errs: map[int]error{1: full, 2: away}, status: 207, items: []int{202, 503, 503}, retryAfter: 60},
		{name: "all of an array", body: `[` + one + `,` + one + `]`, errs: map[int]error{0: away, 1: away}, status: 503, retryAfter: 2},
		{name: "all that were valid", body: `[` + one + `,` + bad + `]`, errs: map[int]error{0: away}, status: 503, retryAfter: 2},
		{name: "nothing that was valid", body: `[` + bad + `,` + bad + `]`, status: 207, items: []int{422, 422}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			response, err := post(t.Context(), newService(&publisher{errs: tc.errs}), []byte(tc.body))
			if refused, ok := errors.AsType[*problem.Problem](err); ok {
				if refused.Status != tc.status || int(refused.RetryAfter.Seconds()) != tc.retryAfter {
					t.Errorf("refused with %v after %s, want %d after %d s", refused, refused.RetryAfter, tc.status, tc.retryAfter)
				}
				return
			}
			rec := httptest.NewRecorder()
			if err := response.VisitPublishEventsResponse(rec); err != nil {
				t.Fatal(err)
			}
			var got struct{ Data []struct{ Status int } }
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v", rec.Body, err)
			}
			var items []int
			for _, item := range got.Data {
				items = append(items, item.Status)
			}
			retryAfter := ""
			if tc.retryAfter > 0 {
				retryAfter = strconv.Itoa(tc.retryAfter)
			}
			if got := rec.Header().Get("Retry-After"); rec.Code != tc.status || !slices.Equal(items, tc.items) || got != retryAfter {
				t.Errorf("answered %d %v after %q s, want %d %v after %q s", rec.Code, items, got, tc.status, tc.items, retryAfter)
			}
		})
	}
}

// What a client writes into a request must not grow in the answer.
func TestPublishEvents_BoundsFaults(t *testing.T) {
	t.Parallel()
	body := `{"event":"deal.moved","data":{}` + strings.Repeat(`,"x":1`, 10_000) + `,"` + strings.Repeat("y", 10_000) + `":1}`
	_, err := post(t.Context(), newService(&publisher{}), []byte(body))
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok || p.Status != http.StatusUnprocessableEntity || len(p.Errors) != maxFaults {
		t.Errorf("got %v with %d faults, want a 422 with %d", err, len(p.Errors), maxFaults)
	}
}

func TestClasses_Of(t *testing.T) {
	t.Parallel()
	classes := NewClasses(10, 2)
	busy, quiet := uuid.New(), uuid.New()
	now := time.Now()
	var got []bus.Class
	take := func(tenant uuid.UUID) { got = append(got, classes.Of(tenant, now)) }
	take(busy)
	take(busy)
	take(busy)  // over its burst
	take(quiet) // has a bucket of its own
	now = now.Add(100 * time.Millisecond)
	take(busy) // one more token, after 100 ms
	take(busy)
	if want := []bus.Class{bus.Live, bus.Live, bus.Bulk, bus.Live, bus.Live, bus.Bulk}; !slices.Equal(got, want) {
		t.Errorf("classes %v, want %v", got, want)
	}
}

// BenchmarkPublish is what an event costs here, in arrays of 100 of about
// a kilobyte: everything but HTTP, the look-up of the key and NATS.
func BenchmarkPublish(b *testing.B) {
	definition, _ := event.Lookup(event.MessageReceived)
	var example struct{ Data json.RawMessage }
	if err := json.Unmarshal(definition.Example, &example); err != nil {
		b.Fatal(err)
	}
	item := fmt.Sprintf(`{"event":"message.received","data":%s}`, example.Data)
	body := []byte("[" + strings.Repeat(item+",", 99) + item + "]")
	s := newService(discard{})
	ctx := auth.WithPrincipal(b.Context(), auth.Principal{Tenant: uuid.New()})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		response, err := s.PublishEvents(ctx, openapi.PublishEventsRequestObject{Body: new(openapi.PublishEventsJSONRequestBody(body))})
		if err != nil {
			b.Fatal(err)
		}
		if err := response.VisitPublishEventsResponse(httptest.NewRecorder()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "µs/event")
}

type discard struct{}

func (discard) Publish(_ context.Context, events ...bus.Event) []error {
	return make([]error, len(events))
}
