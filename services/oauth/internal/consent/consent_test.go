package consent_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/oauth/internal/consent"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const callback = "http://localhost:5173/callback"

// fixture are the actions as somebody calls them, without HTTP.
type fixture struct {
	*testing.T
	graph   *metatest.Server
	worker  *store.Store
	actions *facebook.Service
	tenant  uuid.UUID
}

func newFixture(t *testing.T, times consent.Times) *fixture {
	t.Helper()
	f := &fixture{T: t, graph: metatest.New(metatest.Config{RequireProof: true}), tenant: uuid.Must(uuid.NewV7())}
	base := f.graph.Start(t)
	database := testenv.DB(t)
	open := func(role testenv.Role) *store.Store {
		s, err := store.Open(t.Context(), database.URL(role), 4)
		f.check(err)
		t.Cleanup(s.Close)
		return s
	}
	stored := open(testenv.API)
	f.worker = open(testenv.Worker)
	keyset, err := vault.NewKeyset()
	f.check(err)
	keys, err := vault.Open(keyset)
	f.check(err)
	platform := meta.Config{GraphURL: base, AppSecret: metatest.DefaultAppSecret, Timeout: 10 * time.Second}
	client, err := meta.NewClient(platform)
	f.check(err)
	t.Cleanup(client.Close)
	cfg := login.Config{AppID: metatest.DefaultAppID, DialogURL: base, Redirects: config.List{callback}, StateKey: "a key for states of thirty-two bytes"}
	app, err := login.New(cfg, platform, client, time.Now)
	f.check(err)
	states, err := login.NewStates(cfg.StateKey, time.Now)
	f.check(err)
	inserter, err := jobs.NewInserter()
	f.check(err)
	connector := &connection.Connector{
		Vault: keys, Limiter: ratelimit.New(stored, ratelimit.Config{PerMinute: 60, PerHour: 1000, PerDay: 10_000}), Jobs: inserter,
	}
	service := &consent.Service{Login: cfg, App: app, States: states, Store: stored, Vault: keys, Connector: connector, Times: times}
	f.actions = facebook.New(nil, 0, service.Actions()...)
	return f
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// call calls an action; answer is nil where the error is all that counts.
func (f *fixture) call(ctx context.Context, answer any, members map[string]string) error {
	f.Helper()
	body, err := json.Marshal(members)
	f.check(err)
	raw := json.RawMessage(body)
	ctx = auth.WithPrincipal(ctx, auth.Principal{Tenant: f.tenant, Actor: "user:maria"})
	res, err := f.actions.FacebookOAuth(ctx, openapi.FacebookOAuthRequestObject{Body: &raw})
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	f.check(res.VisitFacebookOAuthResponse(w))
	f.check(json.Unmarshal(w.Body.Bytes(), answer))
	return nil
}

// logIn is a whole login.
func (f *fixture) logIn(ctx context.Context, choice metatest.Choice) (openapi.ExchangedCode, error) {
	f.Helper()
	var at openapi.AuthURL
	f.check(f.call(context.WithoutCancel(ctx), &at, map[string]string{"action": "get_auth_url", "redirectUri": callback}))
	back, err := f.graph.Consent(at.AuthURL, choice)
	f.check(err)
	u, err := url.Parse(back)
	f.check(err)
	var got openapi.ExchangedCode
	err = f.call(ctx, &got, map[string]string{"action": "exchange_code", "redirectUri": callback, "state": at.State, "code": u.Query().Get("code")})
	return got, err
}

func (f *fixture) connections() (n int) {
	f.Helper()
	f.check(f.worker.Pool().QueryRow(f.Context(), "SELECT count(*) FROM connections").Scan(&n))
	return n
}

func (f *fixture) slow(fault metatest.Fault) {
	f.Helper()
	fault.Kind, fault.Delay, fault.Share = metatest.FaultLatency, metatest.Ms(time.Minute), 1
	_, err := f.graph.Inject(fault)
	f.check(err)
}

// intime is less than the call of Meta itself may take, and a lot for a second.
const intime = 8 * time.Second

func TestService_Slow(t *testing.T) {
	t.Parallel()
	t.Run("an account that takes too long is a warning, and all else is connected", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, consent.Times{Reading: time.Minute, Instagram: time.Second, Storing: time.Minute})
		user := f.graph.AddUserWithPages(metatest.User{ID: "778", Name: "Rita"}, metatest.Mix{Pages: 3, Instagram: 3})
		slow := f.graph.World().Accounts
		f.slow(metatest.Fault{Object: slow[len(slow)-1].ID})
		began := time.Now()
		got, err := f.logIn(t.Context(), metatest.Choice{User: user.ID})
		f.check(err)
		if took := time.Since(began); took > intime {
			t.Errorf("it took %s", took)
		}
		if len(got.Pages) != 3 || len(got.InstagramAccounts) != 2 || len(got.Warnings) != 1 || got.Warnings[0].Reason != "instagram_unreadable" || *got.Warnings[0].AccountID != slow[len(slow)-1].ID {
			t.Errorf("%d pages, %d accounts, %+v", len(got.Pages), len(got.InstagramAccounts), got.Warnings)
		}
		if n := f.connections(); n != 5 {
			t.Errorf("%d connections", n)
		}
	})
	for _, call := range []string{"access_token", "accounts", "permissions", "debug_token"} {
		t.Run("the login ends in time where it cannot do without the answer to "+call, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, consent.Times{Reading: time.Second, Instagram: time.Second, Storing: time.Minute})
			f.slow(metatest.Fault{Call: call})
			began := time.Now()
			_, err := f.logIn(t.Context(), metatest.Choice{})
			if took := time.Since(began); took > intime {
				t.Errorf("it took %s", took)
			}
			if p, ok := errors.AsType[*problem.Problem](err); !ok || p.Type != problem.TypeMetaUnreachable || f.connections() > 0 {
				t.Errorf("error %v, %d connections", err, f.connections())
			}
		})
	}
}

func TestService_HungUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, consent.DefaultTimes())
	_, err := f.graph.Inject(metatest.Fault{Kind: metatest.FaultLatency, Delay: metatest.Ms(time.Second), Call: "accounts", Next: 1})
	f.check(err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	given := make(chan struct{}) // closed once Meta has the code
	go func() {
		defer close(given)
		for ctx.Err() == nil {
			for _, tries := range f.graph.CodeTries() {
				if tries > 0 {
					cancel()
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := f.logIn(ctx, metatest.Choice{}); err != nil || ctx.Err() == nil {
		t.Errorf("error %v, after %v", err, ctx.Err())
	}
	<-given
	if n := f.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}
