package oauth_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
)

type renewed struct {
	Grant struct {
		ID, Status    string
		MissingScopes []string
	}
	Warnings []struct{ Reason, PageID string }
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	t.Run("a grant has another token, and so have its pages; what waited is active again", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(manager)
		old := in.token(metatest.DefaultPageID)
		f.graph.RevokeToken(old, 460)
		f.subscribe(metatest.DefaultPageID, "").refuses(http.StatusConflict, problem.TypeReconnectRequired)
		page, _, _, _ := f.live(metatest.DefaultPageID)
		for _, by := range []map[string]any{{"grantId": in.GrantID}, {"connectionId": page}} {
			got := into[renewed](f.action("refresh", by).is(http.StatusOK))
			if got.Grant.ID != in.GrantID || got.Grant.Status != "active" || len(got.Warnings) != 1 || got.Warnings[0].Reason != "page_without_token" {
				t.Errorf("%+v", got)
			}
		}
		if _, status, granted, _ := f.live(metatest.DefaultPageID); status != "active" || granted != in.GrantID || f.holds(metatest.DefaultPageID, old) {
			t.Errorf("status %s, by the grant %q", status, granted)
		}
		f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
		if n := f.count("outbox WHERE event_type = 'connection.connected' AND body::text <> ''"); n != 4 { // three at first, one that waited
			t.Errorf("%d events", n)
		}
		if n := f.count("audit_log WHERE action = 'grant.refreshed'"); n != 2 {
			t.Errorf("%d audit rows", n)
		}
		f.quiet()
	})
	t.Run("a token that Meta refuses ends the grant", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(metatest.Choice{})
		f.graph.RevokeToken(in.AccessToken, 460)
		a := f.action("refresh", map[string]any{"grantId": in.GrantID})
		a.refuses(http.StatusConflict, problem.TypeReconnectRequired)
		if codes := into[struct{ MetaCode, MetaSubcode int }](a); codes.MetaCode != 190 || codes.MetaSubcode != 460 {
			t.Errorf("%+v", codes)
		}
		f.action("refresh", map[string]any{"grantId": in.GrantID}).refuses(http.StatusConflict, problem.TypeReconnectRequired)
		if all := f.list(nil); all.Grants[0].Status != "reconnect" || all.Connections[0].Connection.Status != "active" {
			t.Errorf("%+v", all)
		}
		if n := f.count("audit_log WHERE action = 'grant.token_refused'"); n != 1 {
			t.Errorf("%d audit rows", n)
		}
		f.quiet()
	})
	t.Run("whatever fails on the way changes nothing", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(metatest.Choice{})
		for _, call := range []string{"access_token", "debug_token", "permissions", "accounts"} {
			f.inject(metatest.Fault{Kind: metatest.FaultReset, Call: call, Next: 20})
			f.action("refresh", map[string]any{"grantId": in.GrantID}).refuses(http.StatusBadGateway, problem.TypeMetaUnreachable)
			f.graph.ClearFaults()
		}
		f.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4), Call: "accounts", Next: 1})
		f.action("refresh", map[string]any{"grantId": in.GrantID}).refuses(http.StatusTooManyRequests, problem.TypeMetaThrottled)
		if n := f.count("audit_log WHERE action = 'grant.refreshed'"); n > 0 || f.list(nil).Grants[0].Status != "active" {
			t.Errorf("%d audit rows", n)
		}
		f.action("refresh", map[string]any{"grantId": in.GrantID}).is(http.StatusOK)
	})
	t.Run("two at once renew it once or twice, and both succeed", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(metatest.Choice{})
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() { f.action("refresh", map[string]any{"grantId": in.GrantID}).is(http.StatusOK) })
		}
		callers.Wait()
		f.action("refresh", map[string]any{"grantId": in.GrantID}).is(http.StatusOK)
	})
	t.Run("one of its own grants must be named", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(metatest.Choice{})
		f.action("refresh", nil).refuses(http.StatusUnprocessableEntity, "about:blank", "")
		f.action("refresh", map[string]any{"grantId": in.GrantID, "connectionId": in.GrantID}).refuses(http.StatusUnprocessableEntity, "about:blank", "")
		page, _, _, _ := f.live(metatest.DefaultPageID)
		other := f.neighbour()
		for _, ids := range []map[string]any{{"grantId": in.GrantID}, {"connectionId": page}, {"grantId": "x"}, {"connectionId": uuid.NewString()}} {
			other.action("refresh", ids).is(http.StatusNotFound)
		}
		f.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken).is(http.StatusOK) // by a token from now on
		f.action("refresh", map[string]any{"connectionId": page}).refuses(http.StatusUnprocessableEntity, "about:blank", "/connectionId")
	})
}

