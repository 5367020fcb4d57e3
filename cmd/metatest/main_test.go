package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/primezap/primezap/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, Config{Addr: "127.0.0.1:0", AppSecrets: config.List{"secret-1"}}, slog.New(slog.DiscardHandler), in)
	}()
	text, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var line struct {
		Ready, Simulated bool
		URL              string
	}
	if err := json.Unmarshal([]byte(text), &line); err != nil || !line.Ready || !line.Simulated {
		t.Fatalf("prints %s (%v)", text, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, line.URL+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte("fbtrace_id")) {
		t.Errorf("answers %s %s", resp.Status, body)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	t.Run("its help shows no secret", func(t *testing.T) {
		t.Parallel()
		var help bytes.Buffer
		if err := config.Usage(&help, &Config{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(help.String(), "simulated-") || !strings.Contains(help.String(), "META_CALLBACK_URL") {
			t.Errorf("is %s", help.String())
		}
	})
	t.Run("says what cannot be meant", func(t *testing.T) {
		t.Parallel()
		err := (&Config{CallbackURL: "nowhere", Latency: -1}).Validate()
		for _, name := range []string{"META_CALLBACK_URL", "META_APP_SECRETS", "META_SIMULATOR_LATENCY"} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("error %v does not name %s", err, name)
			}
		}
		good := Config{CallbackURL: "https://example.com/webhooks/meta", AppSecrets: config.List{"x"}}
		if err := good.Validate(); err != nil {
			t.Error(err)
		}
	})
}
