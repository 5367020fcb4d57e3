package login_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

const subscribed = `{"data":[{"id":"666","subscribed_fields":["feed"]},{"id":10001,"name":"PrimeZap","subscribed_fields":["standby","messages"]}]}`

// subscriptions answers reads with what is subscribed, and changes with what it is told.
func subscriptions(read, change string) answer {
	return func(w http.ResponseWriter, c call, _ int) {
		if c.method == http.MethodGet {
			_, _ = io.WriteString(w, read)
			return
		}
		_, _ = io.WriteString(w, change)
	}
}

func TestApp_Subscribe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		read, change string
		fields       []string
		want         []string
	}{
		"messages and postbacks are the least":               {`{"data":[]}`, `{"success":true}`, nil, []string{"messages", "messaging_postbacks"}},
		"what is subscribed already stays, others' does not": {subscribed, `{"success":"true"}`, []string{"message_echoes", "messages"}, []string{"message_echoes", "messages", "messaging_postbacks", "standby"}},
		"again it is the same":                               {`{"data":[{"id":"10001","subscribed_fields":["messages","messaging_postbacks"]}]}`, `"true"`, nil, []string{"messages", "messaging_postbacks"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, subscriptions(tc.read, tc.change))
			got, err := app(t, settings, g.URL).Subscribe(t.Context(), "100", pageToken, tc.fields)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("fields %q, %v", got, err)
			}
			asked := g.asked()
			if len(asked) != 2 || asked[0].method != "GET" || asked[1].method != "POST" || asked[1].path != "/v25.0/100/subscribed_apps" {
				t.Fatalf("asked %+v", asked)
			}
			if sent := asked[1].params.Get("subscribed_fields"); sent != join(tc.want) {
				t.Errorf("sent %s", sent)
			}
			proves(t, asked)
		})
	}
	t.Run("a refusal is an error", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, c call, _ int) {
			if c.method == http.MethodGet {
				_, _ = io.WriteString(w, subscribed)
				return
			}
			refuses(w, 403, 200, 0, "needs MODERATE, not "+c.token)
		})
		_, err := app(t, settings, g.URL).Subscribe(t.Context(), "100", pageToken, nil)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.Permission {
			t.Errorf("error %v", err)
		}
		hides(t, err)
	})
	t.Run("an answer that is no success is none", func(t *testing.T) {
		t.Parallel()
		g := serve(t, subscriptions(subscribed, `{"success":"false"}`))
		if _, err := app(t, settings, g.URL).Subscribe(t.Context(), "100", pageToken, nil); !errors.Is(err, meta.ErrOutcomeUnknown) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("what is no field is not sent", func(t *testing.T) {
		t.Parallel()
		g := serve(t, subscriptions(subscribed, `true`))
		if _, err := app(t, settings, g.URL).Subscribe(t.Context(), "100", pageToken, []string{"messages", "a,b"}); !errors.Is(err, login.ErrField) || len(g.asked()) > 0 {
			t.Errorf("error %v", err)
		}
	})
}

func TestApp_Unsubscribe(t *testing.T) {
	t.Parallel()
	t.Run("a page is left", func(t *testing.T) {
		t.Parallel()
		g := serve(t, subscriptions(subscribed, `{"success":true}`))
		if err := app(t, settings, g.URL).Unsubscribe(t.Context(), "100", pageToken); err != nil || len(g.asked()) != 1 || g.asked()[0].method != "DELETE" {
			t.Errorf("error %v after %+v", err, g.asked())
		}
		proves(t, g.asked())
	})
	t.Run("a refusal is none for a page that is left already", func(t *testing.T) {
		t.Parallel()
		for read, left := range map[string]bool{`{"data":[{"id":"666","subscribed_fields":["feed"]}]}`: true, subscribed: false} {
			g := serve(t, func(w http.ResponseWriter, c call, before int) {
				if c.method == http.MethodGet {
					_, _ = io.WriteString(w, read)
					return
				}
				refuses(w, 400, 100, 0, "not subscribed")
			})
			err := app(t, settings, g.URL).Unsubscribe(t.Context(), "100", pageToken)
			if _, ok := errors.AsType[*meta.Error](err); ok == left || left && err != nil {
				t.Errorf("error %v for %s", err, read)
			}
		}
	})
	t.Run("a token that is dead leaves it open", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, _ call, _ int) { refuses(w, 400, 190, 463, "expired") })
		err := app(t, settings, g.URL).Unsubscribe(t.Context(), "100", pageToken)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.Auth || len(g.asked()) != 1 {
			t.Errorf("error %v after %d calls", err, len(g.asked()))
		}
	})
}

func join(fields []string) (joined string) {
	for i, field := range fields {
		if i > 0 {
			joined += ","
		}
		joined += field
	}
	return joined
}