type disconnected struct {
	Success, Revoked bool
	ConnectionIDs    []string
	Warnings         []struct {
		Reason   string
		PageID   string
		MetaCode int
	}
}

func (d disconnected) reasons() (all []string) {
	for _, w := range d.Warnings {
		all = append(all, w.Reason)
	}
	slices.Sort(all)
	return all
}

func (f *fixture) disconnect(members map[string]any) disconnected {
	f.Helper()
	return into[disconnected](f.action("disconnect", members).is(http.StatusOK))
}

func (f *fixture) grants() int {
	f.Helper()
	return f.count("oauth_grants WHERE tenant_id = $1", f.tenant)
}

func TestDisconnect_Connections(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	in := f.loggedIn(metatest.Choice{})
	f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
	page, _, _, _ := f.live(metatest.DefaultPageID)
	account, _, _, _ := f.live(metatest.DefaultAccountID)
	for _, ids := range []map[string]any{{"grantId": in.GrantID}, {"connectionId": page}, {"grantId": "x"}, {"connectionId": uuid.NewString(), "force": true}} {
		f.neighbour().action("disconnect", ids).is(http.StatusNotFound)
	}
	f.action("disconnect", map[string]any{"grantId": in.GrantID, "connectionId": page}).refuses(http.StatusUnprocessableEntity, "about:blank", "")
	f.action("disconnect", nil).refuses(http.StatusUnprocessableEntity, "about:blank", "")

	got := f.disconnect(map[string]any{"connectionId": page})
	if got.Revoked || !slices.Equal(got.ConnectionIDs, []string{page}) || len(got.Warnings) > 0 || f.told(metatest.DefaultPageID) == nil || f.grants() != 1 {
		t.Errorf("%+v, while the Instagram account lives on the page: Meta tells %q", got, f.told(metatest.DefaultPageID))
	}
	got = f.disconnect(map[string]any{"connectionId": account})
	if !got.Revoked || !slices.Equal(got.ConnectionIDs, []string{account}) || len(got.Warnings) > 0 || f.told(metatest.DefaultPageID) != nil || f.grants() != 0 {
		t.Errorf("%+v, Meta tells %q", got, f.told(metatest.DefaultPageID))
	}
	if n := f.count("connections WHERE deleted_at IS NOT NULL AND credentials IS NULL"); n != 2 {
		t.Errorf("%d connections are without a token", n)
	}
	if n := f.count("audit_log WHERE action IN ('connection.deleted', 'grant.deleted')"); n != 3 {
		t.Errorf("%d audit rows", n)
	}
	if n := f.count("outbox WHERE event_type = 'connection.disconnected'"); n != 2 {
		t.Errorf("%d events", n)
	}
	f.action("disconnect", map[string]any{"connectionId": account}).is(http.StatusNotFound)
	f.quiet()
}

