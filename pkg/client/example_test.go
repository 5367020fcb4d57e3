package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/client"
)

// DealMoved is a type of the program that publishes, with a part of its fields.
type DealMoved struct {
	Deal struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	} `json:"deal"`
}

// docs: from here

// publishMove tells PrimeZap that a deal has moved, with the data that docs/events.md
// asks for. One client serves the whole program; calls of many goroutines share requests.
func publishMove(ctx context.Context, c *client.Client, moved DealMoved) error {
	id, err := c.Publish(ctx, client.Event{Type: "deal.moved", Data: moved})
	if refusal, ok := errors.AsType[*client.Problem](err); ok && !errors.Is(err, client.ErrUnknown) {
		return fmt.Errorf("our mistake, and no use to try again: %w %v", refusal, refusal.Errors)
	}
	if err != nil {
		return err // the API was away for a minute, or ctx has ended
	}
	fmt.Println("stored as", id)
	return nil
}

// docs: to here

func ExampleClient_Publish() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"data":[{"status":202,"id":"0199ffa0-1c00-7100-8a00-3f2b6d1e9c00"}]}`)
	}))
	defer api.Close()

	c, err := client.New(client.Config{URL: api.URL, APIKey: "pz_…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var moved DealMoved
	moved.Deal.ID, moved.Deal.Title = "d-1", "20 cadeiras"
	if err := publishMove(context.Background(), c, moved); err != nil {
		fmt.Println(err)
	}

	// Before the program ends: send what waits, for ten seconds at most.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: stored as 0199ffa0-1c00-7100-8a00-3f2b6d1e9c00
}

func ExampleClient_PublishAll() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, `{"data":[{"status":202,"id":"e-1"},`+
			`{"status":422,"error":{"title":"Unprocessable Entity","status":422,"errors":[{"pointer":"/1/event","detail":"must be an event type that GET /api/event-types lists"}]}}]}`)
	}))
	defer api.Close()
	c, err := client.New(client.Config{URL: api.URL, APIKey: "pz_…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(context.Background())

	events := []client.Event{
		{Type: "contact.created", Data: map[string]any{"contact": map[string]any{"id": "c-1"}}},
		{Type: "contact.craeted", Data: map[string]any{"contact": map[string]any{"id": "c-2"}}},
	}
	for i, result := range c.PublishAll(context.Background(), events) {
		if refusal, ok := errors.AsType[*client.Problem](result.Err); ok {
			fmt.Println(i, refusal.Status, refusal.Errors[0].Detail)
			continue
		}
		fmt.Println(i, result.ID)
	}
	// Output:
	// 0 e-1
	// 1 422 must be an event type that GET /api/event-types lists
}

// What the README shows is what is compiled here.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(example), "// docs: from here\n")
	block, _, found := strings.Cut(block, "// docs: to here\n")
	if !found || !strings.Contains(string(readme), "```go\n"+strings.TrimSpace(block)+"\n```\n") {
		t.Error("the README does not show the function of example_test.go as it is")
	}
}
