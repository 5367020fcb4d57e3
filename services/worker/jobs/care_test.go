package jobs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

const day = 24 * time.Hour

// cared is an installation where somebody has logged in and connected their pages.
type cared struct {
	*testing.T
	super, api, store *store.Store
	vault             *vault.Vault
	graph             *metatest.Server
	app               *login.App
	user              string
	grant             uuid.UUID
	page              login.Page
	connection        uuid.UUID // the page's
	log               *slog.Logger
	metrics           *metaMetrics
}

func newCared(t *testing.T) *cared {
	t.Helper()
	d := testenv.DB(t)
	w := &cared{
		T: t, super: open(t, d, testenv.Superuser), api: open(t, d, testenv.API), store: open(t, d, testenv.Worker), vault: newVault(t),
		graph: metatest.New(metatest.Config{RequireProof: true}), user: metatest.DefaultUserID, log: quiet(), metrics: newMetaMetrics(),
	}
	platform := meta.Config{AppSecret: metatest.DefaultAppSecret, GraphURL: w.graph.Start(t), Timeout: 2 * time.Second}
	client, err := meta.NewClient(platform)
	w.check(err)
	t.Cleanup(client.Close)
	const redirect = "http://localhost/callback"
	w.app, err = login.New(login.Config{AppID: metatest.DefaultAppID, Redirects: config.List{redirect}}, platform, client, time.Now)
	w.check(err)
	dialog, err := w.app.AuthURL(redirect, "state", nil, login.AuthOptions{})
	w.check(err)
	location, err := w.graph.Consent(dialog, metatest.Choice{User: w.user})
	w.check(err)
	back, err := url.Parse(location)
	w.check(err)
	token, err := w.app.Exchange(t.Context(), back.Query().Get("code"), redirect, "")
	w.check(err)
	info, err := w.app.Debug(t.Context(), token.AccessToken)
	w.check(err)
	pages, _, err := w.app.Pages(t.Context(), token.AccessToken)
	w.check(err)
	w.page = pages[0]
	w.check(w.api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
		row, err := grant.Save(t.Context(), q, w.vault, tenant, "user:1", grant.Login{UserID: w.user, UserName: "Olívia", Permission: grant.Permission{
			Token: token.AccessToken, ExpiresAt: token.ExpiresAt, DataAccessExpiresAt: info.DataAccessExpiresAt, Scopes: info.Scopes,
		}})
		if err != nil {
			return err
		}
		w.grant = row.ID
		made, err := connection.Create(t.Context(), q, w.vault, tenant, connection.Account{
			Channel: messaging.Facebook, ExternalID: w.page.ID, Name: "Loja", Token: w.page.AccessToken, GrantID: &row.ID,
		})
		w.connection = made.ID
		return err
	}))
	return w
}

func (w *cared) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *cared) platform() platform {
	return platform{store: w.store, app: w.app, vault: w.vault, log: w.log, metrics: w.metrics}
}

// look has the grant's time come, and a worker look.
func (w *cared) look() error {
	w.Helper()
	exec(w.T, w.super, "UPDATE oauth_grants SET check_at = now()")
	return w.turn()
}

func (w *cared) turn() error { return newGrantKeeper(w.platform(), 0).Work(w.Context(), nil) }

func (w *cared) mustLook() {
	w.Helper()
	w.check(w.look())
}

func (w *cared) row() db.OauthGrant {
	w.Helper()
	row, err := w.store.Queries().GetGrant(w.Context(), w.grant, tenant)
	w.check(err)
	return row
}

// events are the data of those of a type that were raised.
func (w *cared) events(kind string) (data []map[string]any) {
	w.Helper()
	for _, body := range ask[[]string](w.T, w.super, "SELECT coalesce(array_agg(convert_from(body, 'UTF8') ORDER BY id), '{}') FROM outbox WHERE event_type = $1", kind) {
		var one struct{ Data map[string]any }
		w.check(json.Unmarshal([]byte(body), &one))
		data = append(data, one.Data)
	}
	return data
}

func (w *cared) audited(action string) int {
	w.Helper()
	return ask[int](w.T, w.super, "SELECT count(*) FROM audit_log WHERE action = $1", action)
}