func TestDisconnect_Grant(t *testing.T) {
	t.Parallel()
	t.Run("all that came by it goes", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(manager)
		f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
		f.subscribe(filialID, "").is(http.StatusOK)
		got := f.disconnect(map[string]any{"grantId": in.GrantID})
		if !got.Revoked || len(got.ConnectionIDs) != 3 || len(got.Warnings) > 0 || f.told(metatest.DefaultPageID) != nil || f.told(filialID) != nil ||
			f.grants() != 0 || len(f.list(nil).Connections) > 0 {
			t.Errorf("%+v", got)
		}
		f.action("disconnect", map[string]any{"grantId": in.GrantID}).is(http.StatusNotFound)
		f.quiet()
	})
	t.Run("another tenant that lives on the same user's permission keeps it", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(manager)
		other := f.neighbour()
		other.loggedIn(manager)
		other.subscribe(filialID, "").is(http.StatusOK)
		got := f.disconnect(map[string]any{"grantId": in.GrantID})
		if got.Revoked || len(got.ConnectionIDs) != 2 || len(got.Warnings) > 0 || f.grants() != 0 || other.grants() != 1 {
			t.Errorf("%+v", got)
		}
		other.subscribe(filialID, "", "message_reads").is(http.StatusOK)
	})
	t.Run("a page that another tenant's Instagram account lives on stays subscribed", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(metatest.Choice{})
		f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
		other := f.neighbour()
		_, err := f.owner.Pool().Exec(f.Context(), "ALTER TABLE connections NO FORCE ROW LEVEL SECURITY")
		f.check(err)
		_, err = f.owner.Pool().Exec(f.Context(), "UPDATE connections SET tenant_id = $1, grant_id = NULL WHERE channel = 'instagram'", other.tenant)
		f.check(err)
		got := f.disconnect(map[string]any{"grantId": in.GrantID})
		if len(got.ConnectionIDs) != 1 || f.told(metatest.DefaultPageID) == nil {
			t.Errorf("%+v, Meta tells %q", got, f.told(metatest.DefaultPageID))
		}
	})
}

func TestDisconnect_Failures(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"subscribed_apps", "permissions"} {
		t.Run("where Meta cannot be reached nothing changes, unless by force: "+call, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			in := f.loggedIn(metatest.Choice{})
			f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
			f.inject(metatest.Fault{Kind: metatest.FaultReset, Call: call, Share: 1})
			f.action("disconnect", map[string]any{"grantId": in.GrantID}).refuses(http.StatusBadGateway, problem.TypeMetaUnreachable)
			f.inject(metatest.Fault{Kind: metatest.FaultHTML, Call: call, Share: 1})
			f.action("disconnect", map[string]any{"grantId": in.GrantID}).refuses(http.StatusBadGateway, problem.TypeMetaUnreachable)
			f.graph.ClearFaults()
			f.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4), Call: call, Share: 1})
			f.action("disconnect", map[string]any{"grantId": in.GrantID}).refuses(http.StatusTooManyRequests, problem.TypeMetaThrottled)
			if len(f.list(nil).Connections) != 2 || f.grants() != 1 || f.count("audit_log WHERE action LIKE '%.deleted'") > 0 {
				t.Error("something changed")
			}
			got := f.disconnect(map[string]any{"grantId": in.GrantID, "force": true})
			want, revoked := []string{"not_unsubscribed"}, true
			if call == "permissions" {
				want, revoked = []string{"not_revoked"}, false
			}
			if !slices.Equal(got.reasons(), want) || got.Revoked != revoked || got.Warnings[0].MetaCode != 4 || len(got.ConnectionIDs) != 2 || f.grants() != 0 || len(f.list(nil).Connections) > 0 {
				t.Errorf("%+v", got)
			}
			f.quiet()
		})
	}
	t.Run("a token that is dead is no reason to keep anything", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(metatest.Choice{})
		f.graph.InvalidateUser(metatest.DefaultUserID, 460)
		got := f.disconnect(map[string]any{"grantId": in.GrantID})
		if got.Revoked || !slices.Contains(got.reasons(), "not_revoked") || len(got.ConnectionIDs) != 2 || f.grants() != 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("what the user took back already is taken back", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		in := f.loggedIn(manager)
		_, err := f.graph.Deauthorize(f.Context(), metatest.Notice{User: metatest.DefaultManagerID})
		_ = err // nobody is told
		got := f.disconnect(map[string]any{"grantId": in.GrantID})
		if !got.Revoked || len(got.ConnectionIDs) != 3 || f.grants() != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestDisconnect_AtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for range 3 {
		f.loggedIn(metatest.Choice{})
		page, _, _, _ := f.live(metatest.DefaultPageID)
		account, _, _, _ := f.live(metatest.DefaultAccountID)
		var callers sync.WaitGroup
		answers := make([]disconnected, 2)
		for i, id := range []string{page, account} {
			callers.Go(func() { answers[i] = f.disconnect(map[string]any{"connectionId": id}) })
		}
		callers.Wait()
		if f.grants() != 0 || len(f.list(nil).Connections) > 0 || !answers[0].Revoked && !answers[1].Revoked {
			t.Fatalf("%d grants, %+v", f.grants(), answers)
		}
	}
}
