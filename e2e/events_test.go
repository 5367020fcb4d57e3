package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"
)

// eventDetail is an event as the API shows it.
type eventDetail struct {
	ID         string          `json:"id"`
	Body       json.RawMessage `json:"body"`
	Deliveries []struct {
		ID         string  `json:"id"`
		WebhookID  string  `json:"webhookId"`
		State      string  `json:"state"`
		Attempts   int     `json:"attempts"`
		LastStatus *int    `json:"lastStatus"`
		LastError  *string `json:"lastError"`
	} `json:"deliveries"`
}

// TestEvents_AreRead follows an event from its deliveries in flight to the end of
// them all.
func TestEvents_AreRead(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	r := newReceiver(t)
	tenant := sys.Tenant()
	release := make(chan struct{})
	fine := r.Endpoint(statuses(204))
	hooks := map[string]string{ // name by webhook
		tenant.Subscribe(fine, "*").ID:                                     "fine",
		tenant.Subscribe(r.Endpoint(hang(release, statuses(204))), "*").ID: "hangs",
		tenant.SubscribeWith(r.Endpoint(statuses(503)), webhookInput{
			Events: []string{"*"}, Retry: &retryPolicy{DelaysSeconds: []int{3600}},
		}).ID: "waits",
		tenant.SubscribeWith(r.Endpoint(statuses(404)), webhookInput{
			Events: []string{"*"}, Retry: &retryPolicy{DelaysSeconds: []int{}},
		}).ID: "hopeless",
	}
	id := tenant.Publish("deal.moved")
	await := func(want map[string]string) (last eventDetail) {
		t.Helper()
		eventually(t, soon, func() error {
			last = eventDetail{}
			if err := tenant.Do(t.Context(), http.MethodGet, "/api/events/"+id, nil, http.StatusOK, &last); err != nil {
				return err // until it is in the ledger
			}
			got := make(map[string]string)
			for _, d := range last.Deliveries {
				status := 0
				if d.LastStatus != nil {
					status = *d.LastStatus
				}
				got[hooks[d.WebhookID]] = fmt.Sprintf("%s after %d attempts, %d", d.State, d.Attempts, status)
			}
			if !maps.Equal(got, want) {
				return fmt.Errorf("the deliveries are %v", got)
			}
			return nil
		})
		return last
	}
	want := map[string]string{
		"fine": "delivered after 1 attempts, 204", "hangs": "inFlight after 0 attempts, 0",
		"waits": "retrying after 1 attempts, 503", "hopeless": "exhausted after 1 attempts, 404",
	}
	await(want)
	close(release)
	want["hangs"] = "delivered after 1 attempts, 204"
	shown := await(want)
	if sent := fine.Await(t, 1, soon)[0]; string(sent.Body) != string(shown.Body) {
		t.Errorf("the body is shown as\n%s\nand was sent as\n%s", shown.Body, sent.Body)
	}

	later := tenant.PublishMany("message.sent", 3)
	eventually(t, soon, func() error {
		var all page[struct {
			ID        string    `json:"id"`
			Event     string    `json:"event"`
			CreatedAt time.Time `json:"createdAt"`
		}]
		if err := tenant.Do(t.Context(), http.MethodGet, "/api/events", nil, http.StatusOK, &all); err != nil {
			return err
		}
		if len(all.Data) < 4 {
			return errors.New("they are not all in the ledger")
		}
		if all.Data[3].ID != id || all.Data[0].ID != later[2] || all.Pagination.Total != 4 {
			return fmt.Errorf("the list is %+v", all)
		}
		return nil
	})
}
