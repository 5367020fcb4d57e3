package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

// client calls the HTTP API as one tenant. Its methods fail the test where the
// answer is not the one of success, so they are for the test's goroutine;
// [client.Do] is for any.
type client struct {
	t      testing.TB
	api    *process
	tenant uuid.UUID
	key    string
}

// Via is the same client at another api.
func (c *client) Via(api *process) *client {
	other := *c
	other.api = api
	return &other
}

// In is the same client for a subtest.
func (c *client) In(t testing.TB) *client {
	other := *c
	other.t = t
	return &other
}

// webhookInput is a webhook to create or replace.
type webhookInput struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	Events  []string          `json:"events"`
	Secret  string            `json:"secret,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Active  *bool             `json:"active,omitempty"`
	Retry   *retryPolicy      `json:"retry,omitempty"`

	Operational bool `json:"operational,omitempty"`
}

type retryPolicy struct {
	DelaysSeconds []int `json:"delaysSeconds"`
	AutoRecover   *bool `json:"autoRecover,omitempty"`
}

// webhookInfo is a webhook as the API shows it.
type webhookInfo struct {
	ID     string   `json:"id"`
	URL    string   `json:"url"`
	Events []string `json:"events"`
	Active bool     `json:"active"`
	Secret string   `json:"secret"` // after creation alone
}

// eventInput is an event to publish.
type eventInput struct {
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp string          `json:"timestamp,omitempty"`
	ID        string          `json:"id,omitempty"`
}

// logRow is one attempt as the API shows it.
type logRow struct {
	ID           string  `json:"id"`
	DeliveryID   string  `json:"deliveryId"`
	EventID      string  `json:"eventId"`
	Event        string  `json:"event"`
	Attempt      int     `json:"attempt"`
	Kind         string  `json:"kind"`
	Counted      bool    `json:"counted"`
	Success      bool    `json:"success"`
	Status       *int    `json:"status"`
	ResponseBody *string `json:"responseBody"`
	Error        *struct {
		Class   string `json:"class"`
		Message string `json:"message"`
	} `json:"error"`
	CreatedAt time.Time `json:"createdAt"`
}

// class is the row's error class, empty without an error.
func (r *logRow) class() string {
	if r.Error == nil {
		return ""
	}
	return r.Error.Class
}

// queueRow is a delivery that is not done as the API shows it.
type queueRow struct {
	ID            string     `json:"id"`
	EventID       string     `json:"eventId"`
	State         string     `json:"state"`
	Attempt       int        `json:"attempt"`
	NextAttemptAt *time.Time `json:"nextAttemptAt"`
	LastStatus    *int       `json:"lastStatus"`
	LastError     *string    `json:"lastError"`
}

// Create creates a webhook.
func (c *client) Create(in webhookInput) webhookInfo {
	c.t.Helper()
	if in.Name == "" {
		in.Name = c.t.Name()
	}
	var hook webhookInfo
	c.call(http.MethodPost, "/api/custom-webhooks", in, http.StatusCreated, &hook)
	return hook
}

// Subscribe creates a webhook for e, which verifies with its secret.
func (c *client) Subscribe(e *endpoint, events ...string) webhookInfo {
	c.t.Helper()
	return c.SubscribeWith(e, webhookInput{Events: events})
}

// SubscribeWith is Subscribe for a webhook with more settings than events.
func (c *client) SubscribeWith(e *endpoint, in webhookInput) webhookInfo {
	c.t.Helper()
	in.URL = e.URL
	hook := c.Create(in)
	e.VerifyWith(hook.Secret)
	return hook
}

// Patch changes fields of a webhook.
func (c *client) Patch(id string, fields map[string]any) {
	c.t.Helper()
	c.call(http.MethodPatch, "/api/custom-webhooks/"+id, fields, http.StatusOK, nil)
}

// Replace replaces a webhook.
func (c *client) Replace(id string, in webhookInput) {
	c.t.Helper()
	if in.Name == "" {
		in.Name = c.t.Name()
	}
	c.call(http.MethodPut, "/api/custom-webhooks/"+id, in, http.StatusOK, nil)
}

// Regenerate gives a webhook a new secret, and returns it. The old one signs
// beside it for so many seconds.
func (c *client) Regenerate(id string, graceSeconds int) string {
	c.t.Helper()
	var hook webhookInfo
	c.call(http.MethodPost, "/api/custom-webhooks/"+id+"/regenerate-secret", map[string]int{"gracePeriodSeconds": graceSeconds}, http.StatusOK, &hook)
	return hook.Secret
}

// Delete deletes a webhook.
func (c *client) Delete(id string) {
	c.t.Helper()
	c.call(http.MethodDelete, "/api/custom-webhooks/"+id, nil, http.StatusNoContent, nil)
}

// Publish publishes an event with some data and returns its id.
func (c *client) Publish(event string) string {
	c.t.Helper()
	var accepted struct {
		ID string `json:"id"`
	}
	c.call(http.MethodPost, eventsPath, eventInput{Event: event, Data: someData}, http.StatusAccepted, &accepted)
	return accepted.ID
}

// PublishMany publishes n events with some data, in arrays as large as may be,
// and returns their ids.
func (c *client) PublishMany(event string, n int) []string {
	c.t.Helper()
	ids, err := c.publishMany(c.t.Context(), event, n)
	if err != nil {
		c.t.Fatal(err)
	}
	return ids
}

// maxArray is how many events a request may hold.
const maxArray = 500

// eventsPath takes any data: what is published here is not about a schema.
const eventsPath = "/api/events?strict=false"

var someData = json.RawMessage(`{"id":"deal_8f14","title":"Renewal 2026","value":1250.5,"stage":{"from":"proposal","to":"won"}}`)

// publishMany is PublishMany for any goroutine.
func (c *client) publishMany(ctx context.Context, event string, n int) (ids []string, err error) {
	for chunk := range slices.Chunk(slices.Repeat([]eventInput{{Event: event, Data: someData}}, n), maxArray) {
		var answer struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
		}
		if err := c.Do(ctx, http.MethodPost, eventsPath, chunk, http.StatusAccepted, &answer); err != nil {
			return ids, err
		}
		for _, accepted := range answer.Data {
			ids = append(ids, accepted.ID)
		}
	}
	return ids, nil
}

// Logs are a webhook's attempts, newest first: all of them, whatever their number.
func (c *client) Logs(id string) []logRow {
	c.t.Helper()
	return list[logRow](c, "/api/custom-webhooks/"+id+"/logs", nil)
}

// AwaitLogs waits until a webhook has n log rows, and returns them.
func (c *client) AwaitLogs(id string, n int, within time.Duration) []logRow {
	c.t.Helper()
	var rows []logRow
	eventually(c.t, within, func() error {
		if rows = c.Logs(id); len(rows) < n {
			return fmt.Errorf("webhook %s has %d log rows, want %d", id, len(rows), n)
		}
		return nil
	})
	return rows
}

// Queue are a webhook's deliveries that are not done, newest first.
func (c *client) Queue(id string) []queueRow {
	c.t.Helper()
	return list[queueRow](c, "/api/custom-webhooks/"+id+"/queue", nil)
}

// QueueTotal is how many deliveries of a webhook are not done, in one state or,
// with "", in any.
func (c *client) QueueTotal(id, state string) int {
	c.t.Helper()
	query := url.Values{"limit": {"1"}}
	if state != "" {
		query.Set("state", state)
	}
	var page page[queueRow]
	c.call(http.MethodGet, "/api/custom-webhooks/"+id+"/queue?"+query.Encode(), nil, http.StatusOK, &page)
	return page.Pagination.Total
}

// RetryNow makes a delivery due.
func (c *client) RetryNow(webhook, delivery string) {
	c.t.Helper()
	c.call(http.MethodPost, "/api/custom-webhooks/"+webhook+"/queue/"+delivery+"/retry", nil, http.StatusAccepted, nil)
}

// replayInput is what is to be delivered again.
type replayInput struct {
	Since  time.Time `json:"since"`
	Events []string  `json:"events,omitempty"`
	Status string    `json:"status,omitempty"`
}

// replayInfo is a replay as the API shows it.
type replayInfo struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Inserted int    `json:"inserted"`
	Skipped  int    `json:"skipped"`
}

// Replay has stored events delivered again.
func (c *client) Replay(webhook string, in replayInput) replayInfo {
	c.t.Helper()
	var replay replayInfo
	c.call(http.MethodPost, "/api/custom-webhooks/"+webhook+"/replay", in, http.StatusAccepted, &replay)
	return replay
}

// AwaitReplay waits until a replay has completed.
func (c *client) AwaitReplay(id string, within time.Duration) replayInfo {
	c.t.Helper()
	var replay replayInfo
	eventually(c.t, within, func() error {
		c.call(http.MethodGet, "/api/replays/"+id, nil, http.StatusOK, &replay)
		if replay.State != "completed" {
			return fmt.Errorf("the replay is %+v, want it completed", replay)
		}
		return nil
	})
	return replay
}

type page[T any] struct {
	Data       []T `json:"data"`
	Pagination struct {
		Total      int     `json:"total"`
		NextCursor *string `json:"nextCursor"`
	} `json:"pagination"`
}

// list reads a list to its end.
func list[T any](c *client, path string, query url.Values) (all []T) {
	c.t.Helper()
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", "100")
	for {
		var page page[T]
		c.call(http.MethodGet, path+"?"+query.Encode(), nil, http.StatusOK, &page)
		all = append(all, page.Data...)
		if page.Pagination.NextCursor == nil {
			return all
		}
		query.Set("cursor", *page.Pagination.NextCursor)
	}
}

func (c *client) call(method, path string, body any, want int, into any) {
	c.t.Helper()
	if err := c.Do(c.t.Context(), method, path, body, want, into); err != nil {
		c.t.Fatal(err)
	}
}

// Do makes a request and decodes the answer into into, unless nil. An answer
// with another status than want is an error that shows it.
func (c *client) Do(ctx context.Context, method, path string, body any, want int, into any) error {
	return c.DoWith(ctx, nil, method, path, body, want, into)
}

// DoWith is Do with headers.
func (c *client) DoWith(ctx context.Context, header http.Header, method, path string, body any, want int, into any) error {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, urlOf(c.api)+path, payload)
	if err != nil {
		return err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: status %d, want %d: %s", method, path, resp.StatusCode, want, answer)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w: %s", method, path, err, answer)
	}
	return nil
}
