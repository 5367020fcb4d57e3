package limits_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api/internal/limits"
)

// refused is what a limiter answers that has let 4 of 5 messages a minute through and
// is asked for n.
func refused(t *testing.T, n int64) *ratelimit.Refusal {
	t.Helper()
	database := testenv.DB(t)
	super, err := store.Open(t.Context(), database.URL(testenv.Superuser), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(super.Close)
	c := ratelimit.Connection{Tenant: uuid.New(), ID: uuid.New()}
	if _, err := super.Pool().Exec(t.Context(), "INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'Sales', '1')", c.ID, c.Tenant); err != nil {
		t.Fatal(err)
	}
	api, err := store.Open(t.Context(), database.URL(testenv.API), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	limiter := ratelimit.New(api, ratelimit.Config{PerMinute: 5, PerHour: 50, PerDay: 500})
	if _, err := limiter.Take(t.Context(), c, 4); err != nil {
		t.Fatal(err)
	}
	_, err = limiter.Take(t.Context(), c, n)
	refusal, ok := errors.AsType[*ratelimit.Refusal](err)
	if !ok {
		t.Fatalf("take %d: %v, want a refusal", n, err)
	}
	return refusal
}

// answered is the problem as a client gets it.
func answered(t *testing.T, err error) *http.Response {
	t.Helper()
	e := echo.New()
	e.HTTPErrorHandler = problem.ErrorHandler(slog.New(slog.DiscardHandler), nil)
	e.POST("/", func(echo.Context) error { return fmt.Errorf("send: %w", err) })
	recorder := httptest.NewRecorder()
	e.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	return recorder.Result()
}

type body struct {
	Type, Title, Detail string
	Status              int
	WindowType          string
	Limit, Remaining    int
	Requested           int
	ResetsAt            *time.Time
}

func read(t *testing.T, res *http.Response) (b body) {
	t.Helper()
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProblem(t *testing.T) {
	t.Parallel()
	t.Run("says which window refused, what remains and when it resets", func(t *testing.T) {
		t.Parallel()
		r := refused(t, 2)
		res := answered(t, limits.Problem(r, ""))
		b := read(t, res)
		if b.Type != problem.TypeRateLimit || b.Status != http.StatusTooManyRequests || b.WindowType != "per_minute" || b.Limit != 5 || b.Remaining != 1 ||
			b.Requested != 2 || b.ResetsAt == nil || !b.ResetsAt.Equal(r.ResetsAt) {
			t.Errorf("answered %+v", b)
		}
		for name, want := range map[string]string{
			"Retry-After":      `^(60|5\d)$`,
			"RateLimit-Policy": `^"per_minute";q=5;w=60, "per_hour";q=50;w=3600, "per_day";q=500;w=86400$`,
			"RateLimit":        `^"per_minute";r=1;t=(60|5\d), "per_hour";r=46;t=3[56]\d\d, "per_day";r=496;t=86[34]\d\d$`,
			"Content-Language": `^en$`,
			"Content-Type":     `^application/problem\+json$`,
		} {
			if got := res.Header.Get(name); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	})
	t.Run("speaks English or Portuguese", func(t *testing.T) {
		t.Parallel()
		r := refused(t, 2)
		resets := r.ResetsAt.UTC().Format(time.RFC3339)
		english := "1 of the connection's 5 messages a minute remain and 2 would be needed; more can be sent from " + resets
		portuguese := "restam 1 das 5 mensagens por minuto da conexão e seriam necessárias 2; será possível enviar mais a partir de " + resets
		for accept, want := range map[string][3]string{
			"":                                      {"en", "Too many messages", english},
			"pt-BR,pt;q=0.9,en;q=0.8":               {"pt-BR", "Limite de mensagens atingido", portuguese},
			"pt":                                    {"pt-BR", "Limite de mensagens atingido", portuguese},
			"pt-PT":                                 {"pt-BR", "Limite de mensagens atingido", portuguese},
			"en-US,pt;q=0.5":                        {"en", "Too many messages", english},
			"en;q=0.1, pt;q=0.2":                    {"pt-BR", "Limite de mensagens atingido", portuguese},
			"ja, de;q=0.5":                          {"en", "Too many messages", english},
			"*":                                     {"en", "Too many messages", english},
			"§§, pt":                                {"en", "Too many messages", english},
			strings.Repeat("pt-BR,", 10_000) + "pt": {"en", "Too many messages", english},
		} {
			res := answered(t, limits.Problem(r, accept))
			b := read(t, res)
			if got := [3]string{res.Header.Get("Content-Language"), b.Title, b.Detail}; got != want {
				t.Errorf("Accept-Language: %.50s: %q, want %q", accept, got, want)
			}
		}
	})
	t.Run("what can never be sent is not to be tried again", func(t *testing.T) {
		t.Parallel()
		r := refused(t, 6)
		for accept, want := range map[string]string{
			"en": "6 messages at a time can never be sent: the connection may send 5 a minute",
			"pt": "nunca será possível enviar 6 mensagens de uma vez: a conexão pode enviar 5 por minuto",
		} {
			res := answered(t, limits.Problem(r, accept))
			b := read(t, res)
			if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "" || b.Detail != want || b.Limit != 5 || b.Requested != 6 {
				t.Errorf("answered %d, Retry-After %q, %+v; want no Retry-After and %q", res.StatusCode, res.Header.Get("Retry-After"), b, want)
			}
		}
	})
}