// waits is how long the grant is put off.
func (w *cared) waits() time.Duration {
	w.Helper()
	return time.Duration(ask[float64](w.T, w.super, "SELECT extract(epoch FROM check_at - now())::float8 FROM oauth_grants WHERE id = $1", w.grant) * float64(time.Second))
}

func (w *cared) inject(f metatest.Fault) {
	w.Helper()
	_, err := w.graph.Inject(f)
	w.check(err)
}

func TestGrantKeeper_Work(t *testing.T) {
	t.Parallel()
	t.Run("a healthy grant is looked at again after hours, and nothing is told", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		before := w.row()
		w.mustLook()
		after := w.row()
		if wait := w.waits(); wait < lookAtGrantEvery/2 || wait > 2*lookAtGrantEvery {
			t.Errorf("it waits %s", wait)
		}
		if string(before.Credentials) != string(after.Credentials) || len(w.events("connection.expiring")) > 0 {
			t.Error("it was renewed, or told of")
		}
	})

	t.Run("a token that ends within seven days is renewed", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.ExpireTokens(w.user, time.Now().Add(6*day))
		w.mustLook()
		if row := w.row(); row.ExpiresAt == nil || time.Until(*row.ExpiresAt) < 50*day || w.audited("grant.refreshed") != 1 {
			t.Errorf("it ends %v, audited %d times", row.ExpiresAt, w.audited("grant.refreshed"))
		}
		if told := w.events("connection.expiring"); len(told) > 0 {
			t.Errorf("told %v", told)
		}
	})

	t.Run("what is lost between Meta's answer and the commit is asked for again", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.ExpireTokens(w.user, time.Now().Add(6*day))
		g, err := grant.Open(w.vault, w.row())
		w.check(err)
		if _, err := w.app.Refresh(t.Context(), g.Token()); err != nil { // and died
			t.Fatal(err)
		}
		w.mustLook()
		if row := w.row(); time.Until(*row.ExpiresAt) < 50*day {
			t.Errorf("it ends %v", row.ExpiresAt)
		}
	})

	t.Run("an end that cannot be put off is told of once", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.ExpireTokens(w.user, time.Now().Add(6*day))
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(100), Share: 1, Call: "access_token"})
		w.mustLook()
		w.mustLook()
		told := w.events("connection.expiring")
		if len(told) != 1 || told[0]["reason"] != "token" || told[0]["expiresAt"] == nil {
			t.Fatalf("told %v", told)
		}
		w.graph.ExpireTokens(w.user, time.Now().Add(3*day)) // another end
		w.mustLook()
		if told := w.events("connection.expiring"); len(told) != 2 {
			t.Errorf("told %v", told)
		}
	})

	t.Run("the end of the access to data is stored, and told of once", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		far, near := time.Now().Add(30*day), time.Now().Add(5*day)
		w.graph.EndDataAccess(w.user, far)
		w.mustLook()
		if at := w.row().DataAccessExpiresAt; at == nil || at.Sub(far).Abs() > time.Second || len(w.events("connection.expiring")) > 0 {
			t.Errorf("stored %v", at)
		}
		w.graph.EndDataAccess(w.user, near)
		w.mustLook()
		w.mustLook()
		told := w.events("connection.expiring")
		if len(told) != 1 || told[0]["reason"] != "data_access" {
			t.Errorf("told %v", told)
		}
	})

	t.Run("a dead token makes the grant wait for another login", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.InvalidateUser(w.user, 460)
		w.mustLook()
		if row := w.row(); row.Status != "reconnect" || row.Credentials != nil || w.audited("grant.token_refused") != 1 {
			t.Errorf("it is %s", row.Status)
		}
		w.mustLook() // of which there is nothing to look at
		if n := w.audited("grant.token_refused"); n != 1 {
			t.Errorf("audited %d times", n)
		}
	})

	t.Run("of a user who removed the app all connections wait for another login", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.InvalidateUser(w.user, 458)
		w.mustLook()
		told := w.events("connection.reconnect_required")
		if len(told) != 1 || told[0]["reason"] != "deauthorized" {
			t.Errorf("told %v", told)
		}
	})

	t.Run("what Meta says of the app's own token is not of the user's", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(190), Share: 1, Call: "debug_token"})
		w.mustLook()
		if row := w.row(); row.Status != "active" || row.CheckFailures != 1 {
			t.Errorf("it is %s after %d failures", row.Status, row.CheckFailures)
		}
	})

	t.Run("an app that is throttled is left alone, with the rest of the batch", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		exec(t, w.super, `INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, credentials, scopes, missing_scopes, check_at)
			SELECT gen_random_uuid(), $1, 'other', 'n', credentials, '{}', '{}', now() + interval '1 second' FROM oauth_grants`, tenant)
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4), Share: 1, Call: "debug_token"})
		exec(t, w.super, "UPDATE oauth_grants SET check_at = now() - interval '1 minute' * (user_id = $1)::int", w.user) // it is the first
		err := w.turn()
		if snooze, ok := errors.AsType[*river.JobSnoozeError](err); !ok || snooze.Duration != throttledFor {
			t.Errorf("Work = %v, want it to snooze", err)
		}
		if off := ask[bool](t, w.super, "SELECT abs(extract(epoch FROM check_at - now()) - 900) < 60 FROM oauth_grants WHERE user_id = 'other'"); !off {
			t.Error("the other one is not put off until then")
		}
		if wait := w.waits(); wait < failureBase/2 {
			t.Errorf("it waits %s", wait)
		}
		if n := ask[int](t, w.super, "SELECT check_failures FROM oauth_grants WHERE user_id = 'other'"); n != 0 {
			t.Error("the other one was looked at")
		}
	})

	t.Run("while Meta is away each look comes later", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.inject(metatest.Fault{Kind: metatest.FaultReset, Share: 1})
		var waits []time.Duration
		for range 3 {
			w.mustLook()
			waits = append(waits, w.waits())
		}
		if waits[0] < failureBase/2 || waits[2] < 2*waits[0] || w.row().CheckFailures != 3 {
			t.Errorf("it waits %v", waits)
		}
		w.graph.ClearFaults()
		w.mustLook()
		if row := w.row(); row.CheckFailures != 0 || row.Status != "active" {
			t.Errorf("%s after %d failures", row.Status, row.CheckFailures)
		}
	})

	t.Run("of two workers one looks", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.ExpireTokens(w.user, time.Now().Add(6*day))
		exec(t, w.super, "UPDATE oauth_grants SET check_at = now()")
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := w.turn(); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if n := w.audited("grant.refreshed"); n != 1 {
			t.Errorf("renewed %d times", n)
		}
	})

	t.Run("a claim of a worker that died comes again", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		if rows, err := w.store.Queries().ClaimGrants(t.Context(), claimFor.Seconds(), 1); err != nil || len(rows) != 1 {
			t.Fatalf("claimed %d, %v", len(rows), err)
		}
		if wait := w.waits(); wait <= 0 || wait > claimFor {
			t.Errorf("it comes again after %s", wait)
		}
		if rows, err := w.store.Queries().ClaimGrants(t.Context(), claimFor.Seconds(), 1); err != nil || len(rows) != 0 {
			t.Errorf("claimed %d before, %v", len(rows), err)
		}
	})

	t.Run("without an app there is nothing to do", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.app = nil
		before := w.waits()
		w.check(w.turn())
		if after := w.waits(); before-after > time.Minute || after > before {
			t.Error("it was claimed")
		}
	})
}

// subscribe has Meta tell of the page, and keeps that.
func (w *cared) subscribe(fields ...string) {
	w.Helper()
	all, err := w.app.Subscribe(w.Context(), w.page.ID, w.page.AccessToken, fields)
	w.check(err)
	w.check(w.api.InTenant(w.Context(), tenant, func(q *db.Queries) error {
		_, err := connection.Subscribed(w.Context(), q, tenant, w.page.ID, all)
		return err
	}))
}

func (w *cared) compareTurn() error {
	return (&subscriptionKeeper{platform: w.platform()}).Work(w.Context(), nil)
}

// compare has the page's time come, and a worker look.
func (w *cared) compare() error {
	w.Helper()
	exec(w.T, w.super, "UPDATE connections SET subscription_check_at = now() WHERE subscribed_fields IS NOT NULL")
	return w.compareTurn()
}

func (w *cared) subscription() (failures int, wait time.Duration) {
	w.Helper()
	wait = time.Duration(ask[float64](w.T, w.super, "SELECT extract(epoch FROM subscription_check_at - now())::float8 FROM connections WHERE id = $1", w.connection) * float64(time.Second))
	return ask[int](w.T, w.super, "SELECT subscription_failures FROM connections WHERE id = $1", w.connection), wait
}

func TestSubscriptionKeeper_Work(t *testing.T) {
	t.Parallel()
	t.Run("what Meta stopped telling of is subscribed again, and audited", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		log, warnings := counting(slog.LevelWarn)
		w.log = log
		w.subscribe("message_echoes")
		want, _ := w.graph.Subscriptions(w.page.ID)
		w.check(w.compare())
		if n := w.audited("connection.subscription_restored"); n != 0 {
			t.Error("restored what was there")
		}
		w.graph.Unsubscribe(w.page.ID)
		w.check(w.compare())
		if have, _ := w.graph.Subscriptions(w.page.ID); !slices.Equal(have, want) {
			t.Errorf("subscribed to %v, want %v", have, want)
		}
		if n := w.audited("connection.subscription_restored"); n != 1 || warnings.count.Load() != 1 {
			t.Errorf("audited %d times, %d warnings", n, warnings.count.Load())
		}
		if failures, wait := w.subscription(); failures != 0 || wait < 30*time.Minute || wait > time.Hour {
			t.Errorf("%d failures, waits %s", failures, wait)
		}
		w.check(w.compare()) // as after a worker that died before it had committed
		if n := w.audited("connection.subscription_restored"); n != 1 {
			t.Errorf("audited %d times", n)
		}
	})

	t.Run("of two workers one restores", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		w.graph.Unsubscribe(w.page.ID)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := w.compareTurn(); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if n := w.audited("connection.subscription_restored"); n != 1 {
			t.Errorf("restored %d times", n)
		}
	})

	t.Run("what is claimed is claimed again when its worker has died, and not before", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		for i, want := range []int{1, 0} {
			if rows, err := w.store.Queries().ClaimSubscriptions(t.Context(), claimFor.Seconds(), 5); err != nil || len(rows) != want {
				t.Errorf("claim %d: %d, %v", i, len(rows), err)
			}
		}
		if _, wait := w.subscription(); wait <= 0 || wait > claimFor {
			t.Errorf("it comes again after %s", wait)
		}
	})

	t.Run("who unsubscribed at the same time has the last word", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		w.graph.Unsubscribe(w.page.ID)
		rows, err := w.store.Queries().ConnectionsOfPage(t.Context(), tenant, w.page.ID)
		w.check(err)
		u, err := connection.Open(w.vault, rows[0])
		w.check(err)
		w.check(w.api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
			return connection.Unsubscribed(t.Context(), q, tenant, w.page.ID)
		}))
		looked := &lookedPage{&subscriptionKeeper{platform: w.platform()}, watchedPage{tenant: tenant, id: w.page.ID}}
		w.check(looked.restore(t.Context(), rows[0], u, rows[0].SubscribedFields))
		if have, on := w.graph.Subscriptions(w.page.ID); on {
			t.Errorf("subscribed to %v", have)
		}
	})

	t.Run("a token that Meta does not take makes the connection wait", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		w.graph.RevokeToken(w.page.AccessToken, 460)
		w.check(w.compare())
		w.check(w.compare())
		told := w.events("connection.reconnect_required")
		if len(told) != 1 || told[0]["reason"] != "token_refused" || w.audited("connection.token_refused") != 1 {
			t.Errorf("told %v", told)
		}
	})

	t.Run("when the user's token died those of the pages are looked at, whatever is subscribed", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.graph.InvalidateUser(w.user, 460) // a new password
		w.mustLook()
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(190), Next: 1, Call: "debug_token"}) // the app's own
		w.check(w.compareTurn())
		if failures, wait := w.subscription(); failures != 1 || wait <= 0 || w.events("connection.reconnect_required") != nil {
			t.Fatalf("after an answer that says nothing: %d failures, waits %s", failures, wait)
		}
		exec(t, w.super, "UPDATE connections SET subscription_check_at = now()")
		w.check(w.compareTurn())
		told := w.events("connection.reconnect_required")
		if len(told) != 1 || told[0]["reason"] != "token_refused" || w.audited("connection.token_refused") != 1 {
			t.Errorf("told %v", told)
		}
	})

	t.Run("a page's token that outlives the user's is left alone, and looked at once", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.check(w.store.InTx(t.Context(), func(q *db.Queries) error {
			_, err := grant.Refuse(t.Context(), q, w.row(), connection.TokenRefused)
			return err
		}))
		w.check(w.compareTurn())
		const settled = "SELECT status = 'active' AND subscription_check_at IS NULL FROM connections WHERE id = $1"
		if told := w.events("connection.reconnect_required"); told != nil || !ask[bool](t, w.super, settled, w.connection) {
			t.Errorf("told %v", told)
		}
	})

	t.Run("a page that nobody got to is looked at later, subscribed or not", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.check(w.api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
			_, err := connection.Create(t.Context(), q, w.vault, tenant, connection.Account{
				Channel: messaging.Facebook, ExternalID: "100000000000099", Name: "Filial", Token: "EAAPother", GrantID: &w.grant,
			})
			return err
		}))
		w.check(w.store.InTx(t.Context(), func(q *db.Queries) error {
			_, err := grant.Refuse(t.Context(), q, w.row(), connection.TokenRefused)
			return err
		}))
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4), Share: 1, Call: "debug_token"})
		if _, ok := errors.AsType[*river.JobSnoozeError](w.compareTurn()); !ok {
			t.Error("it does not snooze")
		}
		if n := ask[int](t, w.super, "SELECT count(*) FROM connections WHERE subscription_check_at > now()"); n != 2 {
			t.Errorf("%d of 2 are looked at later", n)
		}
	})

	t.Run("the Instagram account's own token is looked at beside the page's", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.check(w.api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
			_, err := connection.Create(t.Context(), q, w.vault, tenant, connection.Account{
				Channel: messaging.Instagram, ExternalID: "17841400000000099", PageID: &w.page.ID, Name: "loja", Token: "EAAPolder",
			})
			return err
		}))
		w.subscribe()
		w.check(w.compareTurn())
		const states = "SELECT array_agg(channel || ' ' || status ORDER BY channel) FROM connections"
		if got := ask[[]string](t, w.super, states); !slices.Equal(got, []string{"facebook active", "instagram reconnect"}) {
			t.Errorf("they are %q", got)
		}
	})

	t.Run("a permission that is missing is noted until it is there", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(200), Share: 1, Call: "subscribed_apps"})
		w.check(w.compare())
		const noted = "SELECT last_error IS NOT NULL AND status = 'active' FROM connections WHERE id = $1"
		if failures, wait := w.subscription(); failures != 1 || wait <= 0 || !ask[bool](t, w.super, noted, w.connection) {
			t.Errorf("%d failures, waits %s", failures, wait)
		}
		w.graph.ClearFaults()
		w.check(w.compare())
		if ask[bool](t, w.super, noted, w.connection) {
			t.Error("it is noted still")
		}
	})

	t.Run("another token has it looked at again at once", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		w.graph.Unsubscribe(w.page.ID)
		locked := func(do func(q *db.Queries, row db.Connection) error) {
			t.Helper()
			w.check(w.api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
				row, err := q.LockConnection(t.Context(), w.connection, tenant)
				if err != nil {
					return err
				}
				return do(q, row)
			}))
		}
		// The user removed the app.
		w.check(w.api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
			return connection.ForgetTokens(t.Context(), q, tenant, w.grant, connection.Deauthorized)
		}))
		w.check(w.compare())
		if _, wait := w.subscription(); wait < 30*time.Minute {
			t.Fatalf("without a token it waits %s", wait)
		}
		locked(func(q *db.Queries, row db.Connection) error {
			_, err := connection.Renewed(t.Context(), q, w.vault, "user:1", row, w.page.AccessToken, true)
			return err
		})
		w.check(w.compareTurn())
		if have, on := w.graph.Subscriptions(w.page.ID); !on {
			t.Errorf("subscribed to %v", have)
		}
		locked(func(q *db.Queries, row db.Connection) error {
			row.Name = "Loja nova"
			_, err := connection.Update(t.Context(), q, row)
			return err
		})
		if _, wait := w.subscription(); wait < 30*time.Minute {
			t.Errorf("with another name it is looked at after %s", wait)
		}
	})

	t.Run("what was subscribed to while it was looked at is looked at again", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe("messages")
		if rows, err := w.store.Queries().ClaimSubscriptions(t.Context(), claimFor.Seconds(), claimAtOnce); err != nil || len(rows) != 1 {
			t.Fatalf("claimed %d, %v", len(rows), err)
		}
		w.subscribe("messages", "message_reads")
		w.graph.Unsubscribe(w.page.ID)
		_, err := w.app.Subscribe(t.Context(), w.page.ID, w.page.AccessToken, []string{"messages"}) // as was to be restored
		w.check(err)
		w.check(w.store.Queries().SubscriptionsLooked(t.Context(), lookAtSubscriptionEvery.Seconds(), []uuid.UUID{w.connection}))
		w.check(w.compareTurn())
		if have, _ := w.graph.Subscriptions(w.page.ID); !slices.Contains(have, "message_reads") {
			t.Errorf("Meta tells %v", have)
		}
		if _, wait := w.subscription(); wait < 30*time.Minute {
			t.Errorf("it is looked at after %s", wait)
		}
	})

	t.Run("pages are put off in the order in which everybody locks several", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		first := uuid.MustParse("00000000-0000-7000-8000-000000000001")
		ids := []uuid.UUID{w.connection, first}
		for name, put := range map[string]func(q *db.Queries) error{
			"looked":     func(q *db.Queries) error { return q.SubscriptionsLooked(t.Context(), 1, ids) },
			"not looked": func(q *db.Queries) error { return q.SubscriptionsNotLooked(t.Context(), 1, ids) },
			"released":   func(q *db.Queries) error { return q.ReleaseSubscriptions(t.Context(), 1, ids) },
		} {
			// Of a table without indexes rows come as they were written.
			exec(t, w.super, "DELETE FROM connections WHERE id = $1", first)
			exec(t, w.super, "VACUUM FULL connections")
			exec(t, w.super, `INSERT INTO connections (id, tenant_id, channel, name, external_id, page_id, grant_id, credentials, subscribed_fields)
				SELECT $1, tenant_id, 'instagram', 'n', 'n', external_id, grant_id, credentials, subscribed_fields FROM connections`, first)
			exec(t, w.super, "UPDATE connections SET subscription_check_at = now() + interval '1 minute'") // as of what is claimed
			done := make(chan error, 1)                                                                    // sent once
			w.check(pgx.BeginFunc(t.Context(), w.store.Pool(), func(tx pgx.Tx) error {
				if _, err := db.New(tx).LockConnection(t.Context(), first, tenant); err != nil {
					return err
				}
				go func() {
					done <- pgx.BeginFunc(t.Context(), w.store.Pool(), func(tx pgx.Tx) error {
						_, err := tx.Exec(t.Context(), "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
						return errors.Join(err, put(db.New(tx)))
					})
				}()
				eventually(t, name+" waits", func() bool {
					return ask[bool](t, w.super, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
				})
				_, err := db.New(tx).LockConnection(t.Context(), w.connection, tenant)
				return err
			}))
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})

	t.Run("throttled or away, it comes later", func(t *testing.T) {
		t.Parallel()
		w := newCared(t)
		w.subscribe()
		w.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4), Next: 3, Call: "subscribed_apps"})
		if _, ok := errors.AsType[*river.JobSnoozeError](w.compare()); !ok {
			t.Error("it does not snooze")
		}
		w.graph.ClearFaults()
		w.inject(metatest.Fault{Kind: metatest.FaultReset, Share: 1})
		w.check(w.compare())
		if failures, wait := w.subscription(); failures != 2 || wait < failureBase {
			t.Errorf("%d failures, waits %s", failures, wait)
		}
	})
}

func TestPurger_ForgetsStates(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	s, api := open(t, d, testenv.Worker), open(t, d, testenv.API)
	asTenant(t, api, `INSERT INTO oauth_states (tenant_id, nonce, expires_at) SELECT $1, age, now() - age::interval FROM unnest(ARRAY['30 minutes', '2 hours']) AS age`, tenant)
	purgeNow(t, s)
	if left := ask[[]string](t, s, "SELECT array_agg(nonce) FROM oauth_states"); !slices.Equal(left, []string{"30 minutes"}) {
		t.Errorf("left are %q", left)
	}
}
